"""Showable: which frames of a run may be seen by others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scopeline.tally import OUTSIDE, is_outside
from scopeline.wire import FrameMessage, SegmentMessage


def showable(frames: Iterable[FrameMessage], segments: Sequence[SegmentMessage]) -> list[bool]:
    """Whether each frame, in order, may be shown: it lies inside the body as far as anybody can know.

    A judged frame may when neither it nor the tag around it nor its segment says outside. One that was not judged
    (blurred, black, no field) may when the judged frames before and after it may: on the way out of the body, blurred
    pictures of the room come before the first one that is recognized. Before the first judged frame and after the last
    nothing is shown.
    """
    outside = [(each.start_s, each.end_s) for each in segments if each.location == OUTSIDE]
    known: list[bool | None] = []
    for frame in frames:
        away = is_outside(frame) or any(start <= frame.time_s <= end for start, end in outside)
        known.append(False if away else True if frame.reason is None else None)
    before, after = _nearest(known), _nearest(known[::-1])[::-1]
    return [first and last for first, last in zip(before, after, strict=True)]


def _nearest(known: Sequence[bool | None]) -> list[bool]:
    """What was known last, at each place; False before anything was."""
    held, out = False, []
    for value in known:
        held = held if value is None else value
        out.append(held)
    return out
