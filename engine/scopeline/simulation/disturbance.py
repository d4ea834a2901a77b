"""Disturbances with motion over time: what a spoilt moment does to the field, frame by frame.

Still pictures for training are spoilt by `scopeline.degrade`; here the same troubles move, and cost a few
milliseconds at most. "freeze" and "black" concern the whole signal and are the renderer's business.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels
from scopeline.simulation.procedure import Disturbance

_RISE_S = 0.25
_ONSET = 0.7  # the first frame is already spoilt: when a burst starts is not a matter of taste


def strength_at(disturbance: Disturbance, time_s: float) -> float:
    """How bad it is at a moment within the burst, 0.7..1."""
    from_edge_s = min(time_s - disturbance.start_s, disturbance.end_s - time_s)
    return _ONSET + (1 - _ONSET) * min(max(from_edge_s / _RISE_S, 0.0), 1.0)


class Spoiler:
    """Spoils views of one size. Holds the bubbles, which are drawn once.

    Args:
        seed: Where bubbles and glare sit.
        width: Width of the views in pixels.
        height: Height of the views in pixels.
    """

    def __init__(self, seed: int, width: int, height: int) -> None:
        self._seed = seed
        self._bubbles = _draw_bubbles(np.random.default_rng(seed), width, round(height * 1.5))

    def spoil(self, pixels: Pixels, disturbance: Disturbance, time_s: float) -> Pixels:
        """The spoilt view, (H, W, 3) uint8 RGB; `pixels` may be overwritten."""
        strength = strength_at(disturbance, time_s)
        since_s = time_s - disturbance.start_s
        rng = np.random.default_rng((self._seed, round(disturbance.start_s * 1000)))
        if disturbance.kind == "blur":
            return _smear(pixels, rng, strength, since_s)
        if disturbance.kind == "red_out":
            return _touch_wall(pixels, rng, strength, since_s)
        if disturbance.kind == "bubbles":
            return self._cover_with_bubbles(pixels, strength, since_s)
        if disturbance.kind == "glare":
            return _dazzle(pixels, rng, strength, since_s)
        if disturbance.kind == "dark":
            return np.asarray(cv2.convertScaleAbs(pixels, alpha=1 - 0.91 * strength), np.uint8)
        if disturbance.kind == "fog":
            return _fog(pixels, strength)
        return pixels

    def _cover_with_bubbles(self, pixels: Pixels, strength: float, since_s: float) -> Pixels:
        colour, clear = self._bubbles
        height = pixels.shape[0]
        top = int((0.5 + 0.5 * math.sin(since_s * 1.3)) * (colour.shape[0] - height - 1))
        part = slice(top, top + height)
        # The water between the bubbles blurs what is behind them.
        murky = _blurred(pixels, pixels.shape[0] * 0.012 * strength)
        behind = cv2.multiply(murky, clear[part], scale=1 / 255)
        return np.asarray(cv2.add(behind, colour[part]), np.uint8)


def _blurred(pixels: Pixels, sigma_px: float, shrink: int = 3) -> Pixels:
    """A Gaussian blur at a third of the size: what it loses is blurred away anyway."""
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(sigma_px / shrink, 0.5))
    return np.asarray(cv2.resize(small, (width, height)), np.uint8)


def _smear(pixels: Pixels, rng: np.random.Generator, strength: float, since_s: float) -> Pixels:
    """Motion blur along a direction that turns while the tip swings."""
    height, width = pixels.shape[:2]
    angle = rng.uniform(0, math.pi) + 0.8 * since_s
    small = cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    reach = height / 2 * rng.uniform(0.10, 0.16) * strength
    side = max(3, int(reach) | 1)
    kernel = np.zeros((side, side), np.float32)
    middle = (side - 1) / 2
    dx, dy = math.cos(angle) * middle, math.sin(angle) * middle
    ends = ((round(middle - dx), round(middle - dy)), (round(middle + dx), round(middle + dy)))
    cv2.line(kernel, ends[0], ends[1], 1.0, 1)
    small = cv2.filter2D(small, -1, kernel / kernel.sum())
    return np.asarray(cv2.resize(small, (width, height)), np.uint8)


def _touch_wall(pixels: Pixels, rng: np.random.Generator, strength: float, since_s: float) -> Pixels:
    """The lens against the wall: red, nearly without structure."""
    height, width = pixels.shape[:2]
    tint = np.array((rng.uniform(190, 235), rng.uniform(45, 85), rng.uniform(28, 60)), np.float32)
    glow = rng.standard_normal((4, 5)).astype(np.float32)
    glow += 0.6 * math.sin(since_s * 3 + rng.uniform(0, 6))
    small = cv2.resize(pixels, (40, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), 5), np.float32)
    cover = tint * (1 + 0.10 * cv2.resize(glow, (40, 32), interpolation=cv2.INTER_CUBIC))[..., None]
    mixed = small + (cover - small) * np.float32(0.92 * strength)
    red = np.clip(mixed, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(red, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _dazzle(pixels: Pixels, rng: np.random.Generator, strength: float, since_s: float) -> Pixels:
    """The lamp mirrored by water: white patches that bloom and swim."""
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[0:32, 0:40].astype(np.float32)
    patches = np.zeros((32, 40), np.float32)
    for _ in range(int(rng.integers(3, 6))):
        x = rng.uniform(6, 34) + 3 * math.sin(since_s * 2.2 + rng.uniform(0, 6))
        y = rng.uniform(5, 27) + 2 * math.cos(since_s * 1.7 + rng.uniform(0, 6))
        spread = rng.uniform(2.6, 5.2)
        patches += np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2))
    white = np.clip(patches * 330 * strength + 25, 0, 255).astype(np.uint8)
    bloom = cv2.resize(cv2.cvtColor(white, cv2.COLOR_GRAY2RGB), (width, height))
    return np.asarray(cv2.add(pixels, bloom), np.uint8)


def _fog(pixels: Pixels, strength: float) -> Pixels:
    """A fogged lens: soft, grey, without contrast."""
    soft = _blurred(pixels, pixels.shape[0] * 0.022 * strength)
    share = 0.72 * strength
    return np.asarray(cv2.convertScaleAbs(soft, alpha=1 - share, beta=166 * share), np.uint8)


def _draw_bubbles(rng: np.random.Generator, width: int, height: int) -> tuple[Pixels, NDArray[np.uint8]]:
    """Foam as what it adds and what it lets through, each (height, width, 3) uint8."""
    colour = np.zeros((height, width, 3), np.uint8)
    clear = np.full((height, width, 3), 255, np.uint8)
    for _ in range(round(230 * width / height * 1.5)):
        radius = int(height * min(rng.lognormal(-3.75, 0.5), 0.075)) + 2
        at = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        cv2.circle(clear, at, radius, (120, 112, 100), -1, cv2.LINE_AA)
        cv2.circle(colour, at, radius, (98, 84, 62), -1, cv2.LINE_AA)
        cv2.circle(colour, at, radius, (212, 200, 172), max(1, radius // 6), cv2.LINE_AA)
        glint = (at[0] - radius // 3, at[1] - radius // 3)
        cv2.circle(colour, glint, max(1, radius // 5), (255, 255, 250), -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(colour, (3, 3), 0), np.uint8), clear
