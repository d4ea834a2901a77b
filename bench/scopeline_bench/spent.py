"""Spent: what some work took of the processor. Imports nothing of the engine: peers use it in their environments."""

from __future__ import annotations

import resource
import time

import msgspec


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What some work took."""

    frames: int
    user_s: float
    system_s: float
    wall_s: float
    switches: int
    """How often a thread of the process gave up its core, or lost it."""
    judged: int
    """Frames that the network saw."""

    @property
    def cpu_s_per_1000(self) -> float:
        """Processor seconds for 1000 frames, all threads."""
        return (self.user_s + self.system_s) / self.frames * 1000


class Meter:
    """Processor time of this process since it was made."""

    def __init__(self) -> None:
        self._start, self._start_ns = resource.getrusage(resource.RUSAGE_SELF), time.monotonic_ns()

    def spent(self, frames: int, judged: int) -> Spent:
        """What was spent since, over so many frames of which a network saw so many."""
        start, end = self._start, resource.getrusage(resource.RUSAGE_SELF)
        return Spent(
            frames=frames,
            user_s=end.ru_utime - start.ru_utime,
            system_s=end.ru_stime - start.ru_stime,
            wall_s=(time.monotonic_ns() - self._start_ns) / 1e9,
            switches=end.ru_nvcsw - start.ru_nvcsw + end.ru_nivcsw - start.ru_nivcsw,
            judged=judged,
        )
