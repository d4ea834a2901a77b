"""Degradations: what goes wrong with an endoscope's picture, planted on purpose and with a seed.

A quality gate is trained and tested on bad pictures, and labelled bad pictures are rare. The first three
families are the ones the HTW Berlin / XION study generated (blur, brightness, both: "seed style"); the others
follow what spoils real endoscopy frames: motion, defocus, exposure, glare, bubbles, red-out, haze, water,
interlace, compression, colour casts, the colour shift of sequential-RGB scopes, and stool.

Severity 0 is the mildest picture that counts as bad, 1 a hopeless one; `harmless` makes what is still fine.
Lengths are given for a picture of 224 pixels and scale with the picture.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels

Image = NDArray[np.float32]
"""(H, W, 3) float32 RGB, 0..255 but not clipped."""
Mask = NDArray[np.float32]
"""(H, W) float32 in 0..1."""
Rng = np.random.Generator

REFERENCE_PX = 224
"""Lengths below are in pixels of a picture of this size."""

SEED_STYLE: tuple[str, ...] = ("gaussian_blur", "brightness", "blur_and_brightness")
"""The families of the HTW Berlin / XION study."""


def degrade(family: str, pixels: Pixels, rng: Rng, severity: float) -> Pixels:
    """A spoilt copy of (H, W, 3) uint8 RGB pixels.

    Args:
        family: One of `FAMILIES`.
        pixels: (H, W, 3) uint8 RGB.
        rng: Where the details (angle, place, side) come from; the same state gives the same picture.
        severity: 0 (barely bad) to 1 (hopeless).

    Raises:
        ValueError: unknown family, severity outside 0..1, or pixels that are not (H, W, 3) uint8.
    """
    if family not in _RECIPES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")
    if not 0.0 <= severity <= 1.0:
        raise ValueError(f"severity must lie in 0..1, got {severity}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    return _to_pixels(_RECIPES[family](pixels.astype(np.float32), rng, severity))


def harmless(pixels: Pixels, rng: Rng) -> Pixels:
    """A copy with the small variation every good picture has: blur below 0.6 px (of 224), gain 0.85 to 1.15."""
    image = pixels.astype(np.float32)
    image = _blur(image, float(rng.uniform(0.0, 0.6)) * _scale(image))
    return _to_pixels(image * np.float32(rng.uniform(0.85, 1.15)))


def _to_pixels(image: Image) -> Pixels:
    pixels: Pixels = np.clip(image + 0.5, 0.0, 255.0).astype(np.uint8)
    return pixels


def _scale(image: Image) -> float:
    return float(min(image.shape[:2])) / REFERENCE_PX


def _between(low: float, high: float, severity: float) -> float:
    return low + (high - low) * severity


def _blur(image: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    if sigma_px < 0.05:
        return image
    return np.asarray(
        cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101), np.float32
    )


def _filter(image: Image, kernel: Mask) -> Image:
    filtered = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(filtered, np.float32)


def _smooth_noise(shape: tuple[int, ...], rng: Rng, cells: int) -> Mask:
    """Noise in 0..1 whose grain is about 1/`cells` of the picture."""
    coarse = rng.random((cells + 1, cells + 1)).astype(np.float32)
    noise = np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)
    low, high = float(noise.min()), float(noise.max())
    return (noise - low) / max(high - low, 1e-6)


def _mix(image: Image, other: NDArray[np.float32], mask: Mask) -> Image:
    return image + (other - image) * mask[..., None]


def _moved(image: Image, right_px: int, down_px: int) -> Image:
    """The picture moved by whole pixels; what comes in at the edge is the mirrored picture."""
    matrix = np.array([[1, 0, right_px], [0, 1, down_px]], np.float32)
    size = (image.shape[1], image.shape[0])
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.float32)


def _gain(image: Image, rng: Rng, severity: float) -> Image:
    """Too dark (0.5 to 0.15 times) or too bright (1.7 to 3 times)."""
    if rng.random() < 0.5:
        return image * np.float32(_between(0.5, 0.15, severity))
    return image * np.float32(_between(1.7, 3.0, severity))


def _gaussian_blur(image: Image, rng: Rng, severity: float) -> Image:
    return _blur(image, _between(1.5, 6.0, severity) * _scale(image))


def _brightness(image: Image, rng: Rng, severity: float) -> Image:
    return _gain(image, rng, severity)


def _blur_and_brightness(image: Image, rng: Rng, severity: float) -> Image:
    return _gain(_gaussian_blur(image, rng, severity), rng, severity)


def _motion_blur(image: Image, rng: Rng, severity: float) -> Image:
    length = max(3, round(_between(11.0, 33.0, severity) * _scale(image)))
    kernel = np.zeros((length | 1, length | 1), np.float32)
    centre, angle = (length | 1) // 2, float(rng.uniform(0.0, np.pi))
    reach = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    ends = [np.round((centre + side * reach) * 16).astype(int).tolist() for side in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_8, shift=4)
    return _filter(image, kernel)


def _defocus(image: Image, rng: Rng, severity: float) -> Image:
    radius = max(1.0, _between(3.0, 12.0, severity) * _scale(image))
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0)
    return _filter(image, disc.astype(np.float32))


def _exposure(image: Image, rng: Rng, severity: float) -> Image:
    """Wrong exposure: shadows sink into noise, or highlights clip, all over or where the wall is too near."""
    if rng.random() < 0.5:
        grain = rng.normal(0.0, _between(3.0, 9.0, severity), image.shape).astype(np.float32)
        return image * np.float32(_between(0.45, 0.1, severity)) + grain
    bright = 255.0 * (image / 255.0) ** _between(0.6, 0.3, severity) * _between(1.3, 2.0, severity)
    if rng.random() < 0.5:
        return np.asarray(bright, np.float32)
    near = _smooth_noise(image.shape, rng, 2)
    edge = np.quantile(near, 1.0 - _between(0.4, 0.8, severity))
    return _mix(image, (1.2 * bright).astype(np.float32), np.clip((near - edge) * 6.0 + 0.5, 0.0, 1.0))


def _glare(image: Image, rng: Rng, severity: float) -> Image:
    """The brightest places grow into white patches with a halo, as on wet mucosa under a close lamp."""
    grey = _blur(image.max(axis=2), 2.0 * _scale(image)) + 25.0 * _smooth_noise(image.shape, rng, 6)
    share = _between(0.04, 0.30, severity)
    seeds = (grey > np.quantile(grey, 1.0 - share)).astype(np.uint8)
    size = max(3, round(_between(5.0, 15.0, severity) * _scale(image))) | 1
    patch = cv2.dilate(seeds, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))).astype(np.float32)
    mask = np.clip(_blur(patch, 1.2 * _scale(image)) + 0.4 * _blur(patch, 9.0 * _scale(image)), 0.0, 1.0)
    return _mix(image, np.array([255.0, 252.0, 245.0], np.float32), mask)


def _bubbles(image: Image, rng: Rng, severity: float) -> Image:
    """Foam: overlapping bright rings, each with a highlight, over a washed-out picture."""
    height, width = image.shape[:2]
    scale, foam = _scale(image), image.copy()
    for _ in range(round(_between(25, 120, severity))):
        radius = max(2, round(float(rng.gamma(2.0, 4.5)) * scale) + 2)
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        shine = float(rng.uniform(170.0, 255.0))
        spot = tuple(round(c - radius * 0.35) for c in centre)
        left, top = max(0, centre[0] - radius), max(0, centre[1] - radius)
        around = foam[top : centre[1] + radius, left : centre[0] + radius]
        inside = around.copy()
        middle = (centre[0] - left, centre[1] - top)
        cv2.circle(inside, middle, radius, (shine * 0.85, shine * 0.8, shine * 0.7), -1, cv2.LINE_AA)
        around += np.float32(0.18) * (inside - around)
        cv2.circle(
            foam, centre, radius, (shine, shine * 0.96, shine * 0.9), max(1, round(scale)), cv2.LINE_AA
        )
        cv2.circle(foam, spot, max(1, radius // 4), (255.0, 255.0, 255.0), -1, cv2.LINE_AA)
    return foam


def _red_out(image: Image, rng: Rng, severity: float) -> Image:
    """The lens touches the wall: the picture sinks into its mean colour, reddened, in slow light."""
    mean = image.mean(axis=(0, 1)) * rng.uniform(0.75, 1.25)
    target = np.array([max(mean[0], 110.0), mean[1] * 0.8, mean[2] * 0.7], np.float32)
    shade = 0.75 + 0.5 * _smooth_noise(image.shape, rng, int(rng.integers(2, 4)))
    wall = target * shade[..., None]
    soft = _blur(image, _between(3.0, 10.0, severity) * _scale(image))
    return soft + (wall - soft) * np.float32(_between(0.7, 0.97, severity))


def _haze(image: Image, rng: Rng, severity: float) -> Image:
    """Smoke or a fogged lens: a pale veil with clouds in it, and what lies behind gets soft."""
    veil = np.array([200.0, 190.0, 185.0], np.float32) * np.float32(rng.uniform(0.75, 1.1))
    clouds = 0.75 + 0.25 * _smooth_noise(image.shape, rng, 4)
    soft = _blur(image, _between(0.6, 2.5, severity) * _scale(image))
    return _mix(soft, veil, np.clip(_between(0.55, 0.92, severity) * clouds, 0.0, 1.0))


def _water_film(image: Image, rng: Rng, severity: float) -> Image:
    """Water runs over the lens: the picture is warped in slow waves and loses its focus in places."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    reach = np.float32(_between(22.0, 60.0, severity) * _scale(image))
    warp_x = x + reach * (_smooth_noise(image.shape, rng, 6) - 0.5)
    warp_y = y + reach * (_smooth_noise(image.shape, rng, 6) - 0.5)
    warped = cv2.remap(image, warp_x, warp_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    soft = _blur(np.asarray(warped, np.float32), _between(3.0, 7.0, severity) * _scale(image))
    film = np.clip(_between(0.9, 1.6, severity) * _smooth_noise(image.shape, rng, 3), 0.0, 1.0)
    return _mix(np.asarray(warped, np.float32), soft, film)


def _interlace_comb(image: Image, rng: Rng, severity: float) -> Image:
    """Two fields of a moving picture woven together: every second line is displaced."""
    shift = max(2, round(_between(6.0, 20.0, severity) * _scale(image))) * int(rng.choice([-1, 1]))
    woven = image.copy()
    woven[1::2] = _moved(image, shift, 0)[1::2]
    return woven


def _compression(image: Image, rng: Rng, severity: float) -> Image:
    """A starved video codec: coarse JPEG of a picture that was shrunk first, so that blocks stay visible."""
    height, width = image.shape[:2]
    shrink = _between(0.6, 0.35, severity)
    size = (max(8, round(width * shrink)), max(8, round(height * shrink)))
    small = cv2.resize(_to_pixels(image), size, interpolation=cv2.INTER_AREA)
    _, code = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, round(_between(12, 2, severity))])
    decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
    assert decoded is not None  # it was encoded two lines above
    return np.asarray(cv2.resize(decoded, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)


def _colour_cast(image: Image, rng: Rng, severity: float) -> Image:
    """A lost colour channel or clock: the whole picture turns green or purple."""
    grey = image.mean(axis=2, keepdims=True)
    tint = ([0.35, 1.35, 0.4], [1.15, 0.3, 1.3])[int(rng.integers(2))]
    cast = (0.5 * image + 0.5 * grey) * np.array(tint, np.float32)
    return np.asarray(image + (cast - image) * _between(0.6, 1.0, severity), np.float32)


def _channel_shift(image: Image, rng: Rng, severity: float) -> Image:
    """A fast movement seen by a sequential-RGB scope: the three colours were exposed at three places."""
    angle = float(rng.uniform(0.0, 2.0 * np.pi))
    reach = _between(6.0, 22.0, severity) * _scale(image)
    move_x, move_y = round(reach * np.cos(angle)), round(reach * np.sin(angle))
    shifted = image.copy()
    shifted[..., 0] = _moved(image, move_x, move_y)[..., 0]
    shifted[..., 2] = _moved(image, -move_x, -move_y)[..., 2]
    return shifted


def _occlusion(image: Image, rng: Rng, severity: float) -> Image:
    """Stool on the lens or before it: soft-edged brown and green blobs with a grain of their own."""
    field = _smooth_noise(image.shape, rng, 5) + 0.25 * _smooth_noise(image.shape, rng, 14)
    edge = np.quantile(field, 1.0 - _between(0.45, 0.9, severity))
    mask = np.clip((field - edge) * 18.0 + 0.5, 0.0, 1.0).astype(np.float32)
    stool = np.array([120.0, 95.0, 35.0], np.float32) * rng.uniform([0.7, 0.7, 0.5], [1.3, 1.15, 1.4])
    grain = 0.7 + 0.35 * _smooth_noise(image.shape, rng, 9) + 0.15 * _smooth_noise(image.shape, rng, 40)
    return _mix(image, (stool * grain[..., None]).astype(np.float32), mask)


_RECIPES: dict[str, Callable[[Image, Rng, float], Image]] = {
    "gaussian_blur": _gaussian_blur,
    "brightness": _brightness,
    "blur_and_brightness": _blur_and_brightness,
    "motion_blur": _motion_blur,
    "defocus": _defocus,
    "exposure": _exposure,
    "glare": _glare,
    "bubbles": _bubbles,
    "red_out": _red_out,
    "haze": _haze,
    "water_film": _water_film,
    "interlace_comb": _interlace_comb,
    "compression": _compression,
    "colour_cast": _colour_cast,
    "channel_shift": _channel_shift,
    "occlusion": _occlusion,
}

FAMILIES: tuple[str, ...] = tuple(_RECIPES)
"""Every family, the seed style first."""
