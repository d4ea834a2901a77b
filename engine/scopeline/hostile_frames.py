"""Hostile frames: pictures no scope shows, on which arithmetic of low precision goes wrong first.

All are uint8 like every frame; a network that overflows does so on flat extremes and on edges of full height.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

HOSTILE_COUNT = 200

_Draw = Callable[[np.random.Generator, int, int], NDArray[np.uint8]]


def hostile_frames(size: tuple[int, int], seed: int = 0, *, count: int = HOSTILE_COUNT) -> NDArray[np.uint8]:
    """Black, white, primaries, noise, saturated, flipped and extreme pictures, the same for the same seed.

    Args:
        size: Width and height in pixels.
        seed: Of what is random in them.
        count: How many; the first `len(_FLAT)` are flat colours, then every kind in turn.

    Returns:
        (count, height, width, 3) uint8 RGB.
    """
    width, height = size
    rng = np.random.default_rng(seed)
    frames = np.empty((count, height, width, 3), np.uint8)
    for number in range(count):
        if number < len(_FLAT):
            frames[number] = _FLAT[number]
        else:
            frames[number] = _KINDS[(number - len(_FLAT)) % len(_KINDS)](rng, height, width)
    return frames


_FLAT = [
    *((level, level, level) for level in (0, 255, 1, 254, 16, 127, 128, 235)),
    *((255 * (code & 1), 255 * (code >> 1 & 1), 255 * (code >> 2)) for code in range(1, 7)),
]
"""Black and white first, then greys and the corners of the colour cube."""


def _noise(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


def _salt_and_pepper(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Every value of every pixel black or white: the largest differences between neighbours there are."""
    return (255 * rng.integers(0, 2, (height, width, 3))).astype(np.uint8)


def _edge(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Two extreme colours that meet in a straight line anywhere."""
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3)
    down, across = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    here = across * np.cos(angle) + down * np.sin(angle) > offset
    colours = (255 * rng.integers(0, 2, (2, 3))).astype(np.uint8)
    edge: NDArray[np.uint8] = np.where(here[..., None], colours[0], colours[1])
    return edge


def _checks(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A chequerboard of fields of 1 to 16 pixels: the largest answer that a filter of any size can give."""
    side = int(rng.integers(1, 17))
    down, across = np.mgrid[:height, :width] // side
    colour = (255 * rng.integers(0, 2, 3)).astype(np.uint8)
    here = ((down + across) % 2 == 0)[..., None]
    return np.where(here, colour, 255 - colour).astype(np.uint8)


def _saturated(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Soft reddish clouds, amplified until most of them clip."""
    return _clouds(rng, height, width, gain=float(rng.uniform(4, 12)))


def _flipped(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Soft clouds upside down, mirrored, as negative or with other channels: each by chance."""
    clouds = _clouds(rng, height, width, gain=1.0)
    clouds = clouds[::-1] if rng.integers(2) else clouds[:, ::-1]
    clouds = 255 - clouds if rng.integers(2) else clouds
    return clouds[..., rng.permutation(3)]


def _lonely(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """One pixel unlike all others."""
    frame = np.full((height, width, 3), 255 * int(rng.integers(2)), np.uint8)
    row, column = int(rng.integers(height)), int(rng.integers(width))
    frame[row, column] = 255 - frame[row, column]
    return frame


def _clouds(rng: np.random.Generator, height: int, width: int, *, gain: float) -> NDArray[np.uint8]:
    """A handful of waves around the colour of mucosa."""
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = np.zeros((height, width))
    for _ in range(5):
        pace_x, pace_y, shift = rng.uniform(-12, 12), rng.uniform(-12, 12), rng.uniform(0, 2 * np.pi)
        waves += np.sin(across * pace_x + down * pace_y + shift)
    shades = np.array([170.0, 100.0, 80.0]) + gain * 18 * waves[..., None]
    return np.clip(shades, 0, 255).astype(np.uint8)


_KINDS: tuple[_Draw, ...] = (_noise, _salt_and_pepper, _edge, _checks, _saturated, _flipped, _lonely)
