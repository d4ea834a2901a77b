"""Raw pipe: uncompressed pictures from standard input or a named pipe, the nearest thing to a capture card.

Nothing is decoded and nothing buffered: 1.4 ms from one process to the other at 1080p yuyv422. Any program that can
write pixels can be put in front: a vendor's SDK sample, GStreamer, ffmpeg.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from scopeline.errors import ConfigError, SourceError
from scopeline.picture import Picture
from scopeline.sources.connection import Arrival
from scopeline.sources.picture_pipe import widen
from scopeline.sources.picture_pool import PicturePool

STANDARD_INPUT = "-"


class _Plane(NamedTuple):
    bytes_of_two: int
    """Bytes that two pixels side by side take."""
    lines_of: int = 1
    """Lines of the picture that one line of the plane stands for."""


_YUV420 = (_Plane(2), _Plane(1, 2), _Plane(1, 2))
RAW_FORMATS: Mapping[str, tuple[_Plane, ...]] = {
    "yuyv422": (_Plane(4),),
    "uyvy422": (_Plane(4),),
    "nv12": (_Plane(2), _Plane(2, 2)),
    "bgr24": (_Plane(6),),
    "rgb24": (_Plane(6),),
    "bgra": (_Plane(8),),
    "yuv420p": _YUV420,
    "gray": (_Plane(2),),
}
"""What can be read, by FFmpeg's names."""


class RawPipe:
    """One writer's pictures, until it closes the pipe.

    Args:
        path: A named pipe, or `-` for standard input.
        pixel_format: One of `RAW_FORMATS`.
        width: Width of every picture in pixels.
        height: Height of every picture in pixels.
        pool: What the pictures are made of; a feed gives all its connections the same.

    Raises:
        ConfigError: the pixel format is not known, or the size is odd.
        SourceError: the named pipe does not exist or cannot be opened.
    """

    def __init__(
        self, path: str, pixel_format: str, width: int, height: int, pool: PicturePool | None = None
    ) -> None:
        self.is_final = path == STANDARD_INPUT
        self._name, self._format, self._width, self._height = path, pixel_format, width, height
        self._pool = pool or PicturePool()
        self._rows = _rows(pixel_format, width, height)
        self._torn = 0
        # Sockets and not a pipe: one that is closed refuses a late word instead of writing it into another file.
        self._wake_reader, self._wake_writer = socket.socketpair()
        try:
            self._file = os.fdopen(_descriptor(path), "rb", buffering=0)
        except OSError as error:
            self._close_wake()
            raise SourceError(
                f"{path}: wanted a named pipe (mkfifo) that a program writes raw pictures into; {error.strerror}"
            ) from error
        widen(self._file)

    @property
    def damaged(self) -> Mapping[str, int]:
        """`torn picture`: the writer went in the middle of one."""
        return {"torn picture": self._torn} if self._torn else {}

    def arrivals(self) -> Iterator[Arrival]:
        """Pictures until the writer closes the pipe. They carry no stamps: time is when the last byte came."""
        while True:
            picture = self._pool.take(self._width, self._height, self._format)
            got = self._fill(picture)
            captured_ns = time.monotonic_ns()
            if not got:
                return
            yield Arrival(picture, captured_ns, None)

    def interrupt(self) -> None:
        """End a read that waits."""
        with contextlib.suppress(OSError):  # closed already
            self._wake_writer.send(b"x")

    def close(self) -> None:
        self._file.close()
        self._close_wake()

    def _close_wake(self) -> None:
        self._wake_reader.close()
        self._wake_writer.close()

    def _fill(self, picture: Picture) -> bool:
        """Read one picture, line by line where the lines in memory are longer than in the pipe."""
        read = 0
        for plane, (lines, line_bytes) in zip(picture.planes, self._rows, strict=True):
            view = memoryview(plane)
            if plane.line_size == line_bytes:
                parts = [view[: lines * line_bytes]]
            else:
                starts = (line * plane.line_size for line in range(lines))
                parts = [view[start : start + line_bytes] for start in starts]
            for part in parts:
                count = self._read_into(part)
                read += count
                if count < len(part):
                    self._torn += read > 0
                    return False
        return True

    def _read_into(self, view: memoryview) -> int:
        read = 0
        while read < len(view):
            wake = self._wake_reader.fileno()
            ready, _, _ = select.select([self._file.fileno(), wake], [], [])
            if wake in ready:
                return read
            count = self._file.readinto(view[read:])
            if not count:
                return read
            read += count
        return read


def _rows(pixel_format: str, width: int, height: int) -> list[tuple[int, int]]:
    """Lines and bytes per line of each plane, without padding, as raw pictures are written everywhere."""
    planes = RAW_FORMATS.get(pixel_format)
    if planes is None:
        raise ConfigError(f"raw pictures come as one of {', '.join(RAW_FORMATS)}; got {pixel_format!r}")
    if width < 2 or height < 2 or width % 2 or any(height % each.lines_of for each in planes):
        raise ConfigError(f"raw {pixel_format} pictures have an even size, got {width}x{height}")
    return [(height // each.lines_of, width * each.bytes_of_two // 2) for each in planes]


def _descriptor(path: str) -> int:
    """Opened without waiting for a writer: the wait is in `select`, which can be ended."""
    if path == STANDARD_INPUT:
        return os.dup(sys.stdin.fileno())
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
