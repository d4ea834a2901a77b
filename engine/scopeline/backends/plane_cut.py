"""Plane cut: the part of a picture's planes that a view is made of, as arrays over the decoder's own memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scopeline.overlay import Box
from scopeline.picture import Picture

Plane = NDArray[np.uint8]
"""(lines, bytes per line), not copied: valid as long as the picture is."""

_INTERLEAVED: Final = "nv12"
FORMATS: Final = ("yuv420p", "yuvj420p", _INTERLEAVED)
"""What decoders, NVDEC and most cards give. Half the lines and half the columns of chroma."""


@dataclass(frozen=True, slots=True)
class PlaneCut:
    """Luma and chroma of a rectangle."""

    planes: tuple[Plane, ...]
    """Luma, then U and V, or one plane in which they take turns."""
    chroma_step: int
    """Bytes from one sample of U to the next: 2 where U and V take turns."""

    @property
    def width(self) -> int:
        return int(self.planes[0].shape[1])

    @property
    def height(self) -> int:
        return int(self.planes[0].shape[0])

    @property
    def chroma_width(self) -> int:
        return int(self.planes[1].shape[1]) // self.chroma_step

    @property
    def chroma_height(self) -> int:
        return int(self.planes[1].shape[0])

    @property
    def nbytes(self) -> int:
        return sum(plane.size for plane in self.planes)

    def pack(self, into: Plane) -> None:
        """Copy the planes one after the other to the beginning of (N,) bytes."""
        start = 0
        for plane in self.planes:
            np.copyto(into[start : start + plane.size].reshape(plane.shape), plane)
            start += plane.size


def plane_cut(picture: Picture, box: Box | None, *, width: int, height: int) -> PlaneCut | None:
    """The rectangle `box` of a picture, or all of it; None where the kernel would do something else than the CPU.

    That is: the pixel format is none of `FORMATS`, something would be enlarged (chroma counts, so a view of 224 lines
    wants 448 of the signal), the view's width is odd, or the box begins at an odd pixel.

    Args:
        width: Of the view to be made, in pixels.
        height: The same.
    """
    if picture.format.name not in FORMATS or width % 2:
        return None
    x, y, wide, tall = box or (0, 0, picture.width, picture.height)
    lies_within = 0 <= x < x + wide <= picture.width and 0 <= y < y + tall <= picture.height
    if not lies_within or x % 2 or y % 2 or (wide + 1) // 2 < width // 2 or (tall + 1) // 2 < height:
        return None
    half = (y // 2, (y + tall + 1) // 2, x // 2, (x + wide + 1) // 2)
    step = 2 if picture.format.name == _INTERLEAVED else 1
    top, bottom, left, right = half
    chroma = tuple(
        _rows(picture, number)[top:bottom, left * step : right * step]
        for number in range(1, 2 if step == 2 else 3)
    )
    return PlaneCut((_rows(picture, 0)[y : y + tall, x : x + wide], *chroma), step)


def _rows(picture: Picture, number: int) -> Plane:
    plane = picture.planes[number]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
