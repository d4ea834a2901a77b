"""A clock that stands still until somebody waits for it or moves it."""

from __future__ import annotations

from scopeline.sources.pace import Pace


class ManualPace(Pace):
    """Waiting takes no time: it moves the clock to the deadline. `busy` plays a slow consumer."""

    def __init__(self, now_ns: int = 5_000_000_000) -> None:
        super().__init__()
        self.clock_ns = now_ns
        self.waits_ns: list[int] = []

    def now_ns(self) -> int:
        return self.clock_ns

    def wait_until(self, deadline_ns: int) -> bool:
        self.waits_ns.append(max(0, deadline_ns - self.clock_ns))
        self.clock_ns = max(self.clock_ns, deadline_ns)
        return not self._stopped.is_set()

    def busy(self, milliseconds: float) -> None:
        self.clock_ns += round(milliseconds * 1e6)
