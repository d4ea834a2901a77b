"""The arithmetic of the GPU's preprocessing in float64, written as matrix products and apart from the kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scopeline.backends.plane_cut import PlaneCut
from scopeline.backends.yuv_colour import Colour

Grid = NDArray[np.float64]


def coverage(made: int, given: int) -> Grid:
    """(made, given): the share of each source pixel in each pixel made, by area."""
    size = given / made
    start, pixel = np.arange(made)[:, None] * size, np.arange(given)[None, :]
    shared = np.minimum(start + size, pixel + 1) - np.maximum(start, pixel)
    shares: Grid = shared.clip(0, None) / size
    return shares


def shrunk(plane: NDArray[np.uint8], width: int, height: int) -> Grid:
    """A plane averaged by area."""
    made: Grid = (
        coverage(height, plane.shape[0]) @ plane.astype(np.float64) @ coverage(width, plane.shape[1]).T
    )
    return made


def view(cut: PlaneCut, colour: Colour, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB."""
    luma = shrunk(cut.planes[0], width, height)
    apart = [cut.planes[1][:, k::2] for k in (0, 1)] if cut.chroma_step == 2 else list(cut.planes[1:])
    blue, red = (np.repeat(shrunk(plane, width // 2, height), 2, axis=1) for plane in apart)
    # A sum that should be whole may lie a hair below in floating point.
    eighths = [np.floor(8 * each + (0.5 if colour.is_full else -0.5) + 1e-7) for each in (luma, blue, red)]
    if not colour.is_full:
        eighths[0] -= 128
    y, u, v = eighths[0], eighths[1] - 1024, eighths[2] - 1024

    def told(*parts: Grid) -> Grid:
        each = np.stack(parts) / 65536
        whole: Grid = np.floor(each.sum(axis=0) + 0.5) if colour.is_full else np.floor(each).sum(axis=0)
        return whole

    rgb = (
        told(y * colour.of_luma, v * colour.of_red),
        told(y * colour.of_luma, u * colour.green_of_blue, v * colour.green_of_red),
        told(y * colour.of_luma, u * colour.of_blue),
    )
    return np.clip(np.stack(rgb, axis=-1), 0, 255).astype(np.uint8)
