"""View: what the lens sees of a wall (a tunnel with a dark end) or, outside the body, of a room.

The tunnel is a lookup: each pixel's direction and depth give the place on the unrolled wall. Direction, depth
and light are smooth, so they are reckoned on every eighth pixel and enlarged; only the lookup is full size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels
from scopeline.simulation.mucosa import ANATOMY, Field, Wall, paint_wall

Scalar = TypeVar("Scalar", np.float32, np.uint8)

_GRID_PX = 8
_NEAR = 2.2  # the largest radius in view, in half heights: the corner opposite of a lumen at the rim
_FAR = 0.05  # radius below which the tunnel is black anyway
_PERSPECTIVE = (
    0.35  # 0 shrinks the wall evenly towards the end (logarithm), 1 is a straight pipe's perspective
)
_ROLL_MAX = math.pi / 2


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the tip of the scope is and looks. The renderer moves it smoothly."""

    travel: float = 0.0
    """Way along the colon in radians of the unrolled wall; grows while withdrawing."""
    roll: float = 0.5
    """Turn about the axis, 0..pi/2."""
    lumen: tuple[float, float] = (0.0, 0.0)
    """Where the dark end appears, in half heights right of and below the centre."""
    zoom: float = 1.0
    """How wide the lumen stands open."""


@dataclass(frozen=True, slots=True)
class Look:
    """Lamp and camera: what differs between processors and says nothing about the patient."""

    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Gain per channel."""
    gain: float = 1.0
    side: float = 0.8
    """Direction in radians from which the lamp shines more."""
    side_strength: float = 0.2


def random_look(rng: np.random.Generator) -> Look:
    """A processor's colour and light. The spread in hue stays below the step between neighbouring grades."""
    red, green, blue = rng.normal(1, (0.03, 0.05, 0.07))
    return Look(
        balance=(float(red), float(green), float(blue)),
        gain=float(rng.uniform(0.85, 1.12)),
        side=float(rng.uniform(-math.pi, math.pi)),
        side_strength=float(rng.uniform(0.08, 0.34)),
    )


class Tunnel:
    """A stretch of colon, ready to be looked at from any pose.

    Args:
        organ: One of `ANATOMY`.
        mes: Mayo grade 0-3.
        seed: Everything random about the wall.
        look: Lamp and camera.
        width: Width of the views in pixels.
        height: Height of the views in pixels.
    """

    def __init__(self, organ: str, mes: int, seed: int, look: Look, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._anatomy, self._look = ANATOMY[organ], look
        # 2.8 wall pixels per line of the picture: the wall is then sharp where it is near and bright.
        self._around_px = round(height * 2.8)
        wall = paint_wall(organ, mes, seed, size_px=self._around_px)
        self._colour, self._gloss = _padded(wall)
        self._grid_x, self._grid_y = _grid(width, height)

    def view(self, pose: Pose) -> Pixels:
        """The picture from a pose, (height, width, 3) uint8 RGB."""
        towards, depth, radius = self._geometry(pose)
        columns, rows = self._lookup(pose, towards, depth)
        pixels = cv2.remap(self._colour, columns, rows, cv2.INTER_LINEAR)
        light = self._light(pose, towards, depth, radius)
        pixels = cv2.multiply(pixels, self._enlarged(light), dst=pixels, scale=1 / 180)
        glints = self._glints(columns, rows, light)
        return np.asarray(cv2.add(pixels, glints, dst=pixels), np.uint8)

    def _geometry(self, pose: Pose) -> tuple[Field, Field, Field]:
        """Direction, depth and radius of every grid point. The axis runs from the middle to the lumen."""
        lumen_x, lumen_y = pose.lumen
        straight = np.hypot(self._grid_x - lumen_x, self._grid_y - lumen_y)
        share = np.clip(1 - straight / 1.5, 0, 1)
        share = share * share * (3 - 2 * share)
        sideways = 0.5 * self._anatomy.bend * share * (1 - share)
        dx = self._grid_x - lumen_x * share + lumen_y * sideways
        dy = self._grid_y - lumen_y * share - lumen_x * sideways
        towards = np.arctan2(dy, dx)
        radius = np.hypot(dx, dy)
        if self._anatomy.triangle:
            radius = radius * (1 + self._anatomy.triangle * np.cos(3 * (towards + pose.roll)))
        radius = np.maximum(radius / pose.zoom, _FAR)
        depth = ((_NEAR / radius) ** _PERSPECTIVE - 1) / _PERSPECTIVE
        return towards.astype(np.float32), depth.astype(np.float32), radius.astype(np.float32)

    def _lookup(self, pose: Pose, towards: Field, depth: Field) -> tuple[Field, Field]:
        per_radian = np.float32(self._around_px / (2 * math.pi))
        start = (-pose.travel * per_radian) % self._around_px
        rows = self._enlarged(np.maximum(depth, 0) * per_radian + np.float32(start))
        turn = np.float32(pose.roll + math.pi / 2)
        columns = self._enlarged((towards + turn) * per_radian)
        # The direction jumps from pi to -pi left of the axis. There it is counted from 0 to 2 pi, which jumps
        # on the right: enlarging never crosses a jump.
        from_zero = np.where(towards < 0, towards + np.float32(2 * math.pi), towards)
        left = self._enlarged(np.cos(towards)) < 0
        np.copyto(columns, self._enlarged((from_zero + turn) * per_radian), where=left)
        return columns, rows

    def _light(self, pose: Pose, towards: Field, depth: Field, radius: Field) -> Pixels:
        """Light on the wall per channel, 180 for the painted colour: falls with depth, red lasts longest."""
        lumen = self._anatomy.lumen
        deep = np.clip((radius - 0.35 * lumen) / (2.6 * lumen), 0, 1)
        fall = (0.10 + 0.90 * deep**0.9) / (1 + (depth / 5.2) ** 2)
        one_side = 1 + self._look.side_strength * np.cos(towards - np.float32(self._look.side))
        rim = 1 - 0.16 * np.clip(np.hypot(self._grid_x, self._grid_y) - 0.75, 0, 1)
        light = fall * one_side * rim * self._look.gain * 1.12
        channels = [
            light**power * gain for power, gain in zip((1.0, 1.18, 1.28), self._look.balance, strict=True)
        ]
        return np.asarray(np.clip(np.stack(channels, axis=-1) * 180, 0, 255), np.uint8)

    def _glints(self, columns: Field, rows: Field, light: Pixels) -> Pixels:
        wet = cv2.remap(self._gloss, columns, rows, cv2.INTER_LINEAR)
        bright = self._enlarged(np.clip(light[..., 0].astype(np.int16) * 2 - 130, 0, 255).astype(np.uint8))
        return np.asarray(
            cv2.cvtColor(cv2.multiply(wet, bright, scale=1 / 200), cv2.COLOR_GRAY2RGB), np.uint8
        )

    def _enlarged(self, grid: NDArray[Scalar]) -> NDArray[Scalar]:
        full = cv2.resize(grid, (grid.shape[1] * _GRID_PX, grid.shape[0] * _GRID_PX))
        return np.asarray(full[: self.height, : self.width], grid.dtype)


class Room:
    """The endoscopy room as the lens sees it out of the body: wall, window, monitor, blue drape, a lamp.

    Args:
        seed: Everything random about the room.
        look: Lamp and camera.
        width: Width of the views in pixels.
        height: Height of the views in pixels.
    """

    def __init__(self, seed: int, look: Look, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._panorama = _paint_room(np.random.default_rng(seed), look, width * 2, round(height * 1.6))

    def view(self, pose: Pose) -> Pixels:
        """The picture from a pose, (height, width, 3) uint8 RGB: the room sways with the scope's tip."""
        spare_x = self._panorama.shape[1] - self.width
        spare_y = self._panorama.shape[0] - self.height
        x = spare_x * (0.5 + 0.5 * math.sin(pose.travel * 1.1))
        y = spare_y * (0.5 + 0.4 * pose.lumen[1])
        turn = 0.25 * (pose.roll - 0.5)
        matrix = cv2.getRotationMatrix2D((x + self.width / 2, y + self.height / 2), math.degrees(turn), 1.0)
        matrix[:, 2] -= (x, y)
        size = (self.width, self.height)
        return np.asarray(
            cv2.warpAffine(self._panorama, matrix, size, borderMode=cv2.BORDER_REFLECT), np.uint8
        )


def _grid(width: int, height: int) -> tuple[Field, Field]:
    """Centres of the grid's cells in half heights from the middle, (rows, columns) each."""
    columns = (np.arange(math.ceil(width / _GRID_PX), dtype=np.float32) + 0.5) * _GRID_PX
    rows = (np.arange(math.ceil(height / _GRID_PX), dtype=np.float32) + 0.5) * _GRID_PX
    x, y = np.meshgrid((columns * 2 - width) / height, (rows * 2 - height) / height)
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def _padded(wall: Wall) -> tuple[Pixels, NDArray[np.uint8]]:
    """The wall repeated as far as a view can reach, so that the lookup never has to wrap."""
    side = wall.colour.shape[0]
    deepest = ((_NEAR / _FAR) ** _PERSPECTIVE - 1) / _PERSPECTIVE
    rows = round(side * deepest / (2 * math.pi)) + 8
    columns = round(side * _ROLL_MAX / (2 * math.pi)) + 16
    colour = np.pad(wall.colour, ((0, rows), (0, columns), (0, 0)), mode="wrap")
    # The glints lie elsewhere than the wall's own pattern, so that they do not look painted on.
    gloss = np.roll(wall.gloss, side // 3, axis=0)
    return colour, np.pad(gloss, ((0, rows), (0, columns)), mode="wrap")


def _paint_room(rng: np.random.Generator, look: Look, width: int, height: int) -> Pixels:
    room = np.empty((height, width, 3), np.float32)
    base = np.array(((176, 178, 170), (150, 166, 170), (182, 172, 150))[rng.integers(3)], np.float32)
    room[:] = base * np.linspace(1.05, 0.65, height, dtype=np.float32)[:, None, None]
    floor = int(height * rng.uniform(0.66, 0.8))
    room[floor:] *= np.array((0.62, 0.60, 0.58), np.float32)
    _furnish(room, rng, floor)
    _hang_drape(room, rng)
    _switch_on(room, rng)
    soft = cv2.GaussianBlur(room, (0, 0), height / 260)  # the lens is made for centimetres
    soft = soft * np.array(look.balance, np.float32) * look.gain
    return np.asarray(np.clip(soft, 0, 255), np.uint8)


def _furnish(room: NDArray[np.float32], rng: np.random.Generator, floor: int) -> None:
    height, width = room.shape[:2]
    for _ in range(int(rng.integers(5, 9))):
        w, h = int(width * rng.uniform(0.05, 0.16)), int(height * rng.uniform(0.15, 0.45))
        x, y = int(rng.uniform(0, width - w)), int(floor - h * rng.uniform(0.5, 1.0))
        grey = float(rng.uniform(60, 215))
        colour = (grey, grey * rng.uniform(0.92, 1.04), grey * rng.uniform(0.9, 1.1))
        cv2.rectangle(room, (x, y), (x + w, y + h), colour, -1)
        cv2.rectangle(room, (x, y), (x + w, y + h), tuple(0.7 * c for c in colour), max(1, height // 200))
    w, h = int(width * 0.13), int(height * 0.22)
    x, y = int(rng.uniform(0.1, 0.8) * width), int(rng.uniform(0.1, 0.3) * height)
    cv2.rectangle(room, (x - 6, y - 6), (x + w + 6, y + h + 6), (32, 32, 36), -1)
    cv2.rectangle(room, (x, y), (x + w, y + h), (70, 105, 150), -1)


def _hang_drape(room: NDArray[np.float32], rng: np.random.Generator) -> None:
    """A surgical drape with folds over one side of the picture's lower part."""
    height, width = room.shape[:2]
    x = np.arange(width, dtype=np.float32) / width
    edge = height * (
        rng.uniform(0.55, 0.75) + 0.10 * np.sin(x * 2 * np.pi * rng.uniform(0.6, 1.4) + rng.uniform(0, 6))
    )
    shade = 0.80 + 0.20 * np.sin(x * 2 * np.pi * rng.uniform(9, 16) + 2 * np.sin(x * 9))
    colour = np.array(((38, 92, 150), (40, 128, 132), (60, 110, 165))[rng.integers(3)], np.float32)
    below = np.arange(height, dtype=np.float32)[:, None] > edge
    np.copyto(room, np.broadcast_to(colour * shade[None, :, None], room.shape), where=below[..., None])


def _switch_on(room: NDArray[np.float32], rng: np.random.Generator) -> None:
    height, width = room.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        glow = np.zeros((height, width), np.float32)
        at = (int(rng.uniform(0.05, 0.95) * width), int(rng.uniform(0.02, 0.3) * height))
        axes = (int(height * rng.uniform(0.06, 0.14)), int(height * rng.uniform(0.04, 0.10)))
        cv2.ellipse(glow, at, axes, rng.uniform(-20, 20), 0, 360, 1.0, -1)
        small = cv2.resize(glow, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
        halo = cv2.resize(cv2.GaussianBlur(small, (0, 0), height / 64), (width, height))
        room += (glow * 200 + halo * 90)[..., None]
