"""Fixed lag: what the tag of a moment turns out to have been, a few seconds later.

Hysteresis switches late by construction. Once it has switched, the frames it waited through say where the
change really was; tags of frames that are still within the lag are rewritten up to that point, and what
leaves the lag is final.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import log

from scopeline.change_point import change_point
from scopeline.hysteresis import FLOOR


@dataclass(frozen=True, slots=True)
class Revision:
    """The final tag of one moment, and the tag that was shown live."""

    time_s: float
    tag: int | None
    live_tag: int | None
    final: bool = True


@dataclass(slots=True)
class _Moment:
    time_s: float
    live_tag: int | None
    tag: int | None
    probabilities: list[float] | None
    informative_s: float


class FixedLag:
    """Keeps the last `lag_s` seconds of tags and evidence."""

    def __init__(self, lag_s: float) -> None:
        self._lag_s = lag_s
        self._moments: deque[_Moment] = deque()
        self._due: list[Revision] = []

    def push(
        self, time_s: float, tag: int | None, *, probabilities: list[float] | None, informative_s: float
    ) -> None:
        """Take one moment's live tag and evidence; `probabilities` is None where there was none."""
        if tag is not None and self._moments and self._moments[-1].live_tag != tag:
            self._backdate(tag)
        self._moments.append(_Moment(time_s, tag, tag, probabilities, informative_s))
        while self._moments[0].time_s <= time_s - self._lag_s:
            self._due.append(_final(self._moments.popleft()))

    def take(self) -> list[Revision]:
        """Revisions since the last call, oldest first."""
        due, self._due = self._due, []
        return due

    def finish(self) -> list[Revision]:
        """The stream has ended: everything still in the lag becomes final."""
        self._due.extend(_final(moment) for moment in self._moments)
        self._moments.clear()
        return self.take()

    def _backdate(self, tag: int) -> None:
        old = self._moments[-1].live_tag
        moments = list(self._moments)
        start = len(moments)
        while start > 0 and moments[start - 1].tag == old:
            start -= 1
        gains = [_gain(moment, old, tag) for moment in moments[start:]]
        for moment in moments[start + change_point(gains) :]:
            moment.tag = tag


def _gain(moment: _Moment, old: int | None, new: int) -> float:
    if moment.probabilities is None:
        return 0.0
    shares = moment.probabilities
    before = 1 / len(shares) if old is None else shares[old]
    return moment.informative_s * (log(max(shares[new], FLOOR)) - log(max(before, FLOOR)))


def _final(moment: _Moment) -> Revision:
    return Revision(moment.time_s, moment.tag, moment.live_tag)
