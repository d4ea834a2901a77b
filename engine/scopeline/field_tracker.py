"""The field tracker: one geometry held over time, found again when the signal changes.

Pure: no clock and no thread. All time is stream time, so a recording played fast and a live signal get the same
geometry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import numpy.ma  # np.median imports it when first called: 30 ms in the middle of a live frame

from scopeline.field_estimator import (
    Estimate,
    black_boxes_of,
    estimate_field,
    overview_size,
    signal_overlay,
)
from scopeline.field_of_view import ROUND, FieldOfView
from scopeline.overlay import Box, Grey, Mask, Overlay, OverlayKind, box_iou, find_scope_guide
from scopeline.picture import Picture, Resizer
from scopeline.profile_choice import ProfileChoice
from scopeline.scope_profile import ScopeProfile

SEARCH_EVERY_S = 0.1
SETTLE_EVERY_S = 0.2
CHECK_EVERY_S = 1.0
GRACE_S = 2.0
"""How long the last geometry still serves after it was given up."""

_SETTLING = 15
"""Overviews taken in quick succession after a lock: 3 s of a stream."""
_WINDOW = 9
"""Overviews in the running maximum. A longer memory would keep a field that has become smaller for longer."""
_AGREE, _DISAGREE = 0.98, 0.90
_CONTAINED = 0.005
_LOCK_AFTER, _GIVE_UP_AFTER = 3, 5
_PERSISTENCE = 30
_SHOWN, _GONE = 0.6, 0.4
_LIGHT = 30
_LEAST_LIT = 0.02
_SAME_BOX = 0.8


@dataclass(frozen=True, slots=True)
class FieldEvent:
    """The field was found, replaced or lost."""

    kind: Literal["locked", "changed", "lost"]
    time_s: float
    field: FieldOfView | None
    """The new geometry; None when it was lost."""
    profile: str | None = None
    """The scope profile that the geometry comes from; None when it was found."""
    text: str = ""
    """For people: which profile, or why none."""


@dataclass(frozen=True, slots=True)
class TrackerState:
    """All that a tracker remembers: one that is set to it goes on as the other would have."""

    size: tuple[int, int]
    """Width and height of the signal."""
    due_s: float
    field: FieldOfView | None
    last_id: int
    seen: int
    locked: Estimate | None
    outside: Mask | None
    previous: Grey | None
    window: tuple[Grey, ...]
    contrary: tuple[Grey, ...]
    guides: tuple[Box | None, ...]
    black: tuple[Box | None, ...]
    rival: Estimate | None
    rival_looks: int
    expires_s: float | None
    chosen: str | None = None


def next_look_s(state: TrackerState, looked_s: float) -> float:
    """When a tracker that has looked at `looked_s` looks again, as long as nothing happens to its lock."""
    return _due_s(state.locked, state.seen, looked_s)


def _due_s(locked: Estimate | None, seen: int, looked_s: float) -> float:
    held_s = SETTLE_EVERY_S if seen < _SETTLING else CHECK_EVERY_S
    every_s = SEARCH_EVERY_S if locked is None else held_s
    # A little early: stream times are sums of fractions, and 0.3 may be 0.30000000000000004.
    return looked_s + every_s - 1e-6


class FieldTracker:
    """Watches a stream's pictures and says where the field is. Belongs to one thread.

    Args:
        profile: Pins the geometry instead of searching for it; its overlays are then taken as they stand.
        choice: Recognises a known profile in what was found, whose geometry then takes its place.
    """

    field: FieldOfView | None
    """The geometry that holds now; None before the first lock and from 2 s after a loss."""

    def __init__(self, profile: ScopeProfile | None = None, *, choice: ProfileChoice | None = None) -> None:
        self.field = None
        self._profile, self._choice = profile, choice
        self._chosen: str | None = None
        self._last_id = 0
        self._width = self._height = 0
        self._due_s = 0.0
        self._restart(0, 0)

    def observe(self, picture: Picture, time_s: float) -> FieldEvent | None:
        """Look at one picture; every frame of a stream comes here, and most are not due to be looked at.

        Raises:
            ConfigError: the profile is not for a signal of this aspect. Said of the first picture only; a
                signal that changes later is a signal without a field.
        """
        if not self.is_due(picture, time_s):
            return None
        if picture.width != self._width or picture.height != self._height:
            return self._new_signal(picture, time_s)
        return self._look(picture, time_s)

    def is_due(self, picture: Picture, time_s: float) -> bool:
        """Whether `observe` would look at this picture."""
        is_same = picture.width == self._width and picture.height == self._height
        return time_s >= self._due_s or not is_same

    def state(self) -> TrackerState:
        """What it remembers now."""
        return TrackerState(
            size=(self._width, self._height),
            due_s=self._due_s,
            field=self.field,
            last_id=self._last_id,
            seen=self._seen,
            locked=self._locked,
            outside=self._outside,
            previous=self._previous,
            window=tuple(self._window),
            contrary=tuple(self._contrary),
            guides=tuple(self._guides),
            black=tuple(self._black),
            rival=self._rival,
            rival_looks=self._rival_looks,
            expires_s=self._expires_s,
            chosen=self._chosen,
        )

    def _new_signal(self, picture: Picture, time_s: float) -> FieldEvent | None:
        """A geometry is worth nothing at another resolution: start again at once."""
        first = self._width == 0
        had_field, self.field, self._chosen = self.field is not None, None, None
        self._restart(picture.width, picture.height)
        if self._profile is not None and (first or self._profile.fits(picture.width, picture.height)):
            self._due_s = float("inf")
            self._chosen = self._profile.name
            pinned = self._profile.field(self._last_id + 1, picture.width, picture.height)
            return self._hold(
                pinned, time_s, f"scope profile {self._profile.name!r}, as the pipeline names it"
            )
        if self._profile is not None:
            self._due_s = float("inf")
        else:
            self._look(picture, time_s)
        return FieldEvent("lost", time_s, None) if had_field else None

    def _restart(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._overview = overview_size(width, height)
        self._resizer = Resizer(*self._overview)
        self._previous: Grey | None = None
        self._window: deque[Grey] = deque(maxlen=_WINDOW)
        self._guides: deque[Box | None] = deque(maxlen=_PERSISTENCE)
        self._black: deque[Box | None] = deque(maxlen=_PERSISTENCE)
        self._seen = 0
        self._locked: Estimate | None = None
        self._outside: Mask | None = None
        self._rival: Estimate | None = None
        self._rival_looks = 0
        self._contrary: list[Grey] = []
        self._expires_s: float | None = None

    def restore(self, state: TrackerState) -> None:
        """Go on from where another tracker with the same profile was."""
        self._restart(*state.size)
        self._due_s, self.field, self._last_id = state.due_s, state.field, state.last_id
        self._seen, self._locked, self._outside = state.seen, state.locked, state.outside
        self._previous = state.previous
        self._window.extend(state.window)
        self._contrary = list(state.contrary)
        self._guides.extend(state.guides)
        self._black.extend(state.black)
        self._rival, self._rival_looks, self._expires_s = state.rival, state.rival_looks, state.expires_s
        self._chosen = state.chosen

    def _look(self, picture: Picture, time_s: float) -> FieldEvent | None:
        pixels = self._resizer(picture)
        red, green, blue = cv2.split(pixels)
        bright: Grey = np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)
        previous, self._previous = self._previous, bright
        if self._locked is not None:
            self._seen = min(
                self._seen + 1, _SETTLING
            )  # beyond that nobody asks: a long run is like a short one
        self._guides.append(find_scope_guide(pixels))
        event = None
        if previous is not None:
            # What is bright in one picture only (a flash, a dropped field) must never enter the running maximum.
            steady = np.asarray(cv2.min(bright, previous), np.uint8)
            event = self._search(steady, time_s) if self._locked is None else self._check(steady, time_s)
        self._due_s = _due_s(self._locked, self._seen, time_s)
        return event

    def _search(self, steady: Grey, time_s: float) -> FieldEvent | None:
        """Without a lock: publish after three estimates in a row that agree."""
        if (
            np.mean(steady > _LIGHT) >= _LEAST_LIT
        ):  # a dark picture is no evidence for what was seen before it
            self._window.append(steady)
            estimate = self._estimate()
            if estimate is not None and self._follow(estimate) >= _LOCK_AFTER:
                return self._lock(estimate, time_s)
        if self._expires_s is not None and time_s >= self._expires_s:
            self._expires_s, self.field, self._chosen = None, None, None
            return FieldEvent("lost", time_s, None)
        return None

    def _check(self, steady: Grey, time_s: float) -> FieldEvent | None:
        """With a lock: take better knowledge, and give up after five checks in a row that contradict."""
        if self._is_elsewhere(steady):
            self._contradict(steady, time_s)
            return None
        self._window.append(steady)
        estimate = self._estimate()
        if estimate is None or self._locked is None:
            return None  # a dark picture says nothing about the rim
        if box_iou(estimate.box, self._locked.box) < _DISAGREE:
            self._contradict(steady, time_s)
            return None
        self._contrary.clear()
        return self._refine(estimate, time_s)

    def _is_elsewhere(self, steady: Grey) -> bool:
        """Whether most of the locked border is lit: a white picture, a test card, a computer's desktop.

        Such pictures are held apart from the running maximum, which would keep them long after they are gone.
        """
        if self._outside is None:
            return False
        return float(np.mean(steady[self._outside] > _LIGHT)) > 0.5

    def _contradict(self, steady: Grey, time_s: float) -> None:
        """Count a check against the lock; after the fifth in a row it is given up."""
        self._contrary.append(steady)
        if len(self._contrary) < _GIVE_UP_AFTER:
            return
        self._window = deque(self._contrary, maxlen=_WINDOW)
        self._contrary = []
        self._locked, self._outside, self._rival, self._rival_looks, self._seen = None, None, None, 0, 0
        self._black.clear()
        self._expires_s = time_s + GRACE_S

    def _refine(self, estimate: Estimate, time_s: float) -> FieldEvent | None:
        """Light beyond the lock, in the same place time after time, means that a shadow bit into it."""
        locked = self._locked
        if locked is not None and _contains(estimate, locked) and locked.area < _AGREE * estimate.area:
            if self._follow(estimate) >= _GIVE_UP_AFTER:
                return self._lock(estimate, time_s)
        else:
            self._rival, self._rival_looks = None, 0
        return self._update_overlays(time_s)

    def _follow(self, estimate: Estimate) -> int:
        """How many estimates in a row agree, this one included."""
        rival, self._rival = self._rival, estimate
        same = rival is not None and (rival.shape in ROUND) == (estimate.shape in ROUND)
        agrees = same and rival is not None and box_iou(rival.box, estimate.box) >= _AGREE
        self._rival_looks = self._rival_looks + 1 if agrees else 1
        return self._rival_looks

    def _lock(self, estimate: Estimate, time_s: float) -> FieldEvent | None:
        if self._locked is None:
            self._seen = 0
        self._locked, self._rival, self._rival_looks, self._expires_s = estimate, None, 0, None
        signal = (self._width, self._height)
        field, text = estimate.field(self._last_id + 1, self._overview, signal, self._overlays(())), ""
        if self._choice is not None:
            choice = self._choice.settle(field)
            same = choice.profile is not None and choice.profile == self._chosen
            field, text, self._chosen = choice.field, choice.text, choice.profile
            if same and self.field is not None and replace(field, id=self.field.id) == self.field:
                return None  # the same profile recognised again: nothing has changed
        self._outside = self._border_of(field)
        return self._hold(field, time_s, text)

    def _border_of(self, field: FieldOfView) -> Mask | None:
        inside = cv2.dilate(field.mask(*self._overview).astype(np.uint8), np.ones((9, 9), np.uint8))
        outside: Mask = np.asarray(inside == 0, np.bool_)
        return outside if outside.mean() >= 0.05 else None

    def _hold(self, field: FieldOfView, time_s: float, text: str = "") -> FieldEvent:
        kind: Literal["locked", "changed"] = "locked" if self.field is None else "changed"
        self.field, self._last_id = field, field.id
        return FieldEvent(kind, time_s, field, self._chosen, text)

    def _estimate(self) -> Estimate | None:
        """The geometry of the running maximum, and a note of what is black in it."""
        most = self._window[0]
        if len(self._window) > 1:
            most = most.copy()
            for steady in list(self._window)[1:]:
                cv2.max(most, steady, dst=most)
        guide = _persistent(self._guides, 1 / _PERSISTENCE)
        estimate = estimate_field(most, guide)
        # A shorter look may have seen nothing but a lumen that stood still.
        if estimate is not None and len(self._window) == _WINDOW:
            boxes = black_boxes_of(most, estimate, guide)
            self._black.append(boxes[0] if boxes else None)
        return estimate

    def _update_overlays(self, time_s: float) -> FieldEvent | None:
        if self.field is None:
            return None
        text = tuple(each for each in self.field.overlays if each.kind is OverlayKind.TEXT)  # a profile's
        overlays = (*self._overlays(self.field.overlays), *text)
        if overlays == self.field.overlays:
            return None
        return self._hold(replace(self.field, id=self._last_id + 1, overlays=overlays), time_s)

    def _overlays(self, current: Sequence[Overlay]) -> tuple[Overlay, ...]:
        """What is drawn over the field: shown in 60 % of the last 30 looks, kept until under 40 %."""
        found: list[Overlay] = []
        for kind, looks in ((OverlayKind.SCOPE_GUIDE, self._guides), (OverlayKind.BLACK_BOX, self._black)):
            before = next((overlay for overlay in current if overlay.kind == kind), None)
            box = _persistent(looks, _GONE if before is not None else _SHOWN)
            if box is None:
                continue
            now = signal_overlay(kind, box, self._overview, (self._width, self._height))
            same = before is not None and box_iou(before.box, now.box) >= _SAME_BOX
            found.append(before if same and before is not None else now)
        return tuple(found)


def _persistent(looks: Sequence[Box | None], share: float) -> Box | None:
    """The median box when at least that share of the looks, and three of them, found one."""
    boxes = [box for box in looks if box is not None]
    if len(boxes) < min(3, len(looks)) or not boxes or len(boxes) < share * len(looks):
        return None
    x, y, width, height = np.median(np.array(boxes), axis=0)
    return int(x), int(y), int(width), int(height)


def _contains(outer: Estimate, inner: Estimate) -> bool:
    (ox, oy, ow, oh), (ix, iy, iw, ih) = outer.box, inner.box
    slack = _CONTAINED * max(ow, oh)
    return ox <= ix + slack and oy <= iy + slack and ox + ow >= ix + iw - slack and oy + oh >= iy + ih - slack
