"""Ctrl-C ends a run cleanly: the source is closed, what is in flight still comes out, files stay valid."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

INTERRUPTED = 130
"""Exit code of a run that was ended with Ctrl-C, as shells have it."""


class Stoppable(Protocol):
    """An engine, or whatever holds one."""

    def stop(self) -> None: ...


@contextmanager
def stops_on_interrupt(engine: Stoppable) -> Iterator[None]:
    """Within the block, the first Ctrl-C or SIGTERM stops the engine; a second Ctrl-C ends the program."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        engine.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
