"""Segments: from smoothed tags to "ascending, 02:10-03:40, MES 2, based on 212 of 900 frames".

No clock, no thread, no I/O, and memory that does not grow with the recording. Segments do not overlap;
between two neighbours there is no gap unless the stream had one.

How a boundary comes about: when the tag changes, the old segment goes on as a provisional one while the new
tag proves itself for `merge_s`. Then the boundary is put where the frames' own evidence turned (maximum
likelihood over the recent `recent_s`), not where the hysteresis let go, and the old segment is final. A tag
that does not last that long never was a segment: its frames go to the side of the change point that explains
them better.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline.change_point import change_point
from scopeline.hysteresis import FLOOR
from scopeline.marks import Mark
from scopeline.prediction import Reason
from scopeline.segment_tally import GradeRules, SegmentTally, Sighting
from scopeline.smoothing import LONGEST_STEP_S

IGNORED = "ignored"
"""Reason of frames that the operator told us to ignore."""


class SegmentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a segment, and what makes it assessable."""

    merge_s: float = 5.0
    """A shorter run of a tag is no segment of its own."""
    outside_s: float = 5.0
    """A shorter stay out of the body does not split."""
    gap_s: float = 10.0
    """A longer stretch without frames, or without a tag, splits."""
    recent_s: float = 15.0
    """How far back a boundary may be put."""
    refresh_s: float = 1.0
    """How often a running segment is published."""
    usable_weight: float = 0.5
    """A frame is usable from this quality on, 0..1."""
    least_frames: int = 50
    """Usable frames without which a segment is not assessable."""
    least_s: float = 5.0
    """Usable seconds without which a segment is not assessable."""
    least_graded: int = 10
    """Usable frames with a grade without which a segment has none (the grade head may run on every n-th
    frame)."""
    dominant_at: float = 0.5
    """Cut-off on the mean P(grade >= k) for the dominant grade."""
    worst_at: float = 0.6
    """Cut-off on a frame's P(grade >= k) for the worst grade ..."""
    worst_share: float = 0.9
    """... which this share of a window's informative frames must reach ..."""
    worst_window_s: float = 2.0
    """... over a window of this length."""

    def __post_init__(self) -> None:
        if self.recent_s <= max(self.merge_s, self.outside_s, self.gap_s):
            raise ValueError(
                f"recent_s must exceed merge_s, outside_s and gap_s, got {self.recent_s}, "
                f"{self.merge_s}, {self.outside_s} and {self.gap_s}"
            )


@dataclass(frozen=True, slots=True)
class Observation:
    """One frame as the segmenter sees it."""

    seq: int
    time_s: float
    """Stream time; must grow."""
    location: int | None
    """Smoothed tag: index into the segmenter's locations, None when there is none."""
    location_posterior: NDArray[np.float64] | Sequence[float] | None
    """(K,) smoothed posterior."""
    grades: NDArray[np.floating] | Sequence[float] | None
    """(G,) calibrated probabilities of this frame, None when it has none."""
    weight: float
    """Quality, 0..1."""
    reason: str | None = None
    """Why the frame could not be judged, None when it could."""
    location_evidence: NDArray[np.floating] | Sequence[float] | None = None
    """(K,) calibrated location probabilities of this frame alone. They place boundaries more exactly than the
    smoothed posterior, which is taken instead when they are absent."""
    findings: Mapping[str, str] = field(default_factory=dict)
    """What heads that are neither of quality, location nor grade said of this frame, by head."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of the procedure and what was seen in it."""

    number: int
    """From 1 and stable: a later message with this number replaces an earlier one."""
    location: str | None
    start_s: float
    end_s: float
    mes_dominant: int | None
    mes_worst: int | None
    histogram: tuple[int, ...]
    """Usable frames per grade, by the most probable grade."""
    expected: float | None
    """Weighted mean of the expected grade."""
    confidence: float | None
    """Share of bootstrap draws in which the evidence names the same location; None while provisional or
    marked."""
    grade_confidence: float | None
    """Share of bootstrap draws with the same dominant grade; None while provisional."""
    frames_seen: int
    frames_usable: int
    reasons: Mapping[str, int]
    """Unusable frames by reason; they add up to seen minus usable."""
    informative_s: float
    key_frame: int | None
    """Number of the frame that shows the segment best."""
    key_frame_s: float | None
    assessable: bool
    """False: too little was seen to say a grade. A normal answer."""
    state: Literal["provisional", "final"]
    marked: bool
    """The operator named it."""
    findings: Mapping[str, Mapping[str, int]]
    """Usable frames, by head that is neither of quality, location nor grade, and by what it said."""


@dataclass(slots=True)
class _Open:
    """The segment that frames go to now."""

    number: int
    location: str | None
    start_s: float
    marked: bool
    old: SegmentTally
    """The frames that can no longer go to another segment."""
    all: SegmentTally
    """These and the recent ones."""
    published_s: float | None = None


@dataclass(slots=True)
class _Challenge:
    """A tag that is not the open segment's, and may become the next."""

    location: str | None
    begun_s: float
    left_s: float
    """When the open segment's tag was last seen."""


class Segmenter:
    """Turns observations into segments, one by one as they come."""

    def __init__(
        self,
        settings: SegmentSettings,
        locations: tuple[str, ...],
        grades: int,
        *,
        outside: frozenset[str] = frozenset({"outside"}),
    ) -> None:
        self._settings, self._locations, self._outside = settings, locations, outside
        self._index = {name: index for index, name in enumerate(locations)}
        self._rules = GradeRules(
            grades, settings.dominant_at, settings.worst_at, settings.worst_share, settings.worst_window_s
        )
        self._open: _Open | None = None
        self._recent: deque[Sighting] = deque()
        self._challenge: _Challenge | None = None
        self._ordered: str | None = None
        self._ignoring = False
        self._last_s: float | None = None
        self._count = 0
        self.current: Segment | None = None
        """The running segment as it was last published; None before the first."""

    def update(self, observation: Observation) -> list[Segment]:
        """Take one frame; returns the segments worth publishing: opened, refreshed, final."""
        out: list[Segment] = []
        if self._last_s is not None and observation.time_s - self._last_s > self._settings.gap_s:
            out += self._close(self._last_s)
        sighting = self._sighting(observation)
        self._last_s = observation.time_s
        location = self._locate(observation)
        if self._open is None:
            self._begin(location, observation.time_s)
        self._recent.append(sighting)
        out += self._follow(location, sighting)
        self._settle(observation.time_s - self._settings.recent_s)
        return out + self._refresh(observation.time_s)

    def mark(self, mark: Mark) -> list[Segment]:
        """Take an operator's mark, at its stream time or shortly after; returns the segment it ended, if
        any."""
        if mark.kind == "end" and self._ignoring:
            self._ignoring = False
            return []
        self._ignoring = mark.kind == "ignore"
        if mark.kind == "segment":
            self._ordered = mark.label
            return self._cut(mark.time_s, self._ordered)
        if mark.kind == "end" and self._ordered is not None:
            self._ordered = None
            return self._cut(mark.time_s, None)
        return []

    def finish(self, time_s: float) -> list[Segment]:
        """The stream has ended at `time_s`: the remaining segment, final."""
        return self._close(time_s)

    def _sighting(self, observation: Observation) -> Sighting:
        step_s = 0.0 if self._last_s is None else observation.time_s - self._last_s
        if step_s < 0.0:
            raise ValueError(f"time_s must not fall, got {observation.time_s} after {self._last_s}")
        reason = observation.reason
        if self._ignoring:
            reason = IGNORED
        elif reason is None and observation.weight < self._settings.usable_weight:
            reason = Reason.UNSCORABLE.value
        posterior = _floats(observation.location_posterior)
        evidence = _floats(observation.location_evidence) or posterior
        return Sighting(
            observation.seq,
            observation.time_s,
            min(step_s, LONGEST_STEP_S),
            observation.weight,
            reason,
            posterior,
            None if observation.reason is not None else evidence,
            _floats(observation.grades),
            observation.findings,
        )

    def _locate(self, observation: Observation) -> str | None:
        if self._ordered is not None:
            return self._ordered
        return None if observation.location is None else self._locations[observation.location]

    def _tally(self, location: str | None) -> SegmentTally:
        index = None if self._ordered is not None else self._index_of(location)
        return SegmentTally(self._rules, location_count=len(self._locations), location=index)

    def _index_of(self, location: str | None) -> int | None:
        return None if location is None else self._index.get(location)

    def _begin(self, location: str | None, start_s: float) -> None:
        self._count += 1
        self._challenge = None
        old, everything = self._tally(location), self._tally(location)
        self._open = _Open(self._count, location, start_s, self._ordered is not None, old, everything)

    def _follow(self, location: str | None, sighting: Sighting) -> list[Segment]:
        """Give the newest frame to the open segment, or to a challenge to it."""
        run = self._open
        assert run is not None
        if location == run.location:
            if self._challenge is None:
                run.all.add(sighting)
            else:
                self._challenge = None
                self._recount(run)
            return []
        if run.location is None and not run.marked and sighting.time_s - run.start_s < self._settings.gap_s:
            self._rename(run, location)
            return []
        return self._defy(run, location, sighting.time_s)

    def _defy(self, run: _Open, location: str | None, time_s: float) -> list[Segment]:
        challenge = self._challenge
        if challenge is None or challenge.location != location:
            left_s = time_s if challenge is None else challenge.left_s
            begun_s = self._recent[self._turn(run.location, location)].time_s
            challenge = self._challenge = _Challenge(location, begun_s, left_s)
        proven = time_s - challenge.begun_s >= self._needed_s(location)
        # Tags that keep changing would otherwise be one endless challenge.
        if not proven and time_s - challenge.left_s < self._settings.recent_s:
            return []
        return self._split(self._turn(run.location, location), location)

    def _needed_s(self, location: str | None) -> float:
        if location is None:
            return self._settings.gap_s
        return self._settings.outside_s if location in self._outside else self._settings.merge_s

    def _turn(self, old: str | None, new: str | None) -> int:
        """Index of the first recent frame of the new location."""
        before, after = self._score(old), self._score(new)
        gains = [
            0.0 if seen.evidence is None else seen.weight * (after(seen.evidence) - before(seen.evidence))
            for seen in self._recent
        ]
        return min(change_point(gains, latest=old is None), len(gains) - 1)

    def _score(self, location: str | None) -> _Score:
        return _Score(self._index_of(location), len(self._locations))

    def _split(self, at: int, location: str | None) -> list[Segment]:
        """End the open segment before recent frame `at`, and begin the next with that frame."""
        run = self._open
        assert run is not None
        start_s = self._recent[at].time_s
        if not run.marked and start_s - run.start_s < self._settings.merge_s:
            self._rename(run, location)
            return []
        return self._hand_over(at, start_s, location)

    def _hand_over(self, at: int, start_s: float, location: str | None) -> list[Segment]:
        run = self._open
        assert run is not None
        for _ in range(at):
            run.old.add(self._recent.popleft())
        ended = self._report(run, run.old, start_s, final=True)
        self._begin(location, start_s)
        self._recount(self._open)
        return [ended]

    def _rename(self, run: _Open, location: str | None) -> None:
        """A stretch too short to be a segment belongs to the one that follows."""
        run.location = location
        run.old.rename(None if run.marked else self._index_of(location))
        self._challenge = None
        self._recount(run)

    def _recount(self, run: _Open | None) -> None:
        """Tally the open segment anew: what has settled is read from `old`, the rest from the recent
        frames."""
        assert run is not None
        run.all = run.old.copy()
        for sighting in self._recent:
            run.all.add(sighting)

    def _cut(self, time_s: float, location: str | None) -> list[Segment]:
        """Start a segment at a mark, with the recent frames after it."""
        run = self._open
        if run is None:
            return []
        at = next((i for i, seen in enumerate(self._recent) if seen.time_s >= time_s), len(self._recent))
        start_s = max(time_s, run.start_s)
        if at == len(self._recent):
            return self._close(start_s)
        if start_s <= run.start_s:
            run.marked = location is not None
            self._rename(run, location)
            return []
        return self._hand_over(at, start_s, location)

    def _close(self, end_s: float) -> list[Segment]:
        run, self._open = self._open, None
        if run is None:
            return []
        for sighting in self._recent:
            run.old.add(sighting)
        self._recent.clear()
        self._challenge = None
        self.current = None
        return [self._report(run, run.old, max(end_s, run.start_s), final=True)]

    def _settle(self, until_s: float) -> None:
        run, recent = self._open, self._recent
        assert run is not None
        while recent and recent[0].time_s < until_s:
            run.old.add(recent.popleft())

    def _refresh(self, time_s: float) -> list[Segment]:
        run, settings = self._open, self._settings
        assert run is not None
        age_s = time_s - run.start_s
        unnamed = run.location is None and bool(self._locations)
        if run.published_s is None:
            due = run.marked or age_s >= (settings.gap_s if unnamed else settings.merge_s)
        else:
            due = time_s - run.published_s >= settings.refresh_s
        if not due:
            return []
        run.published_s = time_s
        self.current = self._report(run, run.all, time_s, final=False)
        return [self.current]

    def _report(self, run: _Open, tally: SegmentTally, end_s: float, *, final: bool) -> Segment:
        assessable = self._is_assessable(run, tally)
        key = None if run.location in self._outside else tally.key_frame()
        confidence, grade_confidence = tally.confidences(run.number) if final else (None, None)
        return Segment(
            number=run.number,
            location=run.location,
            start_s=run.start_s,
            end_s=end_s,
            mes_dominant=tally.dominant() if assessable else None,
            mes_worst=tally.worst() if assessable else None,
            histogram=tuple(tally.histogram),
            expected=tally.expected() if assessable else None,
            confidence=None if run.marked else confidence,
            grade_confidence=grade_confidence if assessable else None,
            frames_seen=tally.seen,
            frames_usable=tally.usable,
            reasons=dict(tally.reasons),
            # A frame stands for the time up to it, a segment ends at its last frame: the first one's share sticks out.
            informative_s=min(tally.informative_s, end_s - run.start_s),
            key_frame=None if key is None else key.seq,
            key_frame_s=None if key is None else key.time_s,
            assessable=assessable,
            state="final" if final else "provisional",
            marked=run.marked,
            findings={head: dict(counts) for head, counts in tally.findings.items()},
        )

    def _is_assessable(self, run: _Open, tally: SegmentTally) -> bool:
        settings = self._settings
        if run.location is None and self._locations:
            return False  # nobody knows what was seen there
        return (
            run.location not in self._outside
            and tally.usable >= settings.least_frames
            and tally.informative_s >= settings.least_s
            and (self._rules.grades == 0 or tally.graded >= settings.least_graded)
        )


@dataclass(frozen=True, slots=True)
class _Score:
    """Log-probability of a location by a frame's evidence; of no location, and of one that the head does not
    know, that of a guess."""

    index: int | None
    count: int

    def __call__(self, evidence: list[float]) -> float:
        share = 1 / self.count if self.index is None else evidence[self.index]
        return log(max(share, FLOOR))


def _floats(values: NDArray[np.floating] | Sequence[float] | None) -> list[float] | None:
    if values is None:
        return None
    listed: list[float] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return listed
