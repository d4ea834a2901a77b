"""Scene: one random wall or room with its truth, seen from several poses. For training without end.

A procedure has few walls and many frames of each; a network learns more from many walls and a few views of
each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from scopeline.picture import Pixels
from scopeline.simulation.disturbance import Spoiler
from scopeline.simulation.procedure import MES_GRADES, ORGANS, Disturbance
from scopeline.simulation.view import Look, Pose, Room, Tunnel, random_look

_SPOILT_KINDS = ("blur", "red_out", "bubbles", "glare", "dark", "fog")
_BURST_S = 2.0
_ASPECTS = (1.0, 1.5)  # of fields on real screens


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to see, and its truth."""

    organ: str
    mes: int | None
    """0-3; None outside the body."""
    seed: int
    look: Look
    disturbance: str | None = None
    """What spoils every view of the scene."""

    @property
    def usable(self) -> bool:
        return self.disturbance is None


def random_scene(rng: np.random.Generator, *, spoilt_share: float = 0.0) -> Scene:
    """A scene with every organ and every grade equally likely.

    Args:
        spoilt_share: Probability that the scene is spoilt by a disturbance.
    """
    organ = str(rng.choice(ORGANS))
    mes = None if organ == "outside" else int(rng.choice(MES_GRADES))
    spoilt = rng.random() < spoilt_share
    kind = str(rng.choice(_SPOILT_KINDS)) if spoilt else None
    return Scene(organ, mes, int(rng.integers(2**31)), random_look(rng), kind)


def random_pose(rng: np.random.Generator, organ: str) -> Pose:
    """A pose out of the range that the renderer's motion covers."""
    wide = 0.72 if organ == "sigmoid" else 0.42
    angle, reach = rng.uniform(0, 2 * math.pi), wide * math.sqrt(rng.uniform())
    return Pose(
        travel=float(rng.uniform(0, 60)),
        roll=float(rng.uniform(0.1, 1.1)),
        lumen=(reach * math.cos(angle), 0.8 * reach * math.sin(angle)),
        zoom=float(rng.uniform(0.9, 1.1)),
    )


def scene_views(scene: Scene, rng: np.random.Generator, *, size_px: int, count: int) -> list[Pixels]:
    """Square pieces of the scene as a crop inside the field shows them, (size_px, size_px, 3) uint8 RGB each.

    The field is drawn at twice the size and shrunk by area, like a real one on its way into a network.
    """
    height = size_px * 2
    width = round(height * rng.uniform(*_ASPECTS))
    view = _painted(scene, width, height)
    spoiler = Spoiler(scene.seed, width, height) if scene.disturbance else None
    pieces = []
    for _ in range(count):
        pixels = view.view(random_pose(rng, scene.organ))
        if spoiler is not None:
            burst = Disturbance(scene.disturbance or "", 0.0, _BURST_S)
            pixels = spoiler.spoil(pixels, burst, float(rng.uniform(0, _BURST_S)))
        pieces.append(_piece(pixels, rng, size_px))
    return pieces


def _painted(scene: Scene, width: int, height: int) -> Tunnel | Room:
    if scene.mes is None:
        return Room(scene.seed, scene.look, width, height)
    return Tunnel(scene.organ, scene.mes, scene.seed, scene.look, width, height)


def _piece(pixels: Pixels, rng: np.random.Generator, size_px: int) -> Pixels:
    height, width = pixels.shape[:2]
    side = int(height * rng.uniform(0.68, 0.95))
    x, y = int(rng.uniform(0, width - side)), int(rng.uniform(0, height - side))
    piece = pixels[y : y + side, x : x + side]
    return np.asarray(cv2.resize(piece, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8)
