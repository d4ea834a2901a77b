"""Tally: what the messages of one run add up to, for everything that is written when it is over."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass

from scopeline.field_of_view import FieldOfView, Shape
from scopeline.overlay import Overlay, OverlayKind
from scopeline.wire import FieldMessage, FrameMessage, Message, SegmentMessage, StatusMessage

OUTSIDE = "outside"
"""The location label of frames from outside the body. Their pictures are never shown or stored."""
END_OF_SOURCE = "end of source"
"""How the engine's last status words it when nothing cut the run short."""
_MOST_TROUBLES = 20


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame that may be shown, and the field of view that it must be cut to."""

    frame: int
    time_s: float
    field: FieldOfView


class Tally:
    """Counts a run's messages and keeps the newest of each segment and field.

    Filled by one thread, read after it. Memory grows by 16 bytes per judged frame, and by some 70 per frame
    while the scope is outside: 4 to 20 MB for an hour at 60 frames/s.
    """

    def __init__(self) -> None:
        self.published = 0
        self.usable = 0
        self.reasons: Counter[str] = Counter()
        self.fields: dict[int, FieldMessage] = {}
        """The newest message of each geometry."""
        self.started: StatusMessage | None = None
        self.ended: StatusMessage | None = None
        """The last status, `ended` or `failed`; None when the run was cut off."""
        self.troubles: dict[str, StatusMessage] = {}
        """What did not work on our side while the run went on, by its text; at most `_MOST_TROUBLES`."""
        self.stream_s = 0.0
        """Stream time of the newest frame."""
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self._segments: dict[int, SegmentMessage] = {}
        self._field_from: tuple[list[int], list[int | None]] = ([], [])
        self._judged: tuple[array[int], array[float]] = (array("q"), array("d"))
        self._outside: set[int] = set()

    @property
    def segments(self) -> list[SegmentMessage]:
        """The newest message of each segment, by number."""
        return [self._segments[number] for number in sorted(self._segments)]

    @property
    def events(self) -> list[Message]:
        """What was said beside the frames and still holds: added to an empty tally after the frames, they make this one
        again."""
        first = [self.started] if self.started else []
        last = [self.ended] if self.ended else []
        fields = [self.fields[number] for number in sorted(self.fields)]
        return [*first, *fields, *self.segments, *self.troubles.values(), *last]

    @property
    def finished(self) -> bool:
        """Whether the source was read to its end."""
        return self.ended is not None and self.ended.event == "ended" and self.ended.text == END_OF_SOURCE

    @property
    def seconds(self) -> float:
        """Wall time from the first message to the last."""
        return 0.0 if self.first_ns is None or self.last_ns is None else (self.last_ns - self.first_ns) / 1e9

    def add(self, message: Message) -> None:
        """Count one message, in the order of publishing."""
        if self.first_ns is None:
            self.first_ns = message.published_ns
        self.last_ns = message.published_ns
        if isinstance(message, FrameMessage):
            self._add_frame(message)
        elif isinstance(message, SegmentMessage):
            self._segments[message.number] = message
        elif isinstance(message, FieldMessage):
            if message.field is not None:
                self.fields[message.field] = message
        elif message.event == "started":
            self.started = message
        elif message.event == "trouble" and len(self.troubles) < _MOST_TROUBLES:
            self.troubles.setdefault(message.text, message)
        elif message.event in ("ended", "failed"):
            self.ended = message

    def shot_of(self, segment: SegmentMessage) -> Shot | None:
        """The segment's key frame; None if it is from outside the body or there is no field to cut it to."""
        if segment.location == OUTSIDE or segment.key_frame is None or segment.key_frame_s is None:
            return None
        return self._shot(segment.key_frame, segment.key_frame_s)

    def middle_shot(self) -> Shot | None:
        """The judged frame closest to the middle of the stream; None when there is none that may be shown.

        Frames that were not judged are left out although they would show a wrong field as well: nobody knows
        whether they are from outside the body.
        """
        numbers, times = self._judged
        outside = [(s.start_s, s.end_s) for s in self._segments.values() if s.location == OUTSIDE]
        middle = bisect_left(times, self.stream_s / 2)
        for place in sorted(range(len(numbers)), key=lambda at: abs(at - middle)):
            # An operator's mark can put a stretch outside that the networks took for the inside.
            if any(start_s <= times[place] <= end_s for start_s, end_s in outside):
                continue
            shot = self._shot(numbers[place], times[place])
            if shot is not None:
                return shot
        return None

    def field(self, number: int | None) -> FieldOfView | None:
        """The geometry of that number; None when there is none."""
        return _geometry(self.fields[number]) if number in self.fields else None

    def last_field(self) -> FieldOfView | None:
        """The geometry that was found last; None when the field was never found."""
        found = [number for number in self._field_from[1] if number is not None]
        return _geometry(self.fields[found[-1]]) if found else None

    def _shot(self, frame: int, time_s: float) -> Shot | None:
        place = bisect_right(self._field_from[0], frame) - 1
        number = self._field_from[1][place] if place >= 0 else None
        field = (
            _geometry(self.fields[number]) if number in self.fields and frame not in self._outside else None
        )
        return Shot(frame, time_s, field) if field is not None else None

    def _add_frame(self, message: FrameMessage) -> None:
        self.published += 1
        self.stream_s = message.time_s
        starts, numbers = self._field_from
        if not numbers or numbers[-1] != message.field:
            starts.append(message.frame)
            numbers.append(message.field)
        if is_outside(message):
            self._outside.add(message.frame)
        if message.reason is not None:
            self.reasons[message.reason] += 1
            return
        self.usable += 1
        self._judged[0].append(message.frame)
        self._judged[1].append(message.time_s)


def is_outside(message: FrameMessage) -> bool:
    """Whether the frame itself or the state around it says so: either is enough to keep its picture back."""
    if any(head.tag == OUTSIDE for head in message.smoothed.values()):
        return True
    return any(
        OUTSIDE in head.probabilities and head.probabilities[OUTSIDE] == max(head.probabilities.values())
        for head in message.heads.values()
    )


def _geometry(message: FieldMessage) -> FieldOfView | None:
    if message.field is None or message.shape is None or message.box is None or message.signal is None:
        return None
    x, y, width, height = message.box
    return FieldOfView(
        id=message.field,
        shape=Shape(message.shape),
        x=x,
        y=y,
        width=width,
        height=height,
        signal_width=message.signal[0],
        signal_height=message.signal[1],
        overlays=tuple(Overlay(OverlayKind(each.kind), *each.box) for each in message.overlays),
        circle=message.circle,
        outline=tuple(message.outline),
    )
