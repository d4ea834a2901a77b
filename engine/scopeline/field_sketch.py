"""The field sketch: a picture with the field, its overlays and a view's part of it drawn in."""

from __future__ import annotations

import cv2
import numpy as np

from scopeline.crop import View
from scopeline.field_of_view import FieldOfView
from scopeline.overlay import Box, OverlayKind
from scopeline.picture import Pixels

_FIELD = (60, 235, 90)
_VIEW = (70, 160, 255)
_OVERLAYS = {
    OverlayKind.SCOPE_GUIDE: (255, 60, 220),
    OverlayKind.BLACK_BOX: (255, 170, 40),
    OverlayKind.TEXT: (250, 240, 80),
}


def draw_field(pixels: Pixels, field: FieldOfView, view: View | None = None) -> Pixels:
    """A copy of a whole picture, at any scale, with the field's outline (green), overlays and the view's
    part (blue).

    Args:
        pixels: (H, W, 3) uint8 RGB, the whole signal, scaled or not.
        field: The geometry to draw.
        view: Draw which part of the signal this view shows.
    """
    sketch = np.ascontiguousarray(pixels).copy()
    height, width = sketch.shape[:2]
    across, down = width / field.signal_width, height / field.signal_height
    thick = max(1, height // 180)
    contours, _ = cv2.findContours(
        field.mask(width, height).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(sketch, contours, -1, _FIELD, thick)
    for overlay in field.overlays:
        _draw_box(sketch, overlay.box, across, down, _OVERLAYS[overlay.kind], thick)
    if view is not None:
        _draw_box(sketch, view.placement(field).source, across, down, _VIEW, thick)
    return sketch


def _draw_box(
    sketch: Pixels, box: Box, across: float, down: float, colour: tuple[int, int, int], thick: int
) -> None:
    x, y, width, height = box
    first = (round(x * across), round(y * down))
    last = (round((x + width) * across) - 1, round((y + height) * down) - 1)
    cv2.rectangle(sketch, first, last, colour, thick)
