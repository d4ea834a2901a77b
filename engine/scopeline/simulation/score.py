"""Score: what a run found in a simulated procedure, beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scopeline.segment_metrics import Tag, edit_score, f1_at, runs_of
from scopeline.simulation.procedure import Procedure, TrueSegment
from scopeline.wire import FrameMessage, Message, SegmentMessage


@dataclass(frozen=True, slots=True)
class Pair:
    """One true segment and the found segment that covers most of it."""

    true: TrueSegment
    found: SegmentMessage | None
    iou: float
    """Overlap in time over union, 0..1; 0 without a found segment of the same place."""

    @property
    def grade_right(self) -> bool:
        """Whether the worst MES was found; outside the body there is none to find."""
        return self.found is not None and self.found.mes_worst == self.true.mes


@dataclass(frozen=True, slots=True)
class Score:
    """The figures of one run."""

    pairs: tuple[Pair, ...]
    surplus: int
    """Found segments that are nobody's pair."""
    f1_50: float
    """Segment F1 at an IoU of 0.5, 0..1 (MS-TCN's measure)."""
    edit: float
    """Edit score of the segment labels, 0..1."""
    static_flips: int
    """Changes of the organ or MES tag while the scope was held still."""

    @property
    def grades_right(self) -> bool:
        return all(pair.grade_right for pair in self.pairs)


class ScoreKeeper:
    """Listens to a run's messages and scores them at the end."""

    def __init__(self, procedure: Procedure, *, organ_head: str = "organ", grade_head: str = "mes") -> None:
        self._procedure = procedure
        self._heads = (organ_head, grade_head)
        self._segments: dict[int, SegmentMessage] = {}
        self._tags: dict[str, list[tuple[float, Tag]]] = {head: [] for head in self._heads}

    def hear(self, message: Message) -> None:
        """Take one message of the run."""
        if isinstance(message, SegmentMessage):
            self._segments[message.number] = message
        elif isinstance(message, FrameMessage):
            for head in self._heads:
                if head in message.smoothed:
                    self._tags[head].append((message.time_s, message.smoothed[head].tag))

    def score(self) -> Score:
        """The figures, once the run has ended."""
        found = [segment for segment in self._segments.values() if segment.state == "final"]
        times = [truth.time_s for truth in self._procedure.truths()]
        predicted = [_location_at(found, time_s) for time_s in times]
        true = [self._procedure.segment_at(time_s).organ for time_s in times]
        pairs = tuple(_pair(segment, found) for segment in self._procedure.segments)
        used = {pair.found.number for pair in pairs if pair.found is not None}
        return Score(
            pairs=pairs,
            surplus=len(found) - len(used),
            f1_50=f1_at(0.5, predicted, true) / 100,
            edit=edit_score(predicted, true) / 100,
            static_flips=sum(self._flips(head) for head in self._heads),
        )

    def _flips(self, head: str) -> int:
        flips = 0
        for start_s, end_s in self._procedure.static_stretches:
            tags = [tag for time_s, tag in self._tags[head] if start_s <= time_s < end_s]
            flips += max(len(runs_of(tags)) - 1, 0)
        return flips


def _location_at(found: Sequence[SegmentMessage], time_s: float) -> Tag:
    return next((segment.location for segment in found if segment.start_s <= time_s < segment.end_s), None)


def _pair(true: TrueSegment, found: Sequence[SegmentMessage]) -> Pair:
    def iou(segment: SegmentMessage) -> float:
        shared = min(segment.end_s, true.end_s) - max(segment.start_s, true.start_s)
        return max(shared, 0.0) / (max(segment.end_s, true.end_s) - min(segment.start_s, true.start_s))

    same = [segment for segment in found if segment.location == true.organ and iou(segment) > 0]
    best = max(same, key=iou, default=None)
    return Pair(true, best, iou(best) if best else 0.0)
