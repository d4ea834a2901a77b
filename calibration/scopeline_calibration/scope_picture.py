"""Scope picture: a fitted profile drawn on a frame of its clip, with the four sides of its rim enlarged."""

from __future__ import annotations

import cv2
import numpy as np

from scopeline.field_sketch import draw_field
from scopeline.overlay import Box
from scopeline.picture import Pixels
from scopeline_calibration.clip_looks import ClipLooks
from scopeline_calibration.scope_fit import ScopeFit

_PAPER, _INK = (245, 245, 245), (34, 34, 34)
_STRIP, _ZOOM, _ALONG = 24, 8, 260
_LIGHT = 3
"""The enlarged strips are made so much brighter: a rim is dark on one side and darkish on the other."""


def draw_scope(looks: ClipLooks, fit: ScopeFit) -> Pixels:
    """A sheet: a frame with outline (green), overlays and text boxes, and each side of the rim eight times enlarged.

    Returns:
        (H, W, 3) uint8 RGB. It shows a frame of the clip, so it belongs with the clip and not with the profile.
    """
    frame = draw_field(looks.example, fit.field)
    strips = np.hstack([_side(looks, fit.field.box, side) for side in ("left", "right", "top", "bottom")])
    width = max(frame.shape[1], strips.shape[1])
    sheet = np.vstack([_widened(frame, width), _widened(strips, width)])
    words = np.full((54, width, 3), _PAPER, np.uint8)
    box = fit.field.box
    _write(
        words,
        f"{fit.profile.name}: {fit.field.shape.value}, box {list(box)} of {looks.signal[0]}x{looks.signal[1]}",
        20,
    )
    _write(
        words,
        "green: field   violet: position display   orange: black box   yellow: text   below: rims, 8 x",
        42,
    )
    return np.vstack([words, sheet])


def _side(looks: ClipLooks, box: Box, side: str) -> Pixels:
    """One side of the running maximum around the fitted line, enlarged, the line drawn in green."""
    across, down = looks.overview[0] / looks.signal[0], looks.overview[1] / looks.signal[1]
    x, y, w, h = box
    grey = cv2.convertScaleAbs(looks.whole, alpha=_LIGHT)
    if side in ("top", "bottom"):
        grey = np.ascontiguousarray(grey.T)
        at, middle = (y if side == "top" else y + h) * down, (x + w / 2) * across
    else:
        at, middle = (x if side == "left" else x + w) * across, (y + h / 2) * down
    rows, columns = grey.shape
    left = int(np.clip(round(at) - _STRIP // 2, 0, max(0, columns - _STRIP)))
    half = max(4, rows // 8)
    top, bottom = max(0, round(middle) - half), min(rows, round(middle) + half)
    strip = cv2.resize(
        grey[top:bottom, left : left + _STRIP], (_STRIP * _ZOOM, _ALONG), interpolation=cv2.INTER_NEAREST
    )
    panel = cv2.cvtColor(strip, cv2.COLOR_GRAY2RGB)
    line = int(np.clip(round((at - left) * _ZOOM), 0, panel.shape[1] - 1))
    cv2.line(panel, (line, 0), (line, _ALONG), (60, 235, 90), 1)
    cv2.putText(panel, side, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (250, 240, 80), 1, cv2.LINE_AA)
    return np.asarray(cv2.copyMakeBorder(panel, 6, 6, 6, 6, cv2.BORDER_CONSTANT, value=_PAPER), np.uint8)


def _widened(pixels: Pixels, width: int) -> Pixels:
    missing = width - pixels.shape[1]
    return np.asarray(
        cv2.copyMakeBorder(pixels, 0, 0, 0, missing, cv2.BORDER_CONSTANT, value=_PAPER), np.uint8
    )


def _write(canvas: Pixels, text: str, baseline: int) -> None:
    cv2.putText(canvas, text, (8, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.48, _INK, 1, cv2.LINE_AA)
