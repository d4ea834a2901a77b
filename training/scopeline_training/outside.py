"""Outside: pictures of anything but a body, made by a program.

Rooms come from the simulation; the others are flat things with edges, print, cloth and plain light, in colours from
steel to skin. They stand for what a scope sees before and after a procedure. Synthetic, and to be called so.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels
from scopeline.simulation.view import Pose, Room, random_look

Image = NDArray[np.float32]
Rng = np.random.Generator

_COLOURS = np.array([
    (205, 208, 212), (160, 165, 170), (70, 75, 82), (235, 232, 225),  # steel, grey, dark, paint
    (60, 110, 165), (45, 130, 125), (95, 160, 190),  # drapes and gloves
    (205, 160, 135), (160, 110, 85), (110, 75, 58),  # skin
    (150, 110, 70), (200, 180, 140), (40, 45, 60),  # wood, paper, screens
], np.float32)  # fmt: skip


def outside_picture(rng: Rng, size: int) -> Pixels:
    """One picture of no body, (size, size, 3) uint8 RGB."""
    draw = _KINDS[rng.integers(len(_KINDS))]
    image = draw(rng, 2 * size)
    image = image * _light(rng, 2 * size)[..., None] * rng.normal(1.0, 0.05, 3).astype(np.float32)
    blurred = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.6)))
    small = cv2.resize(blurred, (size, size), interpolation=cv2.INTER_AREA)
    small = small + rng.normal(0, rng.uniform(0.5, 4.0), small.shape)
    pixels: Pixels = np.clip(small, 0, 255).astype(np.uint8)
    return pixels


def _colour(rng: Rng) -> Image:
    return np.asarray(_COLOURS[rng.integers(len(_COLOURS))] * rng.uniform(0.7, 1.15), np.float32)


def _light(rng: Rng, size: int) -> Image:
    """Room light: a slope over the picture, seldom a lamp's spot, never a tunnel's dark end."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    slope = 1.0 + rng.uniform(0.0, 0.6) * (np.cos(angle) * x + np.sin(angle) * y)
    if rng.random() < 0.3:
        centre_x, centre_y = rng.uniform(-0.5, 0.5, 2)
        slope = slope + rng.uniform(0.2, 1.0) * np.exp(-8 * ((x - centre_x) ** 2 + (y - centre_y) ** 2))
    return np.asarray(slope * rng.uniform(0.55, 1.1), np.float32)


def _room(rng: Rng, size: int) -> Image:
    room = Room(int(rng.integers(2**31)), random_look(rng), size, size)
    pose = Pose(float(rng.uniform(0, 6)), float(rng.uniform(0, 1)), (0.0, float(rng.uniform(-0.8, 0.8))))
    return room.view(pose).astype(np.float32)


def _things(rng: Rng, size: int) -> Image:
    """Boxes, discs and slabs before a plain wall."""
    image = np.broadcast_to(_colour(rng), (size, size, 3)).copy()
    for _ in range(int(rng.integers(3, 14))):
        colour = [float(each) for each in _colour(rng)]
        centre = rng.uniform(-0.1, 1.1, 2) * size
        reach = rng.uniform(0.05, 0.45, 2) * size
        if rng.random() < 0.3:
            axes = (round(reach[0]), round(reach[1]))
            cv2.ellipse(image, (round(centre[0]), round(centre[1])), axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
            continue
        box = cv2.boxPoints((centre.tolist(), (2 * reach).tolist(), float(rng.uniform(0, 90))))
        cv2.fillConvexPoly(image, box.round().astype(np.int32), colour, cv2.LINE_AA)
    return image


def _print(rng: Rng, size: int) -> Image:
    """A printed page, a label or a screen: lines of short strokes."""
    paper, ink = (
        (_colour(rng), _colour(rng) * 0.3) if rng.random() < 0.6 else (_colour(rng) * 0.2, _colour(rng))
    )
    image = np.broadcast_to(paper, (size, size, 3)).copy()
    step = int(rng.integers(8, 28))
    for y in range(step, size, step):
        x = int(rng.integers(0, size // 3))
        while x < size * rng.uniform(0.5, 1.0):
            width = int(rng.integers(3, 5 * step))
            thick = max(1, step // 5)
            cv2.rectangle(image, (x, y), (x + width, y + thick), [float(each) for each in ink], -1)
            x += width + max(3, step // 2)
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), float(rng.uniform(-40, 40)), 1.2)
    return np.asarray(cv2.warpAffine(image, turn, (size, size), borderMode=cv2.BORDER_REFLECT), np.float32)


def _cloth(rng: Rng, size: int) -> Image:
    """Woven cloth in folds: a fine grid under long soft waves. Also hair and carpet, at other scales."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(2.5, 9.0)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    weave = np.sin(2 * np.pi * along / pitch) + rng.uniform(0, 1) * np.sin(2 * np.pi * across / pitch)
    folds = np.sin(2 * np.pi * across / (size * rng.uniform(0.1, 0.6)) + 2.0 * np.sin(along / (0.3 * size)))
    shade = 1.0 + rng.uniform(0.02, 0.12) * weave + rng.uniform(0.05, 0.3) * folds
    return np.asarray(_colour(rng) * shade[..., None], np.float32)


def _surface(rng: Rng, size: int) -> Image:
    """A close plain surface: skin, wood, a wall; grain at one scale and streaks."""
    stretch = int(rng.integers(1, 12))
    cells = int(rng.integers(12, 90))
    coarse = rng.normal(0, 1, (max(2, cells // stretch), cells)).astype(np.float32)
    grain = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(_colour(rng) * (1.0 + rng.uniform(0.02, 0.15) * grain[..., None]), np.float32)


_KINDS: tuple[Callable[[Rng, int], Image], ...] = (_room, _room, _things, _things, _print, _cloth, _surface)
