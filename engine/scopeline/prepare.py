"""Prepare: find the field of view, refuse what nobody could judge, cut out what the networks are shown."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scopeline.bundle import Input
from scopeline.crop import View
from scopeline.field_of_view import FieldOfView
from scopeline.field_tracker import FieldEvent, FieldTracker, TrackerState
from scopeline.frame import Frame
from scopeline.notices import Signal
from scopeline.picture import MakeResize, Pixels, Resizer
from scopeline.prediction import Reason
from scopeline.quality import GateState, HardGate
from scopeline.signal_look import SignalLook


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame without its picture: what the networks will see, or why they see nothing."""

    seq: int
    captured_ns: int
    time_s: float
    prepared_ns: int
    field: FieldOfView | None
    event: FieldEvent | None
    views: tuple[Pixels, ...]
    """One per input of the `Preparer`, in its order; empty when there is a reason."""
    reason: Reason | None
    weather: Signal | None = None
    """Live: what the whole signal shows instead of a scope's picture, if it does."""


@dataclass(frozen=True, slots=True)
class PreparerState:
    """All that a preparer remembers of a recording."""

    tracker: TrackerState
    gate: GateState
    event: FieldEvent | None = None
    """What was seen in the last frame and belongs to the next one."""


class PixelPool:
    """Buffers that are used again: a new 150 kB array per frame costs more in page faults than in pixels."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._free: deque[Pixels] = deque()  # its append and pop are atomic

    def take(self) -> Pixels:
        try:
            return self._free.pop()
        except IndexError:
            return np.empty(self._shape, np.uint8)

    def give_back(self, pixels: Pixels) -> None:
        self._free.append(pixels)


class Preparer:
    """Turns frames into what the networks are shown. Belongs to one thread; `release` may come from another.

    The field of view is looked for in a frame after it was prepared, and what is found holds from the next one on: a
    look takes 5 ms, at least one frame a second has one, and no live result shall wait for it (99th percentile of the
    age 9.5 instead of 12 ms at 1080p30). Only a signal of another size is looked at first.

    Args:
        inputs: The different network inputs of the pipeline; quality's hard reasons are judged on the first.
        tracker: Finds the field of view.
        look: Live, looks at the whole signal for what is no scope's picture.
        make_resize: What cuts and scales the views.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        tracker: FieldTracker,
        look: SignalLook | None = None,
        *,
        make_resize: MakeResize = Resizer,
    ) -> None:
        self.inputs = tuple(inputs)
        self._tracker, self._look = tracker, look
        self._gate = HardGate()
        self._size = (0, 0)
        self._last: Frame | None = None
        self._event: FieldEvent | None = None
        self._views = [
            View(wanted.crop, wanted.width, wanted.height, make_resize=make_resize) for wanted in inputs
        ]
        self._pools = [PixelPool((wanted.height, wanted.width, 3)) for wanted in inputs]

    def state(self) -> PreparerState:
        """What it remembers now, the look at the last frame included."""
        self.catch_up()
        return PreparerState(self._tracker.state(), self._gate.state(), self._event)

    def restore(self, state: PreparerState) -> None:
        """Go on from where another preparer of the same inputs was."""
        self._tracker.restore(state.tracker)
        self._gate.restore(state.gate)
        self._size, self._last, self._event = state.tracker.size, None, state.event

    def prepare(self, frame: Frame) -> Prepared:
        """One frame's views, or the reason for none."""
        self.catch_up()
        size = (frame.picture.width, frame.picture.height)
        if size != self._size:
            self._size = size
            self._event = _both(self._event, self._tracker.observe(frame.picture, frame.time_s))
        else:
            self._last = frame
        event, self._event = self._event, None
        field = self._tracker.field
        weather = self._look.look(frame.picture, frame.time_s, field) if self._look else None
        reason: Reason | None = Reason.NO_FIELD
        views: tuple[Pixels, ...] = ()
        if field is not None:
            views = tuple(
                view(frame.picture, field, pool.take())
                for view, pool in zip(self._views, self._pools, strict=True)
            )
            reason = self._gate.check(views[0], frame.time_s)
        if reason is not None:
            self.release(views)
            views = ()
        return Prepared(
            frame.seq,
            frame.captured_ns,
            frame.time_s,
            time.monotonic_ns(),
            field,
            event,
            views,
            reason,
            weather,
        )

    @property
    def owes_a_look(self) -> bool:
        """Whether `catch_up` has something to do that takes its time."""
        frame = self._last
        return frame is not None and self._tracker.is_due(frame.picture, frame.time_s)

    def catch_up(self) -> None:
        """Look for the field in the frame that was prepared last. For who has handed it on and has nothing to do until
        the next one comes; else the next `prepare` begins with it."""
        frame, self._last = self._last, None
        if frame is not None:
            self._event = self._tracker.observe(frame.picture, frame.time_s)

    def release(self, views: Sequence[Pixels]) -> None:
        """Give the buffers of a `Prepared` back when the networks have seen them."""
        for pool, pixels in zip(self._pools, views, strict=False):
            pool.give_back(pixels)


def _both(pending: FieldEvent | None, now: FieldEvent | None) -> FieldEvent | None:
    """What is to be told of two events that no frame came between."""
    if now is None:
        return pending
    if pending is not None and pending.kind == "locked" and now.kind == "lost":
        return None  # nobody was told that it was found
    return now
