"""The frame ledger: captured = published + in flight + lost, at every moment."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from scopeline.errors import LedgerError
from scopeline.wire import LedgerReport


class Ledger:
    """Counts every frame in and out. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captured = 0
        self._published = 0
        self._lost: Counter[str] = Counter()

    def capture(self) -> None:
        """A frame was handed over by the source."""
        with self._lock:
            self._captured += 1

    def publish(self) -> None:
        """A frame's result, or its reason for having none, is about to be handed to the sinks."""
        with self._lock:
            self._published += 1

    def lose(self, reason: str, count: int = 1) -> None:
        """Frames were given up before they were judged."""
        if count:
            with self._lock:
                self._lost[reason] += count

    def report(self, damaged: Mapping[str, int] | None = None) -> LedgerReport:
        """The ledger as one consistent reading."""
        with self._lock:
            lost = dict(self._lost)
            captured, published = self._captured, self._published
        return LedgerReport(
            captured=captured,
            published=published,
            in_flight=captured - published - sum(lost.values()),
            lost=lost,
            damaged=dict(damaged or {}),
        )

    def settle(self) -> None:
        """Check the equation at the end of a run, when nothing is in flight any more.

        Raises:
            LedgerError: a frame is unaccounted for, or was counted twice.
        """
        report = self.report()
        if report.in_flight != 0:
            raise LedgerError(
                f"every captured frame must be published or lost with a reason; captured {report.captured}, "
                f"published {report.published}, lost {report.lost}: {report.in_flight:+d} unaccounted. "
                "This is a defect of Scopeline: please report it with the command you ran"
            )
