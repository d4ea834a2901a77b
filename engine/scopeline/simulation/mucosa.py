"""Mucosa: the colon's inner wall as a seamless texture, painted for an organ and a Mayo grade.

The texture is unrolled: columns go once around the colon, rows along it. Folds are painted into it with their
shadow, so that a frame costs one lookup. What changes with the grade follows the definition of the score:
Schroeder et al., N Engl J Med 1987. 0: clear vessels. 1: erythema, vessels reduced. 2: marked erythema,
vessels gone, friable, erosions. 3: ulcers and spontaneous bleeding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels

Field = NDArray[np.float32]
"""(H, W) float32, periodic in both directions."""
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What tells one stretch of the colon from another. Lengths in radians of the unrolled wall."""

    lumen: float
    """Radius of the dark end, in fractions of the view's half height."""
    triangle: float
    """How triangular the folds run, 0..0.2."""
    bend: float
    """How far the tunnel turns away, 0..1."""
    fold_gap: float
    """Distance between folds."""
    fold_depth: float
    """Strength of the shadow behind a fold, 0..1."""
    fold_arc: float
    """Share of the circumference that a fold spans: 1 is a ring, 0.4 a valve."""


ANATOMY: dict[str, Anatomy] = {
    "rectum": Anatomy(lumen=0.20, triangle=0.00, bend=0.18, fold_gap=1.90, fold_depth=0.62, fold_arc=0.42),
    "sigmoid": Anatomy(lumen=0.10, triangle=0.03, bend=0.80, fold_gap=0.95, fold_depth=0.50, fold_arc=0.72),
    "descending": Anatomy(
        lumen=0.09, triangle=0.00, bend=0.15, fold_gap=0.52, fold_depth=0.34, fold_arc=1.00
    ),
    "transverse": Anatomy(
        lumen=0.13, triangle=0.17, bend=0.20, fold_gap=0.80, fold_depth=0.55, fold_arc=0.95
    ),
    "ascending": Anatomy(lumen=0.19, triangle=0.06, bend=0.25, fold_gap=1.25, fold_depth=0.75, fold_arc=0.80),
}

_COLOUR = np.array([(214, 138, 112), (212, 118, 96), (204, 88, 72), (190, 72, 58)], np.float32)
"""The wall's colour per grade: salmon to angry red."""
_VESSEL_CONTRAST = (0.62, 0.24, 0.0, 0.0)
_PATCHINESS = (0.05, 0.12, 0.14, 0.16)
_GRAIN = (0.010, 0.030, 0.085, 0.105)


@dataclass(frozen=True, slots=True)
class Wall:
    """A painted wall."""

    colour: Pixels
    """(H, W, 3) uint8 RGB, seamless in both directions, H = W."""
    gloss: NDArray[np.uint8]
    """(H, W) uint8: where a wet surface would mirror the light, seamless."""


def paint_wall(organ: str, mes: int, seed: int, *, size_px: int) -> Wall:
    """Paints the wall of an organ at a Mayo grade.

    Args:
        organ: One of ANATOMY.
        mes: 0-3.
        seed: Everything random comes from it; size does not change what is seen.
        size_px: Side of the square texture.
    """
    rng = np.random.default_rng(seed)
    anatomy = ANATOMY[organ]
    wall = _tissue(rng, mes, size_px)
    bumps = _grain(rng, size_px)
    _draw_vessels(wall, rng, mes)
    wall *= (1 + _GRAIN[mes] * bumps)[..., None]
    if mes == 2:
        _draw_erosions(wall, rng)
    if mes == 3:
        _draw_ulcers(wall, rng)
        _draw_blood(wall, rng)
    wall *= _fold_shade(rng, anatomy, size_px)[..., None]
    return Wall(np.clip(wall, 0, 255).astype(np.uint8), _gloss(rng, mes, bumps))


def periodic_noise(rng: Rng, size_px: int, cells: int) -> Field:
    """Smooth seamless noise with about `cells` bumps along each side, zero mean, unit variance."""
    grid = rng.standard_normal((cells, cells)).astype(np.float32)
    pad = 3
    grid = np.pad(grid, pad, mode="wrap")
    step = size_px / cells
    at = (np.arange(size_px, dtype=np.float32) + 0.5) / step - 0.5 + pad
    columns, rows = np.meshgrid(at, at)
    noise = cv2.remap(grid, columns, rows, cv2.INTER_CUBIC)
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-6), np.float32)


def _cloud(rng: Rng, size_px: int, cells: int, octaves: int) -> Field:
    total = np.zeros((size_px, size_px), np.float32)
    for octave in range(octaves):
        total += periodic_noise(rng, size_px, min(cells << octave, size_px // 2)) * 0.6**octave
    return np.asarray(total / total.std(), np.float32)


def _tissue(rng: Rng, mes: int, size_px: int) -> NDArray[np.float32]:
    """The bare wall: colour of the grade with patches of redder and paler mucosa."""
    patches = _cloud(rng, size_px, 5, 3) * _PATCHINESS[mes]
    redder = np.stack([1 - 0.25 * patches, 1 - patches, 1 - 1.1 * patches], axis=-1)
    return np.asarray(_COLOUR[mes] * redder, np.float32)


def _grain(rng: Rng, size_px: int) -> Field:
    """Fine granularity lit from the viewer's side: the slope of bumps."""
    bumps = periodic_noise(rng, size_px, max(8, min(110, size_px // 4)))
    bumps += 0.7 * periodic_noise(rng, size_px, max(8, min(200, size_px // 3)))
    slope = bumps - np.roll(bumps, max(1, size_px // 400), axis=0)
    return np.asarray(slope / (slope.std() + 1e-6), np.float32)


def _draw_vessels(wall: NDArray[np.float32], rng: Rng, mes: int) -> None:
    """Branching vessels; they leave blue-red lines, since haemoglobin takes green most."""
    contrast = _VESSEL_CONTRAST[mes]
    size_px = wall.shape[0]
    canvas = np.zeros((2 * size_px, 2 * size_px), np.uint8)
    for _ in range(26):
        start = rng.uniform(0.5, 1.5, 2) * size_px
        _draw_branch(canvas, rng, start, rng.uniform(0, 2 * np.pi), size_px * 0.0042, 4)
    if contrast == 0:
        return
    lines = cv2.GaussianBlur(_fold_back(canvas, size_px), (0, 0), max(0.6, size_px / 1400))
    presence = np.clip(0.75 + 0.5 * periodic_noise(rng, size_px, 6), 0.15, 1)
    strength = (lines / np.float32(255) * presence * contrast)[..., None]
    wall *= 1 - strength * np.array([0.34, 0.66, 0.52], np.float32)


def _draw_branch(
    canvas: NDArray[np.uint8], rng: Rng, start: NDArray[np.float64], angle: float, width: float, depth: int
) -> None:
    size_px = canvas.shape[0] / 2
    steps = int(rng.integers(9, 16))
    turns = angle + np.cumsum(rng.normal(0, 0.20, steps))
    stride = size_px * 0.0125
    path = start + np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1) * stride, axis=0)
    points = np.round(np.concatenate([start[None], path]) * 16).astype(np.int32)
    grey = int(255 * min(1.0, 0.42 + 0.16 * depth))
    cv2.polylines(canvas, [points], False, grey, max(1, round(width)), cv2.LINE_AA, shift=4)
    if depth == 0:
        return
    for side in (-1, 1):
        fork = float(turns[-1]) + side * rng.uniform(0.25, 0.75)
        _draw_branch(canvas, rng, path[-1], fork, width * 0.68, depth - 1)
    middle = path[steps // 2]
    twig = float(turns[steps // 2]) + float(rng.choice((-1, 1))) * 0.9
    _draw_branch(canvas, rng, middle, twig, width * 0.55, max(depth - 2, 0))


def _fold_back(canvas: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Wraps a canvas of twice the size into one seamless tile."""
    half = np.maximum(canvas[:size_px], canvas[size_px:])
    return np.maximum(half[:, :size_px], half[:, size_px:])


def _blend(
    wall: NDArray[np.float32],
    opacity: NDArray[np.float32],
    colour: tuple[int, int, int] | NDArray[np.float32],
) -> None:
    wall += (np.asarray(colour, np.float32) - wall) * opacity[..., None]


def _spots(rng: Rng, size_px: int, count: int, radius: tuple[float, float]) -> NDArray[np.float32]:
    """Small roundish spots, seamless, 0..1 with soft rims."""
    canvas = np.zeros((2 * size_px, 2 * size_px), np.uint8)
    centres = rng.uniform(0.5, 1.5, (max(1, count // 5), 2)) * size_px
    for k in range(count):
        at = centres[k % len(centres)] + rng.normal(0, 0.035, 2) * size_px
        axes = np.maximum(1, rng.uniform(*radius, 2) * size_px)
        centre, half = (round(at[0]), round(at[1])), (round(axes[0]), round(axes[1]))
        cv2.ellipse(canvas, centre, half, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    return _soft(_fold_back(canvas, size_px), size_px * 0.0018)


def _soft(mask: NDArray[Any], sigma_px: float) -> NDArray[np.float32]:
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, sigma_px), borderType=cv2.BORDER_REFLECT)
    return np.asarray(soft / np.float32(255), np.float32)


def _halo(mask: NDArray[np.float32], size_px: int, reach: float) -> NDArray[np.float32]:
    side = max(3, int(reach * size_px) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    wide = cv2.dilate((mask * 255).astype(np.uint8), kernel)
    return _soft(wide, side / 3)


def _draw_erosions(wall: NDArray[np.float32], rng: Rng) -> None:
    size_px = wall.shape[0]
    spots = _spots(rng, size_px, 300, (0.0035, 0.0095))
    _blend(wall, 0.72 * _halo(spots, size_px, 0.020), (150, 22, 20))
    _blend(wall, 0.92 * spots, (246, 224, 186))


def _draw_ulcers(wall: NDArray[np.float32], rng: Rng) -> None:
    size_px = wall.shape[0]
    shape = _cloud(rng, size_px, 7, 4)
    level = float(np.quantile(shape, 0.84))
    ulcers = np.clip((shape - level) / 0.10, 0, 1).astype(np.float32)
    rim = np.clip((shape - level + 0.42) / 0.35, 0, 1).astype(np.float32)
    _blend(wall, 0.60 * rim, (142, 26, 24))
    slough = np.array([226, 202, 146], np.float32) * (1 + 0.09 * _cloud(rng, size_px, 40, 2))[..., None]
    wall += (slough - wall) * (0.88 * ulcers)[..., None]


def _draw_blood(wall: NDArray[np.float32], rng: Rng) -> None:
    """Fresh blood: pools and runs along the wall."""
    size_px = wall.shape[0]
    canvas = np.zeros((2 * size_px, 2 * size_px), np.uint8)
    for _ in range(26):
        at = rng.uniform(0.5, 1.5, 2) * size_px
        for _ in range(int(rng.integers(4, 12))):
            at = at + rng.normal(0, 0.006, 2) * size_px + (0, 0.008 * size_px)
            radius = max(1, round(rng.uniform(0.003, 0.011) * size_px))
            cv2.circle(canvas, (round(at[0]), round(at[1])), radius, 255, -1, cv2.LINE_AA)
    blood = _soft(_fold_back(canvas, size_px), size_px * 0.002)
    _blend(wall, 0.85 * blood, (118, 10, 10))


def _fold_shade(rng: Rng, anatomy: Anatomy, size_px: int) -> Field:
    """Light on the folds, 0..1.2: brighter up to a crest, then the shadow behind it.

    A fold's crest wanders around the wall and fades where the fold ends, so rings, half rings and valves come
    from one formula.
    """
    folds = max(1, round(2 * np.pi / anatomy.fold_gap))
    rows = np.linspace(0, folds, size_px, endpoint=False, dtype=np.float32)[:, None]
    wander = _across(rng, size_px, 3) * 0.16 + 0.05 * periodic_noise(rng, size_px, 8)
    phase = (rows + wander) % folds
    index = phase.astype(np.int32)
    u = phase - index
    presence = np.stack([_arc(rng, size_px, anatomy.fold_arc) for _ in range(folds)])
    here = np.take_along_axis(presence, index % folds, axis=0)
    before = np.take_along_axis(presence, (index - 1) % folds, axis=0)
    # Behind the crest just passed lies its shadow; before the next crest the wall turns to the light.
    shadow = np.exp(-u * 5.5) * np.clip(u * 40, 0, 1) * before
    slope = np.clip(1 - (1 - u) * 2.2, 0, 1) ** 2 * here
    crest = np.exp(-(((1 - u) / 0.05) ** 2)) * here
    shade = 1 - anatomy.fold_depth * shadow + 0.16 * slope + 0.10 * crest
    return np.asarray(shade, np.float32)


def _across(rng: Rng, size_px: int, harmonics: int) -> Field:
    """One smooth periodic curve around the wall, (1, W), of about unit amplitude."""
    theta = np.linspace(0, 2 * np.pi, size_px, endpoint=False, dtype=np.float32)
    curve = np.zeros(size_px, np.float32)
    for k in range(1, harmonics + 1):
        curve += rng.normal() / k * np.cos(k * theta + np.float32(rng.uniform(0, 6.28)))
    return curve[None]


def _arc(rng: Rng, size_px: int, share: float) -> Field:
    """How present a fold is around the wall, (W,), 0..1."""
    if share >= 1:
        return np.ones(size_px, np.float32)
    theta = np.linspace(-np.pi, np.pi, size_px, endpoint=False, dtype=np.float32)
    off = np.abs((theta - rng.uniform(-np.pi, np.pi) + np.pi) % (2 * np.pi) - np.pi) / np.pi
    return np.asarray(1 / (1 + np.exp((off - share) * 14)), np.float32)


def _gloss(rng: Rng, mes: int, bumps: Field) -> NDArray[np.uint8]:
    """Wet glints: a few broad bumps that mirror, broken up by the grain, more so on a granular wall."""
    size_px = bumps.shape[0]
    broad = periodic_noise(rng, size_px, 30) + 0.75 * periodic_noise(rng, size_px, min(90, size_px // 4))
    broken = broad + (0.10 + 0.10 * mes) * bumps
    glints = np.clip((broken - 2.75) / 0.45, 0, 1)
    return np.asarray(cv2.GaussianBlur((glints * 255).astype(np.uint8), (0, 0), max(0.5, size_px / 1300)))
