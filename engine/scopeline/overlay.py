"""Overlay: what a video processor draws over the scope's picture, and the rules that find it.

The colour rule alone would take dyed mucosa or narrow-band light for a position display, and the dark rule
alone a lumen for a blackened box. Both therefore also ask for a shape: filled, straight-edged, of a
plausible size. Whoever has many pictures of one stream asks for persistence as well
(`scopeline.field_tracker`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels."""
Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]

# Measured on 97 boxes: OpenCV hue 72-87 (median 84), saturation 113-255, value 98-199.
_GUIDE_LOW, _GUIDE_HIGH = (70, 90, 80), (92, 255, 255)
_GUIDE_LEAST_CHROMA = 28
"""Largest less smallest channel of the least saturated and darkest of these colours, rounded down."""
_GUIDE_AREA = (0.02, 0.16)
"""Share of the picture. Real boxes cover 8-11 % of a 576-line picture, less of a wider frame."""
_GUIDE_FILL = 0.9
_FRAME_LEVEL = 48
"""A position display may have a black frame; lines darker than this beside the panel belong to it."""
_FRAME_SHARE = 0.15
_BLACK_LEVEL = 14
_BLACK_AREA = (0.01, 0.30)


class OverlayKind(StrEnum):
    """What the processor drew."""

    SCOPE_GUIDE = "scope_guide"
    BLACK_BOX = "black_box"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Overlay:
    """A box over the field that shows no mucosa, in signal pixels."""

    kind: OverlayKind
    x: int
    y: int
    width: int
    height: int

    @property
    def box(self) -> Box:
        """x, y, width, height in signal pixels."""
        return self.x, self.y, self.width, self.height


def box_iou(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Intersection over union of two (x, y, width, height) boxes, 0..1."""
    across = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    down = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    common = max(across, 0.0) * max(down, 0.0)
    both = first[2] * first[3] + second[2] * second[3] - common
    return common / both if both > 0 else 0.0


def find_overlays(pixels: Pixels) -> tuple[Overlay, ...]:
    """The position display and blackened boxes of one still picture, (H, W, 3) uint8 RGB, in its own pixels.

    A dark lumen in one picture can look like a blackened box; where there is a stream, use `FieldTracker`,
    which also asks for persistence.
    """
    found = []
    guide = find_scope_guide(pixels)
    if guide is not None:
        found.append(Overlay(OverlayKind.SCOPE_GUIDE, *guide))
    bright: Grey = pixels.max(axis=2)
    inside = bright > _BLACK_LEVEL + 4
    region = np.zeros(inside.shape, np.bool_)
    rows, columns = np.flatnonzero(inside.mean(axis=1) > 0.2), np.flatnonzero(inside.mean(axis=0) > 0.2)
    if len(rows) and len(columns):
        region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        found += [
            Overlay(OverlayKind.BLACK_BOX, *box)
            for box in find_black_boxes(bright, region)
            if guide is None or box_iou(box, guide) == 0
        ]
    return tuple(found)


def find_scope_guide(pixels: Pixels) -> Box | None:
    """The box of a position display (Olympus ScopeGuide), its black frame included, or None.

    Args:
        pixels: (H, W, 3) uint8 RGB, the whole signal; 150 lines or more.
    """
    height, width = pixels.shape[:2]
    least = _GUIDE_AREA[0] * height * width / 2
    red, green, blue = cv2.split(pixels)
    # Of these hues red is the least channel, by saturation times value: where hardly a pixel is so, none need be turned
    # into hues, which takes ten times as long.
    chroma = cv2.subtract(cv2.max(green, blue), red)
    if cv2.countNonZero(cv2.inRange(chroma, _GUIDE_LEAST_CHROMA, 255)) < least:
        return None
    coloured = cv2.inRange(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), _GUIDE_LOW, _GUIDE_HIGH)
    if cv2.countNonZero(coloured) < least:
        return None
    kernel = np.ones(
        (max(3, height // 60) | 1, max(3, height // 60) | 1), np.uint8
    )  # odd: an even one shifts
    # Text and the drawn scope cross the panel in thin strokes; whatever else is green is thin itself.
    closed = cv2.morphologyEx(coloured, cv2.MORPH_CLOSE, kernel)
    opened = np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel), np.uint8)
    if not cv2.countNonZero(opened):
        return None
    _, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    for x, y, w, h, area in sorted(stats[1:].tolist(), key=lambda row: -row[4]):
        if area < _GUIDE_AREA[0] * height * width:
            break
        if area <= _GUIDE_AREA[1] * height * width and _is_panel(opened, (x, y, w, h), area):
            return _with_frame(pixels, (x, y, w, h))
    return None


def _is_panel(opened: NDArray[np.uint8], box: Box, area: int) -> bool:
    """Whether a coloured component is a filled rectangle with straight edges where panels are drawn."""
    x, y, w, h = box
    height, width = opened.shape
    at_lower_left = x + w / 2 < width * 0.5 and y + h / 2 > height * 0.5
    fill = _GUIDE_FILL if at_lower_left else 0.96
    if area < fill * w * h or not 0.6 < w / h < 2.2:
        return False
    patch = opened[y : y + h, x : x + w] > 0
    rim = max(2, min(w, h) // 12)
    # The drawn scope enters at the bottom edge and the menu at the top: real edges are 80-100 % green here.
    edges = (
        patch[:rim].any(axis=0),
        patch[-rim:].any(axis=0),
        patch[:, :rim].any(axis=1),
        patch[:, -rim:].any(axis=1),
    )
    return min(float(edge.mean()) for edge in edges) >= 0.75


def _with_frame(pixels: Pixels, box: Box) -> Box:
    """The box grown by its black frame. A dark side that never ends is the screen's border and no frame."""
    x, y, w, h = box
    height, width = pixels.shape[:2]
    reach = int(_FRAME_SHARE * min(w, h))
    bright: Grey = pixels[max(0, y - reach) : y + h + reach, max(0, x - reach) : x + w + reach].max(axis=2)
    left, top = x - max(0, x - reach), y - max(0, y - reach)
    across, down = bright[top : top + h].mean(axis=0), bright[:, left : left + w].mean(axis=1)
    sides = {
        "left": _frame_width(across[:left][::-1]),
        "right": _frame_width(across[left + w :]),
        "top": _frame_width(down[:top][::-1]),
        "bottom": _frame_width(down[top + h :]),
    }
    known = [thickness for thickness, ends in sides.values() if ends and thickness > 2]
    if not known:
        return box
    # The frame is as thick all round; where it meets the black screen only the other sides tell how thick.
    grow = {
        side: thickness if ends else min(thickness, max(known)) for side, (thickness, ends) in sides.items()
    }
    x0, y0 = max(0, x - grow["left"]), max(0, y - grow["top"])
    x1, y1 = min(width, x + w + grow["right"]), min(height, y + h + grow["bottom"])
    return x0, y0, x1 - x0, y1 - y0


def _frame_width(levels: NDArray[np.float64]) -> tuple[int, bool]:
    """How many lines from the panel outwards are dark, and whether something bright follows them."""
    # The first two lines mix the panel's colour into whatever is beside it.
    bright = np.flatnonzero(levels[2:] >= _FRAME_LEVEL) + 2
    if len(bright) == 0:
        return len(levels), False
    return (int(bright[0]), True) if bright[0] > 2 else (0, True)


def find_black_boxes(bright: Grey, region: Mask) -> list[Box]:
    """Boxes within the field that someone painted black, largest first.

    Args:
        bright: (H, W) uint8, the largest of R, G, B; best the maximum over many pictures, where no shadow
            remains.
        region: (H, W) where the field would be if nothing covered it.
    """
    dark = cv2.bitwise_and(cv2.inRange(bright, 0, _BLACK_LEVEL - 1), region.view(np.uint8))
    field_area = cv2.countNonZero(region.view(np.uint8))
    if cv2.countNonZero(dark) < _BLACK_AREA[0] * field_area:
        return []
    size = max(3, bright.shape[0] // 25) | 1
    opened = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((size, size), np.uint8))
    if cv2.countNonZero(opened) < _BLACK_AREA[0] * field_area:
        return []
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    boxes: list[tuple[int, Box]] = []
    for label, (x, y, w, h, area) in enumerate(stats[1:].tolist(), start=1):
        box = x, y, w, h
        if _BLACK_AREA[0] * field_area <= area <= _BLACK_AREA[1] * field_area and _is_painted(
            bright, region, labels == label, box
        ):
            boxes.append((area, box))
    return [box for _, box in sorted(boxes, reverse=True)]


def _is_painted(bright: Grey, region: Mask, component: Mask, box: Box) -> bool:
    x, y, w, h = box
    inside = (slice(y, y + h), slice(x, x + w))
    within = np.count_nonzero(region[inside])
    if within == 0 or np.count_nonzero(component[inside]) < 0.85 * within:
        return False
    values = bright[component]
    if float(values.mean()) >= 12 or float(values.var()) >= 20:
        return False
    return _straight_inner_edges(bright, region, box) >= 2


def _straight_inner_edges(bright: Grey, region: Mask, box: Box) -> int:
    """How many of the four sides have bright field directly beyond most of their length."""
    x, y, w, h = box
    height, width = bright.shape
    gap = 3
    beyond = (
        (slice(y, y + h), x - gap),
        (slice(y, y + h), x + w - 1 + gap),
        (y - gap, slice(x, x + w)),
        (y + h - 1 + gap, slice(x, x + w)),
    )
    straight = 0
    for rows, columns in beyond:
        line = rows if isinstance(rows, int) else columns
        limit = height if isinstance(rows, int) else width
        if not isinstance(line, int) or not 0 <= line < limit:
            continue
        inside = region[rows, columns]
        if np.count_nonzero(inside) < 0.6 * inside.size:
            continue
        straight += bool(np.mean(bright[rows, columns][inside] >= _BLACK_LEVEL + 6) >= 0.8)
    return straight
