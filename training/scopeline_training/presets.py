"""Presets: the augmentation lists of studies S2 and S3, and our own for endoscopy; numpy and OpenCV, seeded.

A preset is a list of steps. The same generator state gives the same picture, on any machine and in any worker.
Pictures stay (H, W, 3) uint8 RGB; a mask goes through the same geometry with nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.degrade import harmless
from scopeline.picture import Pixels

Rng = np.random.Generator
MaskPixels = NDArray[np.uint8]
Pair = tuple[Pixels, MaskPixels | None]
Step = Callable[[Pixels, MaskPixels | None, Rng], Pair]
PresetName = Literal["none", "kvasir", "oct", "endoscopy", "outlines"]


def augment(preset: PresetName, pixels: Pixels, rng: Rng, mask: MaskPixels | None = None) -> Pair:
    """A varied copy of a picture, and of its mask where there is one.

    Args:
        preset: One of `PRESETS`.
        pixels: (H, W, 3) uint8 RGB, as wide as high.
        mask: (H, W) uint8.

    Returns:
        Picture and mask of the same size; `oct` gives 224/256 of it, as study S2 cut 224 out of 256.

    Raises:
        ValueError: unknown preset, or pixels that are not a square (S, S, 3) uint8.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    if pixels.ndim != 3 or pixels.shape[0] != pixels.shape[1] or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be square (S, S, 3) uint8, got {pixels.shape} {pixels.dtype}")
    for step in PRESETS[preset]:
        pixels, mask = step(pixels, mask, rng)
    return np.ascontiguousarray(pixels), mask if mask is None else np.ascontiguousarray(mask)


def steady(preset: PresetName, pixels: Pixels, mask: MaskPixels | None = None) -> Pair:
    """What validation and test see beside a preset: the picture itself; for `oct` its middle 224/256, as S2."""
    if preset != "oct":
        return pixels, mask
    size = oct_size(pixels.shape[0])
    start = (pixels.shape[0] - size) // 2
    cut = slice(start, start + size)
    return np.ascontiguousarray(pixels[cut, cut]), None if mask is None else mask[cut, cut].copy()


def oct_size(size: int) -> int:
    """Side of what `oct` makes of a square of a given side: 224 of 256."""
    return round(size * 224 / 256)


def _sometimes(share: float, step: Step) -> Step:
    def maybe(pixels: Pixels, mask: MaskPixels | None, rng: Rng) -> Pair:
        return step(pixels, mask, rng) if rng.random() < share else (pixels, mask)

    return maybe


def _quarter_turn(pixels: Pixels, mask: MaskPixels | None, rng: Rng) -> Pair:
    turns = int(rng.integers(4))
    return np.rot90(pixels, turns), None if mask is None else np.rot90(mask, turns)


def _mirror(pixels: Pixels, mask: MaskPixels | None, rng: Rng) -> Pair:
    return pixels[:, ::-1], None if mask is None else mask[:, ::-1]


def _upside_down(pixels: Pixels, mask: MaskPixels | None, rng: Rng) -> Pair:
    return pixels[::-1], None if mask is None else mask[::-1]


def _moved(*, shift: float, scale: float, rotate_deg: float, border: int) -> Step:
    """Shift by a share of the side, scale by 1 plus or minus, rotate; each uniform within its limits."""

    def step(pixels: Pixels, mask: MaskPixels | None, rng: Rng) -> Pair:
        size = pixels.shape[0]
        centre = (size - 1) / 2
        angle, factor = rng.uniform(-rotate_deg, rotate_deg), 1 + rng.uniform(-scale, scale)
        matrix = cv2.getRotationMatrix2D((centre, centre), float(angle), float(factor))
        matrix[:, 2] += rng.uniform(-shift, shift, 2) * size
        moved = cv2.warpAffine(
            np.ascontiguousarray(pixels), matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=border
        )
        if mask is not None:
            mask = np.asarray(
                cv2.warpAffine(
                    np.ascontiguousarray(mask),
                    matrix,
                    (size, size),
                    flags=cv2.INTER_NEAREST,
                    borderMode=border,
                ),
                np.uint8,
            )
        return np.asarray(moved, np.uint8), mask

    return step


def _brightness_contrast(limit: float) -> Step:
    """Contrast times 1 plus or minus, then brightness plus or minus that share of 255."""

    def step(pixels: Pixels, mask: MaskPixels | None, rng: Rng) -> Pair:
        contrast, brightness = 1 + rng.uniform(-limit, limit), 255 * rng.uniform(-limit, limit)
        return _rounded(pixels.astype(np.float32) * contrast + brightness), mask

    return step


def _blur(pixels: Pixels, mask: MaskPixels | None, rng: Rng) -> Pair:
    """A Gaussian of 3x3 pixels."""
    return np.asarray(cv2.GaussianBlur(np.ascontiguousarray(pixels), (3, 3), 0), np.uint8), mask


def _gamma(low: float, high: float) -> Step:
    def step(pixels: Pixels, mask: MaskPixels | None, rng: Rng) -> Pair:
        table = _rounded(255.0 * (np.arange(256) / 255.0) ** rng.uniform(low, high))
        return table[pixels], mask

    return step


def _cut_and_stretched(*, scale: tuple[float, float], ratio: tuple[float, float]) -> Step:
    """Random resized crop: a rectangle of a share of the area and an aspect, brought to 224/256 of the side."""

    def step(pixels: Pixels, mask: MaskPixels | None, rng: Rng) -> Pair:
        side = pixels.shape[0]
        area = side * side * rng.uniform(*scale)
        aspect = np.exp(rng.uniform(np.log(ratio[0]), np.log(ratio[1])))
        width, height = min(side, round(np.sqrt(area * aspect))), min(side, round(np.sqrt(area / aspect)))
        left, top = int(rng.integers(side - width + 1)), int(rng.integers(side - height + 1))
        rows, columns, size = slice(top, top + height), slice(left, left + width), oct_size(side)
        cut = cv2.resize(
            np.ascontiguousarray(pixels[rows, columns]), (size, size), interpolation=cv2.INTER_LINEAR
        )
        if mask is not None:
            small = cv2.resize(
                np.ascontiguousarray(mask[rows, columns]), (size, size), interpolation=cv2.INTER_NEAREST_EXACT
            )
            mask = np.asarray(small, np.uint8)
        return np.asarray(cut, np.uint8), mask

    return step


def _recoloured(pixels: Pixels, mask: MaskPixels | None, rng: Rng) -> Pair:
    """Gains of red, green and blue as processors differ: a few per cent; further would be another Mayo grade."""
    return _rounded(pixels.astype(np.float32) * rng.normal(1.0, (0.04, 0.05, 0.06)).clip(0.8, 1.2)), mask


def _harmless(pixels: Pixels, mask: MaskPixels | None, rng: Rng) -> Pair:
    return harmless(np.ascontiguousarray(pixels), rng), mask


def _rounded(values: NDArray[np.floating]) -> Pixels:
    pixels: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels


PRESETS: dict[PresetName, tuple[Step, ...]] = {
    "none": (),
    # Study S3's code, step by step with its probabilities; its text also claims vertical flips and hue shifts, which
    # the code does not have. Scaling to 224 and to 0..1 are done by the crop and by the network.
    "kvasir": (
        _sometimes(0.5, _quarter_turn),
        _sometimes(0.5, _mirror),
        _sometimes(0.5, _moved(shift=0.1, scale=0.1, rotate_deg=15, border=cv2.BORDER_REFLECT_101)),
        _sometimes(0.5, _brightness_contrast(0.2)),
        _sometimes(0.3, _blur),
        _sometimes(0.3, _gamma(0.9, 1.1)),
    ),
    # Study S2's code: rotation by 5 degrees on black, a crop of 96 to 100 % of the area, a flip.
    "oct": (
        _moved(shift=0.0, scale=0.0, rotate_deg=5, border=cv2.BORDER_CONSTANT),
        _cut_and_stretched(scale=(0.96, 1.0), ratio=(0.95, 1.05)),
        _sometimes(0.5, _mirror),
    ),
    # A scope has no up and no left; what moves further than this would be another grade or another scope.
    "endoscopy": (
        _quarter_turn,
        _sometimes(0.5, _mirror),
        _sometimes(0.5, _upside_down),
        _sometimes(0.7, _moved(shift=0.06, scale=0.12, rotate_deg=20, border=cv2.BORDER_REFLECT_101)),
        _recoloured,
        _sometimes(0.5, _harmless),
    ),
    # Where something is, not what grade it has: size, place and light may go further than in `endoscopy`.
    "outlines": (
        _quarter_turn,
        _sometimes(0.5, _mirror),
        _sometimes(0.9, _moved(shift=0.12, scale=0.3, rotate_deg=30, border=cv2.BORDER_REFLECT_101)),
        _recoloured,
        _sometimes(0.6, _brightness_contrast(0.2)),
        _sometimes(0.2, _blur),
    ),
}
"""Name -> steps in order."""
