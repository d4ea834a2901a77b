"""Pace: the clock of a source, and the wait of a paced replay."""

from __future__ import annotations

import threading
import time


class Pace:
    """Monotonic time and a wait for a moment of it that another thread can end."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now_ns(self) -> int:
        """`time.monotonic_ns()`."""
        return time.monotonic_ns()

    def wait_until(self, deadline_ns: int) -> bool:
        """Return at the deadline, at once if it has passed. False means: stopped, deliver nothing more."""
        while (left_ns := deadline_ns - self.now_ns()) > 0:
            if self._stopped.wait(left_ns / 1e9):
                return False
        return not self._stopped.is_set()

    def stop(self) -> None:
        """End the wait that is going on and every later one."""
        self._stopped.set()
