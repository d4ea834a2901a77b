"""MarkedArea: what a mask head marks, told in pixels of the signal, where a display can draw it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Head, Input
from scopeline.crop import Placement, Points, View
from scopeline.field_of_view import FieldOfView
from scopeline.overlay import Box, Mask
from scopeline.prediction import MaskProbabilities

MOST_REGIONS = 8
"""Regions that are outlined, the largest ones."""
MOST_POINTS = 48
"""Corners of one outline. With `MOST_REGIONS` the bound on a message: 384 corners, about 6 kB."""
MOST_RUNS = 4000
"""Longer run lengths are not told: no lesion makes them, noise does."""

_FINER = 3
"""Outlines are sought on a grid so many times finer, between the network's own pixels, which are 8 signal pixels wide
where 128 stand for 1080 lines. Odd, so that the middle of each pixel is on it and none is lost. 4 took half as long
again and was no better to see."""
_SLACK = 0.25
"""How far an outline may leave the true one, in pixels of the network. More when that needs too many corners."""
_FIELD_LINES = 540
"""Height at which the field's area is counted."""

Outline = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class MarkedArea:
    """What a mask head marks on one frame."""

    share: float
    """Of the field of view's area, 0..1."""
    peak: float
    """Highest probability within the field, 0..1."""
    box: Box | None
    """x, y, width, height in signal pixels around all regions; None where nothing is marked."""
    regions: int
    """Connected regions, of which at most `MOST_REGIONS` are outlined."""
    outlines: tuple[Outline, ...]
    """Corners (x, y) in signal pixels, largest region first; holes are not told."""
    marked: Mask
    """(H, W) bool, in the pixels of the network."""


@dataclass(frozen=True, slots=True)
class _Sight:
    """How a view sees one field."""

    field: FieldOfView
    placement: Placement
    shares: NDArray[np.float32]
    """(H, W): the share of the field's area that a pixel of the view shows; 0 beside the field."""
    inside: NDArray[np.float32]
    """(H, W): 1 in the field, 0 beside it."""
    pixel: float
    """Signal pixels per pixel of the view."""


class MaskTracer:
    """Turns a head's mask into what is told of it. Belongs to one thread; keeps what depends on the field alone.

    Args:
        head: A mask head.
        shown: What its network is shown.
    """

    def __init__(self, head: Head, shown: Input) -> None:
        self.head = head
        assert head.threshold is not None  # a bundle's mask head has one
        self.threshold = head.threshold
        self._view = View(shown.crop, shown.width, shown.height)
        self._sight: _Sight | None = None

    def trace(self, probabilities: MaskProbabilities, field: FieldOfView) -> MarkedArea:
        """What is marked within a field.

        Args:
            probabilities: (H, W) float32 of the network's input.
            field: The field that the input was cut from.
        """
        if self._sight is None or field is not self._sight.field:
            self._sight = _look(self._view, field)
        sight = self._sight
        within = probabilities * sight.inside
        marked: Mask = within >= self.threshold
        peak = float(within.max())
        if not marked.any():
            return MarkedArea(0.0, peak, None, 0, (), marked)
        share = float(np.vdot(sight.shares, marked.astype(np.float32)))
        found = self._outlines(within, marked, sight)
        found.sort(key=_area, reverse=True)
        outlines = tuple(_simplified(points, _SLACK * sight.pixel) for points in found[:MOST_REGIONS])
        return MarkedArea(share, peak, _box_around(found), len(found), outlines, marked)

    def _outlines(
        self, within: NDArray[np.float32], marked: Mask, sight: _Sight
    ) -> list[NDArray[np.float32]]:
        """Every point of every outline, in signal pixels."""
        height, width = marked.shape
        x, y, w, h = cv2.boundingRect(marked.view(np.uint8))
        left, top, right, bottom = max(x - 1, 0), max(y - 1, 0), min(x + w + 1, width), min(y + h + 1, height)
        part = cv2.resize(within[top:bottom, left:right], None, fx=_FINER, fy=_FINER)
        fine: NDArray[np.uint8] = (part >= self.threshold).view(np.uint8)
        # Along a straight run the corners are enough, unless the view bends it.
        chain = cv2.CHAIN_APPROX_NONE if sight.placement.is_bent else cv2.CHAIN_APPROX_SIMPLE
        found, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, chain)
        # All regions at once: many small ones cost 0.03 ms each otherwise.
        every = sight.placement.to_signal((np.concatenate(found)[:, 0] + 0.5) / _FINER + (left, top))
        ends = np.cumsum([len(each) for each in found])[:-1]
        return np.split(every.astype(np.float32), ends)


def run_lengths(marked: Mask) -> list[int] | None:
    """Lengths of the runs of False and True, column after column, beginning with False (COCO's uncompressed form).

    Args:
        marked: (H, W) bool.

    Returns:
        The lengths, which sum to H times W; None when there are more than `MOST_RUNS`.
    """
    flat = marked.ravel(order="F")
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if len(ends) >= MOST_RUNS:
        return None
    lengths: list[int] = np.diff(ends, prepend=0, append=flat.size).tolist()
    return [0, *lengths] if flat[0] else lengths


def _look(view: View, field: FieldOfView) -> _Sight:
    placement = view.placement(field)
    corners = placement.to_signal(_grid(view.width + 1, view.height + 1, 0.0))
    areas = _cell_areas(corners.reshape(view.height + 1, view.width + 1, 2))
    centres = placement.to_signal(_grid(view.width, view.height, 0.5))
    lines = min(field.signal_height, _FIELD_LINES)
    columns = max(1, round(field.signal_width * lines / field.signal_height))
    mask = field.mask(columns, lines)
    across, down = columns / field.signal_width, lines / field.signal_height
    column, row = np.floor(centres[:, 0] * across), np.floor(centres[:, 1] * down)
    seen = (column >= 0) & (column < columns) & (row >= 0) & (row < lines)
    seen &= mask[row.clip(0, lines - 1).astype(np.intp), column.clip(0, columns - 1).astype(np.intp)]
    seen &= _is_shown(placement, view)
    inside = seen.reshape(view.height, view.width)
    total = max(1, int(mask.sum())) / (across * down)
    return _Sight(
        field,
        placement,
        np.where(inside, areas / total, 0).astype(np.float32),
        inside.astype(np.float32),
        float(np.sqrt(placement.source[2] * placement.source[3] / placement.target[2] / placement.target[3])),
    )


def _grid(columns: int, rows: int, offset: float) -> Points:
    x, y = np.meshgrid(np.arange(columns) + offset, np.arange(rows) + offset)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _is_shown(placement: Placement, view: View) -> Mask:
    """Which of the view's pixels, in one row, show the signal; the others are letterbox."""
    x, y, width, height = placement.target
    shown = np.zeros((view.height, view.width), np.bool_)
    shown[y : y + height, x : x + width] = True
    return shown.ravel()


def _cell_areas(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H, W) areas in signal pixels of the cells between (H + 1, W + 1, 2) corners, by their diagonals."""
    first, second = corners[1:, 1:] - corners[:-1, :-1], corners[1:, :-1] - corners[:-1, 1:]
    areas: NDArray[np.float64] = np.abs(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]) / 2
    return areas


def _area(points: NDArray[np.float32]) -> float:
    return cv2.contourArea(points)


def _simplified(points: NDArray[np.float32], slack_px: float) -> Outline:
    """Fewer corners (Douglas and Peucker 1973): as few as the slack allows, and never more than `MOST_POINTS`."""
    corners = cv2.approxPolyDP(points, slack_px, True)
    while len(corners) > MOST_POINTS:
        slack_px *= 1.6
        corners = cv2.approxPolyDP(points, slack_px, True)
    return tuple((x, y) for x, y in np.round(corners[:, 0].astype(np.float64), 1).tolist())


def _box_around(outlines: list[NDArray[np.float32]]) -> Box:
    every = np.concatenate(outlines)
    (left, top), (right, bottom) = np.floor(every.min(axis=0)), np.ceil(every.max(axis=0))
    return int(left), int(top), max(1, int(right - left)), max(1, int(bottom - top))
