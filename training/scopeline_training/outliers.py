"""Outliers: generic corruptions that are none of the degradation families, shown to a network as bad.

Outlier exposure (Hendrycks, Mazeika and Dietterich, ICLR 2019): a network that has seen many odd pictures keeps
away from pictures that are odd in a way it never saw. The kinds below are drawn at random and wide on purpose:
they say "not as it should be", not "this fault". They were chosen after seeing which families a network fails
on that never met them (interlace comb, colour cast, glare, occlusion, channel shift), and some kinds are
neighbours of those: strips of the comb, colour matrices of the cast, patches of glare and occlusion, channels
that are struck one by one of the channel shift. A figure got with them is therefore not that of a blind test.

Severity 0 is a picture that is just visibly odd, 1 a hopeless one. Lengths are shares of the picture.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels

Image = NDArray[np.float32]
"""(H, W, 3) float32 RGB, 0..255 but not clipped."""
Plane = NDArray[np.float32]
"""(H, W) float32."""
Rng = np.random.Generator


def outlier(pixels: Pixels, rng: Rng, severity: float) -> Pixels:
    """A copy of a picture made odd by one kind of corruption drawn at random, one time in four by two.

    One time in three it strikes only part of the picture.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        rng: Where kind and details come from; the same state gives the same picture.
        severity: 0 (just visible) to 1 (hopeless).

    Raises:
        ValueError: severity outside 0..1, or pixels that are not (H, W, 3) uint8.
    """
    if not 0.0 <= severity <= 1.0:
        raise ValueError(f"severity must lie in 0..1, got {severity}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    image = pixels.astype(np.float32)
    for number in rng.permutation(len(KINDS))[: 2 if rng.random() < 0.25 else 1]:
        struck = _KINDS[KINDS[number]](image, rng, severity)
        if rng.random() < 1 / 3:
            where = _patch_mask(image.shape, rng, float(rng.uniform(0.3, 0.8)))
            struck = image + (struck - image) * where[..., None]
        image = struck
    odd: Pixels = np.clip(image + 0.5, 0.0, 255.0).astype(np.uint8)
    return odd


def _between(low: float, high: float, severity: float) -> float:
    return low + (high - low) * severity


def _strips(image: Image, rng: Rng, severity: float) -> Image:
    """Rows or columns in strips of random thickness, each moved along by a random way."""
    lying = bool(rng.integers(2))
    turned = image if lying else image.transpose(1, 0, 2)
    height, width = turned.shape[:2]
    thickness = max(1, round(height * float(np.exp(rng.uniform(np.log(1 / height), np.log(1 / 8))))))
    count = -(-height // thickness)
    ways = rng.normal(0.0, _between(0.02, 0.12, severity) * width, count)
    ways[rng.random(count) < rng.uniform(0.0, 0.6)] = 0.0
    columns = np.arange(width)[None, :] + np.round(np.repeat(ways, thickness)[:height, None]).astype(np.int64)
    columns = np.abs((columns + width) % (2 * width) - width).clip(0, width - 1)  # mirrored at the edges
    moved = turned[np.arange(height)[:, None], columns]
    return np.asarray(moved if lying else moved.transpose(1, 0, 2), np.float32)


def _colours(image: Image, rng: Rng, severity: float) -> Image:
    """Channels mixed by a random 3x3 matrix, or a random tone curve per channel."""
    if rng.random() < 0.6:
        matrix = np.eye(3) + rng.normal(0.0, _between(0.2, 0.6, severity), (3, 3))
        return (image @ matrix.T.astype(np.float32)).astype(np.float32)
    knots = np.linspace(0.0, 255.0, 5)
    curves = knots + rng.normal(0.0, _between(30.0, 90.0, severity), (3, 5))
    return np.stack([np.interp(image[..., c], knots, curves[c]) for c in range(3)], -1).astype(np.float32)


def _patches(image: Image, rng: Rng, severity: float) -> Image:
    """Soft-edged patches of something else: one colour, a bright or dark one, or the picture from elsewhere."""
    mask = _patch_mask(image.shape[:2], rng, _between(0.08, 0.7, severity))
    draw = rng.random()
    if draw < 0.25:
        elsewhere = np.roll(np.rot90(image, 2), tuple(rng.integers(0, image.shape[0], 2)), (0, 1))
        other = _colours(elsewhere, rng, float(rng.uniform()))
    else:
        base = rng.uniform(0.0, 255.0, 3) if draw < 0.6 else np.repeat(rng.choice([10.0, 245.0]), 3)
        other = (
            base + rng.normal(0.0, 8.0, 3) + _noise(image.shape[:2], rng)[..., None] * rng.uniform(0.0, 30.0)
        )
    mixed: Image = image + (other.astype(np.float32) - image) * mask[..., None]
    return mixed


def _patch_mask(shape: tuple[int, ...], rng: Rng, share: float) -> Plane:
    """0..1, 1 on about the asked share: where smooth noise of a random grain is highest."""
    cells = int(np.exp(rng.uniform(np.log(2), np.log(24))))
    coarse = rng.random((cells + 1, cells + 1)).astype(np.float32)
    field = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    steep = float(np.exp(rng.uniform(np.log(3.0), np.log(30.0))))
    mask = np.clip((field - np.quantile(field, 1.0 - share)) * steep + 0.5, 0.0, 1.0)
    return np.asarray(mask, np.float32)


def _noise(shape: tuple[int, ...], rng: Rng) -> Plane:
    """Noise of mean 0 and spread 1 whose power falls with a random exponent of the frequency."""
    spectrum = np.fft.rfft2(rng.standard_normal(shape[:2]))
    down, along = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    spectrum *= np.maximum(np.hypot(down, along), 1.0 / max(shape)) ** -rng.uniform(0.0, 2.0)
    spectrum[0, 0] = 0.0
    noise = np.fft.irfft2(spectrum, shape[:2])
    return (noise / max(float(noise.std()), 1e-6)).astype(np.float32)


def _grain(image: Image, rng: Rng, severity: float) -> Image:
    """Noise of a random spectrum, grey or coloured, added."""
    planes = 3 if rng.random() < 0.5 else 1
    grain = np.stack([_noise(image.shape[:2], rng) for _ in range(planes)], -1)
    return (image + grain * np.float32(_between(10.0, 60.0, severity))).astype(np.float32)


def _kernels(image: Image, rng: Rng, severity: float) -> Image:
    """A small random kernel, often with few taps (ghosts, edges, false sharpness); channels alike or one by one."""
    alike = rng.random() < 0.5
    first = _kernel(image.shape, rng, severity)
    planes = [
        cv2.filter2D(
            np.ascontiguousarray(image[..., channel]), -1,
            first if alike else _kernel(image.shape, rng, severity), borderType=cv2.BORDER_REFLECT_101,
        )
        for channel in range(3)
    ]  # fmt: skip
    return np.stack(planes, -1).astype(np.float32)


def _kernel(shape: tuple[int, ...], rng: Rng, severity: float) -> Plane:
    size = 2 * max(1, round(min(shape[:2]) * _between(0.02, 0.08, severity) * rng.uniform(0.5, 1.0))) + 1
    taps = np.zeros((size, size), np.float32)
    taps[size // 2, size // 2] = 1.0
    softening = rng.random() < 0.5
    for _ in range(int(rng.integers(1, 20))):
        tap = rng.normal(0.0, _between(0.4, 1.0, severity))
        taps[tuple(rng.integers(0, size, 2))] += abs(tap) if softening else tap
    if softening:
        return np.asarray(taps / taps.sum(), np.float32)
    taps[size // 2, size // 2] += 1.0 - taps.sum()  # keeps the brightness
    return taps


def _warp(image: Image, rng: Rng, severity: float) -> Image:
    """Moved about in waves of a random grain; channels alike or one by one."""
    height, width = image.shape[:2]
    alike = rng.random() < 0.5
    cells = int(rng.integers(1, 20))
    reach = min(height, width) * _between(0.06, 0.25, severity) / np.sqrt(cells)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)

    def way() -> Plane:
        coarse = rng.normal(0.0, reach, (cells + 1, cells + 1)).astype(np.float32)
        return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)

    ways = (way(), way())
    planes = []
    for channel in range(3):
        right, down = ways if alike else (way(), way())
        plane = np.ascontiguousarray(image[..., channel])
        planes.append(
            cv2.remap(plane, x + right, y + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        )
    return np.stack(planes, -1).astype(np.float32)


_KINDS: dict[str, Callable[[Image, Rng, float], Image]] = {
    "strips": _strips,
    "colours": _colours,
    "patches": _patches,
    "grain": _grain,
    "kernels": _kernels,
    "warp": _warp,
}

KINDS: tuple[str, ...] = tuple(_KINDS)
"""Every kind of generic corruption."""
