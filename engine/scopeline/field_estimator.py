"""The field estimator: one geometry from one overview, best from the running maximum over many pictures.

No single rule finds every field: rows and columns that are mostly occupied give rectangles and octagons to
within 2 % but lose 12 % of a disc; a circle fit gives discs and says nothing of octagons. So the circle is
tried first and taken only when it fits. Rim points and circle after Budd et al. 2022, arXiv 2210.14771.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.field_of_view import FieldOfView, Points, Shape
from scopeline.overlay import Box, Grey, Overlay, OverlayKind, find_black_boxes, find_scope_guide
from scopeline.picture import Pixels

OVERVIEW_LINES = 240
"""Largest height of an overview. Finer costs more than it tells: half a line of 240 is 0.2 % of the height."""

_DARKEST, _BRIGHTEST = 16, 30
_OVER_BACKGROUND = 11
_SPILL = 0.4
"""A pixel that the field covers by a tenth is already bright, so on average every side comes out this much too
far, in overview pixels."""
_LEAST_AREA = 0.03
"""A smaller bright patch (text, an icon, a lamp in the dark) is no field."""
_OCCUPANCY = 0.2
_SCAN_LINES = 32
_DRAWS = 64
"""With 60 % good points one draw in five is all good: 64 fail together once in six million."""
_TOLERANCE = 0.015
_INLIERS = 0.6
_ARC_DEG = 120
_BEYOND = 0.003
_CUT_LIT = 0.35
_BENT_CUT = 0.08
_FULL = 0.97
_SQUARE_CORNERS = 0.985

Curve = NDArray[np.float64]
"""(N, 2) float64, x and y in overview pixels."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A field's geometry in overview pixels, where pixel edges are whole numbers."""

    shape: Shape
    box: tuple[float, float, float, float]
    """x, y, width, height."""
    circle: tuple[float, float, float] | None = None
    outline: Points = ()

    @property
    def area(self) -> float:
        """Of the outline, or of the box of a shape that has none, in overview pixels."""
        if not self.outline:
            return self.box[2] * self.box[3]
        return float(cv2.contourArea(np.array(self.outline, np.float32)))

    def field(
        self, number: int, overview: tuple[int, int], signal: tuple[int, int], overlays: tuple[Overlay, ...]
    ) -> FieldOfView:
        """The same geometry in signal pixels, as a field with that number. Sizes are (width, height)."""
        across, down = signal[0] / overview[0], signal[1] / overview[1]
        left, top, right, bottom = _without_spill(self.box, overview)
        x0, y0, x1, y1 = round(left * across), round(top * down), round(right * across), round(bottom * down)
        circle = self.circle and (
            self.circle[0] * across, self.circle[1] * down, (self.circle[2] - _SPILL) * down
        )  # fmt: skip
        return FieldOfView(
            id=number, shape=self.shape, x=x0, y=y0, width=max(1, x1 - x0), height=max(1, y1 - y0),
            signal_width=signal[0], signal_height=signal[1], overlays=overlays, circle=circle,
            outline=tuple((x * across, y * down) for x, y in self.outline),
        )  # fmt: skip


def _without_spill(
    box: tuple[float, float, float, float], overview: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a box less the spill, except at the signal's own edge."""
    right, bottom = box[0] + box[2], box[1] + box[3]
    return (
        box[0] + _SPILL if box[0] > 0 else 0.0,
        box[1] + _SPILL if box[1] > 0 else 0.0,
        right - _SPILL if right < overview[0] else float(overview[0]),
        bottom - _SPILL if bottom < overview[1] else float(overview[1]),
    )


def overview_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the overview of a signal."""
    if height <= OVERVIEW_LINES:
        return width, height
    return max(1, round(width * OVERVIEW_LINES / height)), OVERVIEW_LINES


def field_of_still(pixels: Pixels) -> FieldOfView | None:
    """The field of one still picture, (H, W, 3) uint8 RGB, with its overlays; None when it is dark.

    One picture may hide its rim in a shadow. Where there is a stream, use `FieldTracker`.
    """
    height, width = pixels.shape[:2]
    small_width, small_height = overview_size(width, height)
    small: Pixels = np.asarray(
        cv2.resize(pixels, (small_width, small_height), interpolation=cv2.INTER_AREA), np.uint8
    )
    bright: Grey = small.max(axis=2)
    guide = find_scope_guide(small)
    estimate = estimate_field(bright, guide)
    if estimate is None:
        return None
    boxes = [(OverlayKind.BLACK_BOX, box) for box in black_boxes_of(bright, estimate, guide)]
    if guide is not None:
        boxes.insert(0, (OverlayKind.SCOPE_GUIDE, guide))
    overview, signal = (small_width, small_height), (width, height)
    overlays = tuple(signal_overlay(kind, box, overview, signal) for kind, box in boxes)
    return estimate.field(1, overview, signal, overlays)


def signal_overlay(
    kind: OverlayKind, box: Box, overview: tuple[int, int], signal: tuple[int, int]
) -> Overlay:
    """An overlay found in the overview, in signal pixels. Sizes are (width, height)."""
    across, down = signal[0] / overview[0], signal[1] / overview[1]
    x0, y0 = round(box[0] * across), round(box[1] * down)
    x1, y1 = round((box[0] + box[2]) * across), round((box[1] + box[3]) * down)
    return Overlay(kind, x0, y0, max(1, min(signal[0], x1) - x0), max(1, min(signal[1], y1) - y0))


def black_boxes_of(bright: Grey, estimate: Estimate, guide: Box | None) -> list[Box]:
    """Blackened boxes inside an estimated field, in overview pixels."""
    height, width = bright.shape
    region = np.zeros((height, width), np.bool_)
    x, y, w, h = (round(v) for v in estimate.box)
    region[y : y + h, x : x + w] = True
    if estimate.circle is not None:
        centre_x, centre_y, radius = estimate.circle
        rows, columns = np.ogrid[:height, :width]
        region &= (columns + 0.5 - centre_x) ** 2 + (rows + 0.5 - centre_y) ** 2 <= (radius * 0.99) ** 2
    if guide is not None:
        region[guide[1] : guide[1] + guide[3], guide[0] : guide[0] + guide[2]] = False
    return find_black_boxes(bright, region)


def estimate_field(bright: Grey, guide: Box | None = None) -> Estimate | None:
    """The field's geometry, or None when too little is bright to tell.

    Args:
        bright: (h, w) uint8, the largest of R, G, B per pixel (dark red mucosa keeps its red; luma loses
            it), best the maximum over 9 overviews taken 100 ms apart or more, so that no moving shadow
            bites into the rim.
        guide: A position display to leave out, in the same pixels.
    """
    region = _bright_region(bright, guide)
    if region is None:
        return None
    height, width = region.shape
    x0, y0, x1, y1 = _occupied(region, guide)
    region[:y0], region[y1:], region[:, :x0], region[:, x1:] = 0, 0, 0, 0
    circle = _fit_circle(_rim_points(region, (x0, y0, x1, y1), guide))
    if circle is not None and _holds(circle, region):
        return _round_estimate(region, circle, guide)
    if guide is not None:
        x, y, w, h = guide  # it hides a corner that the hull would otherwise cut off
        region[max(y, y0) : min(y + h, y1), max(x, x0) : min(x + w, x1)] = 1
    return _polygon_estimate(region, (x0, y0, x1, y1), width, height)


def _bright_region(bright: Grey, guide: Box | None) -> NDArray[np.uint8] | None:
    """The largest bright component without thin strokes, (h, w) uint8 of 0 and 1."""
    # The darkest 2 % are the screen's black where there is a border at all, and "black" is rarely 0.
    background = float(
        np.partition(bright[::4, ::4].ravel(), bright[::4, ::4].size // 50)[bright[::4, ::4].size // 50]
    )
    threshold = min(max(background + _OVER_BACKGROUND, _DARKEST), _BRIGHTEST)
    mask = cv2.threshold(bright, threshold, 1, cv2.THRESH_BINARY)[1]
    if guide is not None:
        x, y, w, h = guide
        mask[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1] = 0
    size = max(3, bright.shape[0] // 40) | 1
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((size, size), np.uint8))
    # Nothing thinner than the square is left, so half the size finds the same components in a quarter of the
    # time.
    half = np.ascontiguousarray(opened[::2, ::2])
    count, labels, stats, _ = cv2.connectedComponentsWithStats(half, connectivity=4, ltype=cv2.CV_16U)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[largest, cv2.CC_STAT_AREA] < _LEAST_AREA * half.size:
        return None
    # Opening with a square also shaves a round rim, by 1 % of its radius: what it took beside the field
    # comes back.
    component = np.asarray(labels == largest, np.uint8)
    near = cv2.dilate(
        cv2.resize(component, opened.shape[::-1], interpolation=cv2.INTER_NEAREST), np.ones((5, 5), np.uint8)
    )
    return np.asarray(cv2.bitwise_and(mask, near), np.uint8)


def _occupied(region: NDArray[np.uint8], guide: Box | None) -> tuple[int, int, int, int]:
    """First and past-the-last column and row that are occupied at least 20 % as far as the fullest one."""
    across, down = _line_sums(region, 0), _line_sums(region, 1)
    if guide is not None:
        # Lines that the display half hides are judged by the half that shows.
        x, y, w, h = guide
        across[x : x + w] *= _whole_to_seen(down, y, h)
        down[y : y + h] *= _whole_to_seen(_line_sums(region, 0), x, w)
    columns = np.flatnonzero(across >= _OCCUPANCY * across.max())
    rows = np.flatnonzero(down >= _OCCUPANCY * down.max())
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _whole_to_seen(lines: NDArray[np.float64], start: int, length: int) -> float:
    """How much longer the region is along an axis than its part outside a hidden stretch; 3 at most."""
    lit = np.flatnonzero(lines)
    first, last = int(lit[0]), int(lit[-1]) + 1
    hidden = max(0, min(start + length, last) - max(start, first))
    return (last - first) / max(last - first - hidden, (last - first) / 3)


def _rim_points(region: NDArray[np.uint8], sides: tuple[int, int, int, int], guide: Box | None) -> Curve:
    """Where scan lines enter and leave the region, but not where the signal or the display cuts it."""
    height, width = region.shape
    x0, y0, x1, y1 = sides
    rows = np.unique(np.linspace(y0, y1 - 1, _SCAN_LINES + 2).astype(int)[1:-1])
    columns = np.unique(np.linspace(x0, x1 - 1, _SCAN_LINES + 2).astype(int)[1:-1])
    lines, uprights = region[rows], region[:, columns].T
    left, right = lines.argmax(axis=1), width - lines[:, ::-1].argmax(axis=1)
    top, bottom = uprights.argmax(axis=1), height - uprights[:, ::-1].argmax(axis=1)
    points = np.concatenate([
        np.stack([left, rows + 0.5], axis=1), np.stack([right, rows + 0.5], axis=1),
        np.stack([columns + 0.5, top], axis=1), np.stack([columns + 0.5, bottom], axis=1),
    ]).astype(np.float64)  # fmt: skip
    x, y = points.T
    keep = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    # Half of a scan direction on one straight line is a flat side: it may clip a disc, but is not its rim.
    for values, side, first in ((x, x0, 0), (x, x1, 0), (y, y0, 2), (y, y1, 2)):
        flat = np.abs(values - side) <= 1
        if np.count_nonzero(flat[first * _SCAN_LINES : (first + 2) * _SCAN_LINES]) >= _SCAN_LINES // 4:
            keep &= ~flat
    if guide is not None:
        gx, gy, gw, gh = guide
        keep &= (x < gx - 3) | (x > gx + gw + 3) | (y < gy - 3) | (y > gy + gh + 3)
    rim: Curve = points[keep]
    return rim


_RANDOM = np.random.default_rng(2022).random((_DRAWS, 3))
"""The same draws every time: the same picture always gives the same geometry."""


def _fit_circle(points: Curve) -> tuple[float, float, float] | None:
    """RANSAC over circles through three rim points; None when too few agree or too short an arc is seen."""
    if len(points) < 12:
        return None
    draws = points[(_RANDOM * len(points)).astype(np.intp)]
    centres, radii = _circles_through(draws[:, 0], draws[:, 1], draws[:, 2])
    # Not np.hypot, which is safe from overflow and six times slower.
    away = (points[:, 0, None] - centres[:, 0]) ** 2 + (points[:, 1, None] - centres[:, 1]) ** 2
    agreeing = np.abs(np.sqrt(away) - radii) <= _TOLERANCE * radii
    agreeing[:, ~((radii > 8) & (radii < 2 * np.ptp(points, axis=0).max()))] = False
    inliers = agreeing[:, int(np.argmax(agreeing.sum(axis=0)))]
    for _ in range(2):
        if np.count_nonzero(inliers) < _INLIERS * len(points):
            return None
        centre_x, centre_y, radius = _least_squares_circle(points[inliers])
        off = np.abs(np.hypot(points[:, 0] - centre_x, points[:, 1] - centre_y) - radius)
        inliers = off <= _TOLERANCE * radius
    if np.count_nonzero(inliers) < _INLIERS * len(points):
        return None
    return (centre_x, centre_y, radius) if _arc_deg(points[inliers], centre_x, centre_y) >= _ARC_DEG else None


def _holds(circle: tuple[float, float, float], region: NDArray[np.uint8]) -> bool:
    """Whether no light lies beyond the disc: shadows take light away, only another shape puts it there."""
    beyond = cv2.countNonZero(region & (1 - _disc(circle, region.shape, 1 + _TOLERANCE)))
    return beyond <= _BEYOND * cv2.countNonZero(region)


def _disc(circle: tuple[float, float, float], size: tuple[int, ...], grown: float = 1.0) -> NDArray[np.uint8]:
    """(h, w) uint8 of 0 and 1."""
    disc = np.zeros(size, np.uint8)
    centre = (round((circle[0] - 0.5) * 16), round((circle[1] - 0.5) * 16))
    cv2.circle(disc, centre, round(circle[2] * grown * 16), 1, -1, shift=4)
    return disc


def _circles_through(a: Curve, b: Curve, c: Curve) -> tuple[Curve, NDArray[np.float64]]:
    """Centres (N, 2) and radii (N,) of circles through three points each; radius 0 for points on a line."""
    ab, ac = b - a, c - a
    cross = 2 * (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0])
    safe = np.where(np.abs(cross) < 1e-6, 1.0, cross)
    square_ab, square_ac = (ab**2).sum(axis=1), (ac**2).sum(axis=1)
    offset_x = (ac[:, 1] * square_ab - ab[:, 1] * square_ac) / safe
    offset_y = (ab[:, 0] * square_ac - ac[:, 0] * square_ab) / safe
    radii = np.where(np.abs(cross) < 1e-6, 0.0, np.hypot(offset_x, offset_y))
    return a + np.stack([offset_x, offset_y], axis=1), radii


def _least_squares_circle(points: Curve) -> tuple[float, float, float]:
    """Kasa's algebraic fit."""
    x, y = points.T
    solution = np.linalg.lstsq(np.stack([x, y, np.ones_like(x)], axis=1), x**2 + y**2, rcond=None)[0]
    centre_x, centre_y = float(solution[0] / 2), float(solution[1] / 2)
    return centre_x, centre_y, float(np.sqrt(solution[2] + centre_x**2 + centre_y**2))


def _arc_deg(points: Curve, centre_x: float, centre_y: float) -> int:
    """How much of the circle is seen, in steps of 6 degrees."""
    angles = np.degrees(np.arctan2(points[:, 1] - centre_y, points[:, 0] - centre_x))
    return 6 * len(np.unique(np.floor(angles / 6)))


def _round_estimate(
    region: NDArray[np.uint8], circle: tuple[float, float, float], guide: Box | None
) -> Estimate:
    centre_x, centre_y, radius = circle
    disc = _disc(circle, region.shape)
    if guide is not None:
        disc[guide[1] : guide[1] + guide[3], guide[0] : guide[0] + guide[2]] = 0
    seen = region & disc
    left, right = _flat_cuts(_line_sums(seen, 0), _line_sums(disc, 0), centre_x, radius)
    top, bottom = _flat_cuts(_line_sums(seen, 1), _line_sums(disc, 1), centre_y, radius)
    clipped = (right - left) < 1.96 * radius or (bottom - top) < 1.96 * radius
    shape = Shape.CLIPPED_CIRCLE if clipped else Shape.CIRCLE
    return Estimate(shape, (left, top, right - left, bottom - top), circle)


def _line_sums(mask: NDArray[np.uint8], axis: int) -> NDArray[np.float64]:
    """Set pixels per column (axis 0) or per row (axis 1)."""
    return np.asarray(cv2.reduce(mask, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S), np.float64).ravel()


def _flat_cuts(
    seen: NDArray[np.float64], expected: NDArray[np.float64], centre: float, radius: float
) -> tuple[float, float]:
    """Where a disc really starts and ends along one axis: at its radius, at the signal's edge, or at a flat
    cut.

    A cut is a step from empty to full lines; a shadow at the rim is not.
    """
    # NaN where the display hides the line, or the disc is too narrow there to tell.
    filled = np.where(expected > 0.2 * radius, seen / np.maximum(expected, 1.0), np.nan)
    start, end = max(0.0, centre - radius), min(float(len(seen)), centre + radius)
    lit = np.flatnonzero(filled >= _CUT_LIT)
    if len(lit) == 0:
        return start, end
    first, last = int(lit[0]), int(lit[-1]) + 1
    # At its own rim a disc's lines are short and the fit's error shows; at the signal's edge they are long.
    least_start = 0.025 * radius if centre > radius else 1.0
    least_end = 0.025 * radius if centre + radius < len(seen) else 1.0
    if first - start > least_start and _is_cut(filled[:first], filled[first:], radius):
        start = float(first)
    if end - last > least_end and _is_cut(filled[last:][::-1], filled[:last][::-1], radius):
        end = float(last)
    return start, end


def _is_cut(before: NDArray[np.float64], after: NDArray[np.float64], radius: float) -> bool:
    """Whether lines turn from empty to lit within two, and stay as lit as they begin; a shadow comes slowly.

    A bent cut comes slowly too, as in pictures freed of their distortion. It leaves more lines quite empty than a
    round shadow at the rim does.
    """
    empty = before[~np.isnan(before)]
    if np.count_nonzero(empty < 0.02) > _BENT_CUT * radius:
        return True
    if len(empty) < 2 or len(after) < 7 or empty[-7:-1].max() > 0.1 or np.isnan(after[1:7]).any():
        return False
    return bool(after[1] >= 0.7 * after[1:7].max())


def _polygon_estimate(
    region: NDArray[np.uint8], sides: tuple[int, int, int, int], width: int, height: int
) -> Estimate:
    x0, y0, x1, y1 = sides
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.convexHull(np.concatenate(contours))
    simple = cv2.approxPolyDP(hull, 0.004 * (x1 - x0 + y1 - y0), True).reshape(-1, 2).astype(np.float64)
    # Contour points are pixel centres; push them out to the pixels' edges.
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    simple = simple + 0.5 + 0.5 * np.sign(simple + 0.5 - centre)
    box = (float(x0), float(y0), float(x1 - x0), float(y1 - y0))
    if float(cv2.contourArea(simple.astype(np.float32))) >= _SQUARE_CORNERS * box[2] * box[3]:
        if box[2] * box[3] >= _FULL * width * height:
            return Estimate(Shape.FULL, (0.0, 0.0, float(width), float(height)))
        return Estimate(Shape.RECTANGLE, box)
    return Estimate(Shape.OCTAGON, box, outline=tuple((float(x), float(y)) for x, y in simple))
