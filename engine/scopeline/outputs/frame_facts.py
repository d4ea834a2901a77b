"""Frame facts: what outputs must know of all frames before they write the first, gathered in one reading of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from scopeline.outputs.showable import showable
from scopeline.outputs.timeline import Column, Timeline
from scopeline.summary import Summary
from scopeline.wire import FrameMessage, SegmentMessage


@dataclass(slots=True)
class FrameFacts:
    """Of a whole run."""

    strip: Sequence[Column] = ()
    """The timeline."""
    may_show: Sequence[bool] = ()
    """By frame, in order."""
    key_frames: dict[int, FrameMessage] = field(default_factory=dict)
    """By number: those that stand for a segment."""
    heads: dict[str, Sequence[str]] = field(default_factory=dict)
    """Labels of every head that answered at least once."""
    smoothed: dict[str, Sequence[str]] = field(default_factory=dict)
    graded: set[str] = field(default_factory=set)
    """Heads that gave an expected grade."""
    masks: dict[str, None] = field(default_factory=dict)
    """Mask heads, in the order in which they first answered."""

    def note(self, frame: FrameMessage) -> None:
        self.heads.update((name, list(head.probabilities)) for name, head in frame.heads.items())
        self.smoothed.update((name, list(head.posterior)) for name, head in frame.smoothed.items())
        self.graded.update(name for name, head in frame.heads.items() if head.expected is not None)
        self.masks.update(dict.fromkeys(frame.masks))


def frame_facts(
    frames: Iterable[FrameMessage], summary: Summary, segments: Sequence[SegmentMessage]
) -> FrameFacts:
    """The facts of a finished run; memory of a byte or eight per frame, whatever a frame holds."""
    facts = FrameFacts()
    timeline = Timeline(summary.stream_s, summary.frames.published)
    wanted = {segment.key_frame for segment in segments}

    def noted() -> Iterator[FrameMessage]:
        for frame in frames:
            facts.note(frame)
            timeline.add(frame)
            if frame.frame in wanted:
                facts.key_frames[frame.frame] = frame
            yield frame

    facts.may_show = showable(noted(), segments)
    facts.strip = timeline.columns
    return facts
