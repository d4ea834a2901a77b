"""Notices: what is worth telling a subscriber although no frame says it: the signal's weather, and our own troubles."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum


class Signal(StrEnum):
    """What the feed is like now. The value is what subscribers read; all but `running` mean "not assessable"."""

    CONNECTING = "connecting"
    NO_SIGNAL = "no_signal"
    COLOUR_BARS = "colour_bars"
    BLACK = "black"
    FROZEN = "frozen"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    RUNNING = "running"


class Incident(StrEnum):
    """What happened to the feed in a moment, after which it goes on."""

    FORMAT_CHANGED = "format_changed"
    """Another picture size, pixel format or frame rate."""
    FRAMES_MISSING = "frames_missing"
    """Frames were lost before us: the stream's own numbers or stamps leave a gap."""
    BURST = "burst"
    """Frames came late and all at once."""
    DAMAGED = "damaged"
    """Packets could not be decoded."""
    TIME_JUMPED = "time_jumped"
    """The stream's own stamps jumped or wrapped; stream time goes on by the clock of arrival."""
    LAGGING = "lagging"
    """Frames come later and later: something before us reads or sends too slowly."""


class Trouble(StrEnum):
    """What does not work on our side while the publishing goes on."""

    JOURNAL_FAILED = "journal_failed"
    JOURNAL_WORKS_AGAIN = "journal_works_again"
    CONTROL_REFUSED = "control_refused"
    GPU_BUILDING = "gpu_building"
    """A plan for the GPU is being built; until it serves the CPU judges, and no frame waits for it."""
    GPU_VERIFYING = "gpu_verifying"
    """The plan is built and is being compared with the CPU's answers."""
    GPU_SERVING = "gpu_serving"
    """From the next frame on the GPU judges."""
    GPU_REFUSED = "gpu_refused"
    """The plan gives other answers than the CPU; the CPU judges."""
    GPU_FAILED = "gpu_failed"
    """The GPU is missing, full or lost, or the plan cannot be built; the CPU judges."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell."""

    at_ns: int
    """`time.monotonic_ns()` of when it was so."""
    what: Signal | Incident | Trouble
    text: str = ""
    """For people: the cause, and what to do where something can be done."""


class Notices:
    """A box for notices: any thread posts, the concluding thread takes and publishes.

    At most `MOST` wait; a flood (a device that fails a thousand times a second) gives up the oldest and counts them.
    """

    MOST = 256

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Notice] = []
        self.given_up = 0

    def post(self, what: Signal | Incident | Trouble, text: str = "", *, at_ns: int | None = None) -> None:
        """Leave a notice; stamped now unless `at_ns` says otherwise."""
        notice = Notice(time.monotonic_ns() if at_ns is None else at_ns, what, text)
        with self._lock:
            if len(self._waiting) >= self.MOST:
                del self._waiting[0]
                self.given_up += 1
            self._waiting.append(notice)

    def take(self) -> list[Notice]:
        """Everything that was posted since the last call, in order."""
        if not self._waiting:  # nearly always; reading a list's length needs no lock
            return []
        with self._lock:
            taken, self._waiting = self._waiting, []
            return taken
