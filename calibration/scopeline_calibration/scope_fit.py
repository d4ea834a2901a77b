"""ScopeFit: a scope profile fitted to what a clip came to, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from scopeline.errors import SourceError
from scopeline.field_estimator import Estimate, black_boxes_of, estimate_field, signal_overlay
from scopeline.field_of_view import FieldOfView, Shape
from scopeline.overlay import Box, Grey, Mask, Overlay, OverlayKind, box_iou
from scopeline.scope_profile import PinnedOverlay, ScopeProfile
from scopeline_calibration.clip_looks import ClipLooks
from scopeline_calibration.static_text import find_static_text

STEADY_IOU = 0.95
"""Each third of a clip must give the whole clip's box at least so well. Clips of one scope gave 0.985 and more."""
SHARP_RIM = 0.5
"""Share of the rim within the signal at which light must end sharply; where it fades, shadow and not a border ends it.
Clips gave 0.88 and more, one whose corners a detector had drawn over 0.54."""

_NEARBY = 0.015
"""Sides are moved at most so far, as a share of the field's longer side."""
_OWN = 0.03
"""A side of a disc is its own when it lies so near to the circle, as a share of the radius."""
_CHORD = 0.012
"""A line belongs to the field when light covers it for so long, as a share of the signal's height."""
_OVER, _LOWEST, _HIGHEST = 11, 16, 30
"""Light is so many grey levels above the background, but at least and at most so bright: the estimator's own rule."""
_SHOWN = 0.6
_STEP = 8
"""Grey levels by which the inside of a rim is brighter than its outside."""
_DARK = 40
"""A border is at most so bright."""


@dataclass(frozen=True, slots=True)
class ScopeFit:
    """What was fitted, and how sure it is."""

    profile: ScopeProfile
    field: FieldOfView
    """The same with every overlay, those beside the field included."""
    pictures: int
    thirds_iou: tuple[float, ...]
    """Agreement of beginning, middle and end with the whole; a dark part is left out."""
    sharp_rim: float
    """Share of the rim at which light ends sharply; 1 for a field that fills the signal."""
    field_moved: bool
    """False when the picture stood still, so that text within the field could not be told from mucosa."""


def fit_scope(looks: ClipLooks, *, title: str) -> ScopeFit:
    """A scope profile from a clip's looks.

    Args:
        looks: The clip.
        title: What a person calls the processor and setting.

    Raises:
        SourceError: no stable field: nothing bright, parts of the clip that disagree, or a rim that is no edge.
    """
    guide = _persistent_guide(looks.guides)
    estimate = estimate_field(looks.whole, guide)
    if estimate is None:
        raise SourceError(
            f"{looks.name}: no stable field: at most 3 % of the picture is ever bright; use a clip with the light on"
        )
    thirds = _agreement(looks, estimate, guide)
    estimate = replace(estimate, box=_outermost(looks.whole, estimate))
    sharp = _sharpness(looks.whole, estimate, looks.overview, guide)
    if sharp < SHARP_RIM:
        raise SourceError(
            f"{looks.name}: no stable field: light ends sharply along {sharp:.0%} of the supposed rim, {SHARP_RIM:.0%} "
            "is wanted; it fades into shadow, so that no border can be told. Use a brighter clip of the same processor"
        )
    overlays = [
        signal_overlay(kind, box, looks.overview, looks.signal)
        for kind, box in _boxes(looks, estimate, guide)
    ]
    found = estimate.field(1, looks.overview, looks.signal, tuple(overlays))
    statistics = (looks.mean.shape[1], looks.mean.shape[0])
    text = find_static_text(looks, found.mask(*statistics, without_overlays=True))
    written = [
        signal_overlay(OverlayKind.TEXT, box, statistics, looks.signal)
        for box in (*text.within, *text.beside)
    ]
    field = replace(found, overlays=(*overlays, *written))
    return ScopeFit(_profile(field, title), field, looks.pictures, thirds, sharp, text.field_moved)


def _outermost(bright: Grey, estimate: Estimate) -> tuple[float, float, float, float]:
    """The estimate's box with each side moved out to where light ends nearby, faint rims included.

    The estimator asks how full lines are, which is safe in single pictures and a few pixels short in a whole clip.
    Where a disc is cut off the side stays: beyond a bent cut there are tips of light, but darkness between them.
    """
    if estimate.shape is Shape.FULL:
        return estimate.box
    height, width = bright.shape
    x, y, w, h = estimate.box
    margin = _NEARBY * max(w, h)
    left, top = max(0, round(x - margin)), max(0, round(y - margin))
    right, bottom = min(width, round(x + w + margin)), min(height, round(y + h + margin))
    background = float(np.quantile(bright, 0.02))
    near = (bright[top:bottom, left:right] > np.clip(background + _OVER, _LOWEST, _HIGHEST)).astype(np.uint8)
    near = cv2.morphologyEx(near, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    least = max(3, round(_CHORD * height))
    columns = np.flatnonzero(near.sum(axis=0, dtype=np.int64) >= least)
    rows = np.flatnonzero(near.sum(axis=1, dtype=np.int64) >= least)
    if not len(columns) or not len(rows):
        return estimate.box
    light = (left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1)
    x0, y0, x1, y1 = (
        outer if _is_own_rim(estimate, side, inner) else inner
        for side, (inner, outer) in enumerate(
            zip((x, y, x + w, y + h), (min(x, light[0]), min(y, light[1]), max(x + w, light[2]), max(y + h, light[3])),
                strict=True)
        )
    )  # fmt: skip
    return x0, y0, x1 - x0, y1 - y0


def _is_own_rim(estimate: Estimate, side: int, at: float) -> bool:
    """Whether the left, top, right or bottom side (0 to 3) is the shape's own and not a cut through a disc."""
    if estimate.circle is None:
        return True
    own = estimate.circle[side % 2] + (estimate.circle[2] if side >= 2 else -estimate.circle[2])
    return abs(own - at) <= _OWN * estimate.circle[2]


def _persistent_guide(guides: Sequence[Box | None]) -> Box | None:
    """The median position display when most pictures show one."""
    boxes = [box for box in guides if box is not None]
    if not boxes or len(boxes) < _SHOWN * len(guides):
        return None
    x, y, width, height = np.median(np.array(boxes), axis=0)
    return int(x), int(y), int(width), int(height)


def _agreement(looks: ClipLooks, estimate: Estimate, guide: Box | None) -> tuple[float, ...]:
    parts = [estimate_field(third, guide) for third in looks.thirds]
    names = (
        ("beginning", "middle", "end") if len(parts) == 3 else tuple(str(n + 1) for n in range(len(parts)))
    )
    found = [(name, part) for name, part in zip(names, parts, strict=True) if part is not None]
    ious = tuple(box_iou(part.box, estimate.box) for _, part in found)
    if not ious or min(ious) >= STEADY_IOU:
        return ious
    name, part = found[int(np.argmin(ious))]
    raise SourceError(
        f"{looks.name}: no stable field: its {name} shows {_words(part, looks)}, the whole clip "
        f"{_words(estimate, looks)} "
        f"(IoU {min(ious):.2f}, wanted {STEADY_IOU}); cut the clip where the scope or the setting changes"
    )


def _words(estimate: Estimate, looks: ClipLooks) -> str:
    x, y, width, height = estimate.field(1, looks.overview, looks.signal, ()).box
    return f"{estimate.shape.value} {width}x{height} at {x},{y}"


def _sharpness(bright: Grey, estimate: Estimate, overview: tuple[int, int], guide: Box | None) -> float:
    """Share of the rim, where it lies within the signal, at which light drops to darkness within a few pixels."""
    width, height = overview
    mask = estimate.field(1, overview, overview, ()).mask(width, height).astype(np.uint8)
    reach = max(2, height // 120)
    # Beyond the signal's edge the field goes on: only rims within the signal are judged.
    padded = cv2.copyMakeBorder(mask, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inner = cv2.erode(padded, kernel)[reach:-reach, reach:-reach]
    rim: Mask = np.asarray(
        (mask == 1) & (cv2.erode(padded, np.ones((3, 3), np.uint8))[reach:-reach, reach:-reach] == 0)
    )
    if guide is not None:
        x, y, w, h = guide
        rim[max(0, y - reach) : y + h + reach, max(0, x - reach) : x + w + reach] = False
    if np.count_nonzero(rim) < height // 10:
        return 1.0
    smooth = cv2.blur(bright, (3, 3))
    inside = cv2.dilate(np.where(inner == 1, smooth, 0).astype(np.uint8), cv2.dilate(kernel, kernel))
    outside = np.where(cv2.dilate(mask, kernel) == 0, smooth, 255).astype(np.uint8)
    beyond = cv2.erode(outside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * reach + 1, 4 * reach + 1)))
    # A strip thinner than the reach between rim and signal edge has no outside to look at.
    judged = rim & (beyond < 255)
    if not judged.any():
        return 1.0
    darker = beyond[judged].astype(np.int16)
    sharp = (inside[judged].astype(np.int16) - darker >= _STEP) & (darker <= _DARK)
    return float(np.mean(sharp))


def _boxes(looks: ClipLooks, estimate: Estimate, guide: Box | None) -> list[tuple[OverlayKind, Box]]:
    boxes = [(OverlayKind.BLACK_BOX, box) for box in black_boxes_of(looks.whole, estimate, guide)]
    return boxes if guide is None else [(OverlayKind.SCOPE_GUIDE, guide), *boxes]


def _profile(field: FieldOfView, title: str) -> ScopeProfile:
    return ScopeProfile(
        name=title,
        signal=(field.signal_width, field.signal_height),
        shape=field.shape,
        box=field.box,
        circle=None if field.circle is None else _rounded(field.circle),
        outline=tuple((float(round(x)), float(round(y))) for x, y in field.outline),
        overlays=tuple(_pinned(overlay) for overlay in field.overlays),
    )


def _rounded(circle: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, radius = circle
    return round(x, 1), round(y, 1), round(radius, 1)


def _pinned(overlay: Overlay) -> PinnedOverlay:
    return PinnedOverlay(kind=overlay.kind, box=overlay.box)
