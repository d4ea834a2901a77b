"""Card screens: what is sent instead of a picture: black, a test card, a colour with "NO SIGNAL" on it."""

from __future__ import annotations

import cv2
import numpy as np

from scopeline.picture import Picture, Pixels, picture_from_rgb

_BARS = (
    (191, 191, 191),
    (191, 191, 0),
    (0, 191, 191),
    (0, 191, 0),
    (191, 0, 191),
    (191, 0, 0),
    (0, 0, 191),
)
"""75 % bars, in the order of SMPTE EG 1 and EBU Tech 3325: falling luminance."""


def black(width_px: int, height_px: int) -> Pixels:
    """(height, width, 3) uint8 RGB, all zero."""
    return np.zeros((height_px, width_px, 3), np.uint8)


def colour_bars(width_px: int, height_px: int) -> Pixels:
    """(height, width, 3) uint8 RGB: seven bars, under them the castellations and the dark row of SMPTE EG 1."""
    pixels = black(width_px, height_px)
    edges = np.linspace(0, width_px, len(_BARS) + 1).round().astype(int)
    below, lowest = height_px * 2 // 3, height_px * 3 // 4
    for place, (colour, left, right) in enumerate(zip(_BARS, edges[:-1], edges[1:], strict=True)):
        pixels[:below, left:right] = colour
        pixels[below:lowest, left:right] = (19, 19, 19) if place % 2 else _BARS[-1 - place]
    pixels[lowest:, edges[1] : edges[2]] = 255
    return pixels


def no_signal(width_px: int, height_px: int, colour: tuple[int, int, int]) -> Pixels:
    """(height, width, 3) uint8 RGB: one colour, "NO SIGNAL" in the middle."""
    pixels = black(width_px, height_px)
    pixels[:] = colour
    scale = width_px / 640
    (wide, high), _ = cv2.getTextSize("NO SIGNAL", cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    at = (width_px - wide) // 2, (height_px + high) // 2
    cv2.putText(pixels, "NO SIGNAL", at, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1)
    return pixels


def picture_like(pixels: Pixels, other: Picture) -> Picture:
    """The pixels as a picture in another's pixel format."""
    return picture_from_rgb(pixels).reformat(format=other.format.name)
