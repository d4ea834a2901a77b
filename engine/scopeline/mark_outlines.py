"""Mark outlines: what mask heads mark on a frame, drawn on its picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np

from scopeline.picture import Pixels
from scopeline.wire import MaskResult

MARK: Final = (64, 224, 255)
"""Red, green, blue: no mucosa has it, stained or not."""
_SIXTEENTHS: Final = 4
"""Bits of OpenCV's fractions of a pixel."""


def draw_marks(pixels: Pixels, masks: Iterable[MaskResult]) -> None:
    """Outlines of all that is marked, drawn into `pixels`.

    Args:
        pixels: (H, W, 3) uint8 RGB, the whole frame or the top of a larger canvas at its scale.
    """
    width = max(2, pixels.shape[0] // 270)
    for mask in masks:
        outlines = [
            np.round(np.asarray(each) * (1 << _SIXTEENTHS)).astype(np.int32) for each in mask.contours
        ]
        cv2.polylines(pixels, outlines, True, MARK, width, cv2.LINE_AA, shift=_SIXTEENTHS)
