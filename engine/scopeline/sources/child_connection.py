"""Child connection: a feed that is opened and decoded in a process of its own, which can always be ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import BinaryIO, cast

import msgspec

from scopeline.errors import SourceError
from scopeline.sources.capture_child import Order
from scopeline.sources.connection import Arrival
from scopeline.sources.picture_pipe import Failed, PictureHead, receive, widen
from scopeline.sources.picture_pool import PicturePool


class ChildConnection:
    """One capture child and what it delivers. The child is started here and is gone when this is closed.

    Args:
        order: What the child shall open.
        pool: What the pictures are made of; a feed gives all its connections the same.
    """

    is_final = False

    def __init__(self, order: Order, pool: PicturePool | None = None) -> None:
        self._pool = pool or PicturePool()
        self._damaged: Mapping[str, int] = {}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "scopeline.sources.capture_child", msgspec.json.encode(order).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # so that it can be ended together with the program it may have started
        )
        self._pipe = cast(BinaryIO, self._child.stdout)
        widen(self._pipe)

    @property
    def damaged(self) -> Mapping[str, int]:
        """Damage so far, as the child counts it."""
        return self._damaged

    def arrivals(self) -> Iterator[Arrival]:
        """Pictures until the feed or its process ends.

        Raises:
            SourceError: the child could not open the feed, or lost it.
        """
        for head, picture in receive(self._pipe, self._pool):
            if isinstance(head, Failed):
                raise SourceError(head.why)
            if isinstance(head, PictureHead) and picture is not None:
                self._damaged = head.damaged
                yield Arrival(picture, head.captured_ns, head.stamp_s)
        raise SourceError("the capture process ended without a word")

    def interrupt(self) -> None:
        """End the child, and with it the program it may have started."""
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                if hasattr(os, "killpg"):
                    os.killpg(self._child.pid, signal.SIGKILL)
                else:
                    self._child.kill()

    def close(self) -> None:
        """Wait for the end of the child, which `interrupt` has brought about."""
        self._child.wait()
        self._pipe.close()
