"""Scope loop: a second of pictures from a simulated procedure, drawn once, kept as raw pixels, shown for ever.

Drawing a 1080p picture takes longer than a thirtieth of a second; a camera's picture must cost a sender nothing but a
copy. The loop is shown forwards and backwards, so that no picture equals the one before and none is a cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels
from scopeline.simulation.barcode import burn, read
from scopeline.simulation.procedure import simulate_procedure
from scopeline.simulation.renderer import Renderer

LoopFormat: TypeAlias = Literal["yuv420p", "yuyv422"]
"""What encoders are fed with, and what capture cards deliver; FFmpeg's names."""

Luma: TypeAlias = NDArray[np.uint8]
"""(H, W) uint8, limited range; mostly a view into something larger."""

_VERSION = 3
"""Part of the file name: pictures that were drawn differently are others."""
_SEED, _PROCEDURE_S, _FROM_S = 11, 60.0, 15.0
_CONVERSIONS = {"yuv420p": cv2.COLOR_RGB2YUV_I420, "yuyv422": cv2.COLOR_RGB2YUV_YUYV}


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """What the pictures should be."""

    width_px: int
    height_px: int
    fps: int
    pixel_format: LoopFormat
    pictures: int = 30
    screen: str = "hd-circle"

    @property
    def picture_bytes(self) -> int:
        return self.width_px * self.height_px * (4 if self.pixel_format == "yuyv422" else 3) // 2

    @property
    def name(self) -> str:
        size = f"{self.width_px}x{self.height_px}-{self.fps}fps"
        return f"loop-v{_VERSION}-{size}-{self.screen}-{self.pictures}.{self.pixel_format}"


def draw_loop(plan: LoopPlan, folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """The file of raw pictures one after the other, drawn if the folder does not have it yet.

    Args:
        progress: Called with pictures drawn and pictures to draw.
    """
    path = folder / plan.name
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    procedure = simulate_procedure(
        seed=_SEED,
        duration_s=_PROCEDURE_S,
        fps=plan.fps,
        width=plan.width_px,
        height=plan.height_px,
        screen=plan.screen,
    )
    renderer = Renderer(replace(procedure, disturbances=(), static_stretches=()))
    first = round(_FROM_S * plan.fps)
    with part.open("wb") as file:
        for place in range(plan.pictures):
            pixels = renderer.render(first + place)
            file.write(cv2.cvtColor(pixels, _CONVERSIONS[plan.pixel_format]).tobytes())
            if progress is not None:
                progress(place + 1, plan.pictures)
    part.replace(path)
    return path


class ScopeLoop:
    """The drawn pictures, to be shown with a number burnt into each.

    Args:
        path: From `draw_loop`.
        plan: The same that it was drawn by.
    """

    def __init__(self, path: Path, plan: LoopPlan) -> None:
        self._plan = plan
        self._pictures = np.fromfile(path, np.uint8).reshape(plan.pictures, plan.picture_bytes)

    def picture(self, number: int) -> memoryview:
        """Picture `number`, with its number burnt in: raw bytes, good until the next call. 60 µs at 1080p."""
        there = 2 * self._plan.pictures - 2
        place = number % there
        content = self._pictures[place if place < self._plan.pictures else there - place]
        burn(luma_of(content, self._plan)[..., None], number)
        return memoryview(content)


def luma_of(content: NDArray[np.uint8], plan: LoopPlan) -> Luma:
    """The luma of one raw picture, (H, W) uint8, as a view."""
    if plan.pixel_format == "yuyv422":
        return content.reshape(plan.height_px, 2 * plan.width_px)[:, ::2]
    return content[: plan.height_px * plan.width_px].reshape(plan.height_px, plan.width_px)


def number_in(luma: Luma) -> int | None:
    """The number burnt into a picture, None when it cannot be read. Touches the code's corner only."""
    pixels: Pixels = np.broadcast_to(luma[..., None], (*luma.shape, 3))
    return read(pixels)
