"""Ctrl-C ends a run cleanly: the source is closed, what is in flight still comes out, files stay valid."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Protocol

INTERRUPTED: Final = 130
"""Exit code of a run that was ended with Ctrl-C, as shells have it."""
GRACE_NS: Final = 1_000_000_000
"""A second signal within this time is the same wish: `timeout` and service managers tell a process and its group."""


class Stoppable(Protocol):
    """An engine, or whatever holds one."""

    def stop(self) -> None: ...


@contextmanager
def stops_on_interrupt(engine: Stoppable) -> Iterator[None]:
    """Within the block, the first Ctrl-C or SIGTERM stops the engine.

    A second Ctrl-C, after a second, ends the program at once and without unwinding: threads that still work would find
    their sockets and files closed under them. What is on disk is valid up to the last whole record.
    """
    asked_ns: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        now_ns = time.monotonic_ns()
        if not asked_ns:
            asked_ns.append(now_ns)
            engine.stop()
        elif number == signal.SIGINT and now_ns - asked_ns[0] > GRACE_NS:
            os._exit(INTERRUPTED)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
