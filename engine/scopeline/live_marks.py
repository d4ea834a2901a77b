"""LiveMarks: what the operator says during a feed, on its way from the thread that hears to the one that concludes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Final

from scopeline.marks import Mark, MarkKind, Marks

MOST_WAITING: Final = 256
"""Marks that may wait for a frame. A person gives a few per minute; more is a stuck pedal or a stranger's program."""


@dataclass(frozen=True, slots=True)
class _Said:
    at_ns: int
    kind: MarkKind
    label: str | None


class LiveMarks:
    """A box for live marks: `add` from any thread, `due` and `rest` from the concluding one.

    A mark counts from the moment it was made: the stream time of a frame, less what lies between making the mark and
    capturing that frame. That can be shortly before frames that were concluded already (segments are cut in the recent
    past), but never before an earlier mark and never before the stream began.

    Args:
        recorded: Marks of the recording that is replayed, given out among the live ones.
    """

    def __init__(self, recorded: Marks | None = None) -> None:
        self._recorded = recorded or Marks()
        self._lock = threading.Lock()
        self._waiting: list[_Said] = []
        self._last_s = 0.0

    def add(self, kind: MarkKind, label: str | None, at_ns: int) -> bool:
        """Take a mark made at `at_ns` (`time.monotonic_ns()`); False when too many wait already.

        Raises:
            ValueError: this kind needs a label, or takes none.
        """
        Mark(
            0.0, kind, label
        )  # what the concluding thread could not make must be told to the one who said it
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                return False
            self._waiting.append(_Said(at_ns, kind, label))
            return True

    def due(self, time_s: float, captured_ns: int) -> list[Mark]:
        """Marks up to a frame with this stream time and time of capture, in order, each once."""
        recorded = self._recorded.due(time_s)
        live = [_mark(said, time_s, captured_ns) for said in self._take(captured_ns)]
        return self._in_order([*recorded, *live]) if recorded or live else []

    def rest(self, time_s: float, captured_ns: int) -> list[Mark]:
        """What was said after the last frame, whose stream time and time of capture these are."""
        return self._in_order([_mark(said, time_s, captured_ns) for said in self._take(None)])

    def _take(self, until_ns: int | None) -> list[_Said]:
        if not self._waiting:  # nearly always; reading a list's length needs no lock
            return []
        with self._lock:
            heard, self._waiting = sorted(self._waiting, key=lambda said: said.at_ns), []
            if until_ns is not None:
                self._waiting = [said for said in heard if said.at_ns > until_ns]
            return heard[: len(heard) - len(self._waiting)]

    def _in_order(self, marks: list[Mark]) -> list[Mark]:
        ordered: list[Mark] = []
        for mark in sorted(marks, key=lambda mark: mark.time_s):
            self._last_s = max(self._last_s, mark.time_s)
            ordered.append(replace(mark, time_s=self._last_s))
        return ordered


def _mark(said: _Said, time_s: float, captured_ns: int) -> Mark:
    return Mark(max(0.0, time_s - (captured_ns - said.at_ns) / 1e9), said.kind, said.label)
