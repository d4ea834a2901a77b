"""Descendants: the processes below one, found without a look at any other."""

from __future__ import annotations

import contextlib
from pathlib import Path


def descendants(process_id: int) -> list[int]:
    """Process ids below a process of this Linux machine, in no order; none when it has gone.

    psutil asks every process of the machine for its parent, and the kernel answers when that process lets go of its own
    lock: of one that waits for a processor meanwhile, on a machine with 35 at work, after up to 12 s. The bench heard
    nothing in that time, and took it for latency.
    """
    found: list[int] = []
    for listing in Path(f"/proc/{process_id}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            for child in map(int, listing.read_text().split()):
                found += [child, *descendants(child)]
    return found
