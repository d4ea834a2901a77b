"""Picture pool: the few buffers that a live feed's pictures are read into, used again and again.

With new memory for every picture, what the process holds went up and down by whole pictures for hours: with never more
than three of 3.1 MB alive, the allocator kept up to 40 MB, because smaller things of other threads settle between them.
Giving each back to the system (a fixed mmap threshold) costs 1.2 ms a picture in page faults; taking one from here
costs 0.01 ms.
"""

from __future__ import annotations

import weakref
from collections import deque
from fractions import Fraction

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from scopeline.picture import Picture

POOLED = 4
"""Pictures that a live engine can have at once: one that is being read, the newest (captured, and waiting for its turn
if that has not come), the one whose turn has come, and the one before it until the preparing thread lets go of it."""


class PicturePool:
    """Hands out pictures to be filled. Their memory comes back when nobody can reach the picture any more: no variable,
    no view of its pixels, no filter graph.

    All buffers of a size and format are there, and resident, from the first picture on. Who keeps more pictures than
    the pool holds gets further ones of their own, which are freed when they are let go. Belongs to one thread; pictures
    may be let go by any.

    Args:
        count: Buffers to hold.
    """

    def __init__(self, count: int = POOLED) -> None:
        self._count = count
        self._shelf: _Shelf | None = None

    def take(self, width: int, height: int, pixel_format: str) -> Picture:
        """A picture nobody else has, of unknown content.

        Args:
            width: In pixels.
            height: In pixels.
            pixel_format: FFmpeg's name of it.
        """
        signature = (width, height, pixel_format)
        if self._shelf is None or self._shelf.signature != signature:
            self._shelf = (
                None  # before the new ones: what is free of the old size need not be there beside them
            )
            self._shelf = _Shelf(signature, self._count)
        return self._shelf.take() or VideoFrame(*signature)


class _Token:
    """Goes when the last reference to a picture goes, whoever held it."""

    __slots__ = ("__weakref__",)


class _Shelf:
    """Buffers of one size and format."""

    def __init__(self, signature: tuple[int, int, str], count: int) -> None:
        self.signature = signature
        self._free = deque(
            _resident(VideoFrame(*signature)) for _ in range(count)
        )  # append and pop are atomic
        self._graph = _pass_through(self._free[0])

    def take(self) -> Picture | None:
        """A picture that lies in a free buffer; None when all are taken.

        It is another picture than the buffer's own, over the same memory. FFmpeg copies the token's reference with
        every reference to the picture, so that filter graphs that still hold it count too.
        """
        try:
            buffer = self._free.pop()  # the one that was used last: it may still be in a cache
        except IndexError:
            return None
        self._graph.vpush(buffer)
        picture = self._graph.vpull()
        token = _Token()
        weakref.finalize(token, self._free.append, buffer).atexit = False
        picture.opaque = token
        return picture


def _pass_through(picture: Picture) -> Graph:
    """A graph of no filters: what comes out is a new picture over the memory of the one that went in."""
    graph = Graph()
    graph.threads = 1
    entrance = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 1000)
    )
    graph.link_nodes(entrance, graph.add("buffersink")).configure()
    return graph


def _resident(picture: Picture) -> Picture:
    """The picture, its memory written to once: the system hands out pages at the first touch."""
    for plane in picture.planes:
        np.frombuffer(memoryview(plane), np.uint8).fill(0)
    return picture
