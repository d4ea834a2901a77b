"""Picture: decoded pixels, and the one resizer that cuts and scales them.

The resizer runs FFmpeg's `crop` and `scale` filters on the decoder's own planes. A full-resolution RGB copy is
never made, which is about five times cheaper than converting first (docs/architecture.md, "Cost"). Training uses
the very same class on still images, so a network never sees two ways of shrinking.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from scopeline.errors import SourceError

Picture = VideoFrame
"""A decoded picture: FFmpeg's own frame, any pixel format, reference-counted."""

Pixels = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""


def picture_from_rgb(pixels: Pixels) -> Picture:
    """A picture from (H, W, 3) uint8 RGB pixels (copied)."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    return VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def picture_from_file(path: Path) -> Picture:
    """The first picture of an image file, decoded by the library that also decodes the videos.

    Raises:
        SourceError: the file cannot be decoded.
    """
    try:
        with av.open(str(path)) as container:
            return next(container.decode(video=0))
    except (av.FFmpegError, StopIteration, IndexError) as error:
        raise SourceError(f"{path}: wanted an image file, could not decode it ({error})") from error


def rgb_pixels(picture: Picture) -> Pixels:
    """The whole picture as (H, W, 3) uint8 RGB. Costly: for key frames and tools, never per frame."""
    return picture.to_ndarray(format="rgb24")


class Resizer:
    """Cuts a rectangle out of pictures and scales it to (height, width) RGB with area averaging.

    The filter graph is built for the first picture and rebuilt when size or pixel format change. Not
    thread-safe: one resizer belongs to one stage.

    Args:
        width: Width of the result in pixels.
        height: Height of the result in pixels.
        crop: (x, y, width, height) in signal pixels; the whole picture if None.
    """

    def __init__(self, width: int, height: int, crop: tuple[int, int, int, int] | None = None) -> None:
        self.width, self.height, self.crop = width, height, crop
        self._graph: Graph | None = None
        self._built_for: tuple[int, int, str] | None = None

    def __call__(self, picture: Picture, out: Pixels | None = None) -> Pixels:
        """The cut and scaled picture, (height, width, 3) uint8 RGB, written into `out` if that is given.

        Raises:
            ValueError: the crop does not lie within the picture.
        """
        signature = (picture.width, picture.height, picture.format.name)
        if self._graph is None or signature != self._built_for:
            self._graph, self._built_for = self._build(picture), signature
        self._graph.vpush(picture)
        plane = self._graph.vpull().planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(self.height, plane.line_size)
        pixels = rows[:, : self.width * 3].reshape(self.height, self.width, 3)
        if out is None:
            return pixels.copy()
        np.copyto(out, pixels)
        return out

    def _build(self, picture: Picture) -> Graph:
        x, y, width, height = self.crop or (0, 0, picture.width, picture.height)
        if x < 0 or y < 0 or width < 1 or height < 1 or x + width > picture.width or y + height > picture.height:
            raise ValueError(
                f"crop must lie within the {picture.width}x{picture.height} picture, "
                f"got x {x}, y {y}, width {width}, height {height}"
            )
        # Averaging only makes sense when shrinking; enlarging with it gives blocks.
        flags = "area" if width >= self.width and height >= self.height else "bilinear"
        graph = Graph()
        graph.threads = 1  # the pictures are small: slice threads cost more than they save, and steal cores
        nodes = [graph.add_buffer(
            width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
        )]
        if (x, y, width, height) != (0, 0, picture.width, picture.height):
            nodes.append(graph.add("crop", f"{width}:{height}:{x}:{y}:exact=1"))
        nodes.append(graph.add("scale", f"{self.width}:{self.height}:flags={flags}"))
        nodes.append(graph.add("format", "rgb24"))
        nodes.append(graph.add("buffersink"))
        for before, after in zip(nodes, nodes[1:], strict=False):
            before.link_to(after)
        graph.configure()
        return graph
