"""Freed memory, and how the system gets it back.

glibc keeps what a program has freed for its next wish, per thread. After a stretch of video that is the decoder's
pictures, some 60 MB, in an arena whose thread has ended: a worker that had done one stretch after the other held twice
what the first took.
"""

from __future__ import annotations

import ctypes
import gc
import sys


def return_freed_memory() -> None:
    """Give what was freed back to the system, where the C library can; takes about 10 ms. For between two tasks."""
    gc.collect()
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):  # musl has none: it gives back by itself
            library.malloc_trim(0)
