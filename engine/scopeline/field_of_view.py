"""FieldOfView: where the scope's picture lies within the video signal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.overlay import Box, Mask, Overlay, box_iou

Points = tuple[tuple[float, float], ...]


class Shape(StrEnum):
    """The form of the field. An octagon is any convex polygon: corners are cut and rounded in many ways."""

    OCTAGON = "octagon"
    CIRCLE = "circle"
    CLIPPED_CIRCLE = "clipped_circle"
    RECTANGLE = "rectangle"
    FULL = "full"


ROUND = (Shape.CIRCLE, Shape.CLIPPED_CIRCLE)


@dataclass(frozen=True, slots=True)
class FieldOfView:
    """The field's geometry in signal pixels. It always lies within the signal.

    Raises:
        ValueError: the box does not lie within the signal, or a round shape has no circle.
    """

    id: int
    """Names this geometry within a session, from 1; every result carries it."""
    shape: Shape
    x: int
    y: int
    width: int
    height: int
    signal_width: int
    signal_height: int
    overlays: tuple[Overlay, ...] = ()
    circle: tuple[float, float, float] | None = None
    """Centre x, centre y and radius in signal pixels, for round shapes."""
    outline: Points = ()
    """Corners of an octagon, clockwise in signal pixels; the box itself when empty."""

    def __post_init__(self) -> None:
        right, bottom = self.x + self.width, self.y + self.height
        if self.x < 0 or self.y < 0 or self.width < 1 or self.height < 1:
            raise ValueError(f"the field must have a size and start at 0 or later, got {self.box}")
        if right > self.signal_width or bottom > self.signal_height:
            raise ValueError(
                f"the field must lie within the {self.signal_width}x{self.signal_height} signal, "
                f"got {self.box}"
            )
        if (self.shape in ROUND) != (self.circle is not None):
            raise ValueError(
                f"a round field, and no other, has a circle; got {self.shape} with {self.circle}"
            )

    @property
    def box(self) -> Box:
        """x, y, width, height of the bounding box in signal pixels."""
        return self.x, self.y, self.width, self.height

    def iou(self, other: FieldOfView) -> float:
        """Intersection over union of the two bounding boxes, 0..1."""
        return box_iou(self.box, other.box)

    def mask(self, width: int, height: int, *, without_overlays: bool = False) -> Mask:
        """Where the field is when the whole signal is scaled to a working size.

        Args:
            width: Width of the working picture in pixels.
            height: Height of the working picture in pixels.
            without_overlays: Cut the overlays out, so that only mucosa is left.

        Returns:
            (height, width) bool.
        """
        across, down = width / self.signal_width, height / self.signal_height
        mask = self._box_mask(width, height, across, down)
        if self.circle is not None:
            mask &= _ellipse(self.circle, width, height, across, down)
        elif self.outline:
            mask &= _polygon(self.outline, width, height, across, down)
        if without_overlays:
            for overlay in self.overlays:
                left, right = int(overlay.x * across), int(np.ceil((overlay.x + overlay.width) * across))
                top, bottom = int(overlay.y * down), int(np.ceil((overlay.y + overlay.height) * down))
                mask[max(top, 0) : bottom, max(left, 0) : right] = False
        return mask

    def _box_mask(self, width: int, height: int, across: float, down: float) -> Mask:
        mask = np.zeros((height, width), np.bool_)
        left, right = round(self.x * across), round((self.x + self.width) * across)
        top, bottom = round(self.y * down), round((self.y + self.height) * down)
        mask[top:bottom, left:right] = True
        return mask


def _ellipse(circle: tuple[float, float, float], width: int, height: int, across: float, down: float) -> Mask:
    centre_x, centre_y, radius = circle
    columns = (np.arange(width) + 0.5) / across - centre_x
    rows = (np.arange(height) + 0.5) / down - centre_y
    # By rows, so that no matrix of floats is made: of a 1080p signal it took 17 MB.
    inside: Mask = columns[None, :] ** 2 <= (radius**2 - rows**2)[:, None]
    return inside


def _polygon(outline: Points, width: int, height: int, across: float, down: float) -> Mask:
    # Corner points lie between pixels; OpenCV's lie on pixel centres, hence the half.
    points = np.array(outline) * (across, down) - 0.5
    filled: NDArray[np.uint8] = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(filled, np.round(points * 16).astype(np.int32), 1, shift=4)
    return filled.astype(np.bool_)
