"""Static text: where a processor writes, told by what stays the same and bright while the picture moves.

Beside the field everything bright is drawn. Within it, letters are thin strokes that do not change over time while the
mucosa around them does; where the mucosa itself hardly moves, nothing can be told apart and nothing is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.overlay import Box, Mask
from scopeline_calibration.clip_looks import ClipLooks

_STILL = 6.0
"""Standard deviation over time, in grey levels, that coding alone gives to what is drawn."""
_MOVES = 10.0
"""Median of the same over the field from which the picture counts as moving."""
_BRIGHT = 110.0
"""Grey level of letters on mucosa, which is itself bright."""
_OFTEN = 0.3
"""Share of the pictures in which a place beside the field must be bright: the digits of a clock change."""
_AWAY = 0.02
"""Distance from the field, as a share of the height, at which its glow has ended."""
_LEAST = 4e-5
"""Share of the signal's area that strokes must cover: less is noise."""
_MOST_FILLED = 0.65
"""Share of its box that a group of letters fills; a burnt-out patch of mucosa fills more."""
_MOST_BOXES = 24


@dataclass(frozen=True, slots=True)
class StaticText:
    """Where the processor writes, in pixels of the statistics."""

    beside: tuple[Box, ...]
    within: tuple[Box, ...]
    field_moved: bool
    """False when the picture stood still, so that text within it cannot be told from mucosa."""


def find_static_text(looks: ClipLooks, field: Mask) -> StaticText:
    """The text areas of a clip.

    Args:
        looks: The clip.
        field: (H, W) where its field is, overlays that are known already cut out; the size of `looks.mean`.
    """
    height = field.shape[0]
    reach = max(3, round(_AWAY * height)) | 1
    grown = cv2.dilate(field.astype(np.uint8), np.ones((reach, reach), np.uint8))
    often = (looks.drawn >= _OFTEN).astype(np.uint8)
    beside = _groups((grown == 0) & _apart(often, field), thin=False)
    inner = cv2.erode(
        cv2.copyMakeBorder(field.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0),
        np.ones((reach, reach), np.uint8),
    )[1:-1, 1:-1].astype(np.bool_)
    moved = bool(inner.any()) and float(np.median(looks.spread[inner])) >= _MOVES
    within: list[Box] = []
    if moved:
        around = cv2.boxFilter(looks.spread, -1, (2 * reach + 1, 2 * reach + 1))
        drawn = (looks.spread <= _STILL) & (looks.mean >= _BRIGHT) & (around >= _MOVES)
        within = _groups(inner & drawn, thin=True)
    return StaticText(tuple(beside), tuple(within), moved)


def _apart(bright: NDArray[np.uint8], field: Mask) -> Mask:
    """What is bright and hangs together with nothing in the field: a tip of light at a bent rim is no letter."""
    _, labels = cv2.connectedComponents(bright, connectivity=8)
    in_field = np.unique(labels[field & (bright > 0)])
    apart: Mask = (bright > 0) & ~np.isin(labels, in_field)
    return apart


def _groups(drawn: NDArray[np.bool_], *, thin: bool) -> list[Box]:
    """Boxes around strokes that stand in line or close above one another, the largest first."""
    height, width = drawn.shape
    strokes = drawn.astype(np.uint8)
    joined = cv2.morphologyEx(
        strokes, cv2.MORPH_CLOSE, np.ones((max(3, height // 40), max(5, height // 18)), np.uint8)
    )
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    covered = np.bincount(labels.ravel(), weights=strokes.ravel(), minlength=count)
    boxes: list[tuple[float, Box]] = []
    pad = max(1, height // 240)
    for label in range(1, count):
        x, y, w, h = (int(v) for v in stats[label, :4])
        if covered[label] < _LEAST * height * width or (thin and covered[label] > _MOST_FILLED * w * h):
            continue
        left, top = max(0, x - pad), max(0, y - pad)
        box = (left, top, min(width, x + w + pad) - left, min(height, y + h + pad) - top)
        boxes.append((float(covered[label]), box))
    return [box for _, box in sorted(boxes, reverse=True)[:_MOST_BOXES]]
