"""Key frames: a few frames of a recording, fetched by a second pass that jumps from one to the next.

The first pass keeps no pictures: an hour of decoded high-definition video is 560 GB, and which frame stands
for a segment is known when the segment ends.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import av
import cv2
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer

from scopeline.errors import SinkError
from scopeline.picture import Pixels, Stamped, Straightener, rgb_pixels
from scopeline.sources.media import MediaSource

_TOLERANCE_S: Final = 0.0006
"""Times come rounded to milliseconds."""


class KeptFrames(Mapping[int, Pixels]):
    """Frames by number, (H, W, 3) uint8 RGB, compressed without loss and on disk until somebody looks at one.

    The 120 frames that pictures of a long 1080p recording are made of are 0.7 GB as pixels. They are not cut to their
    field yet: their file is one that the system takes away however this process ends (Linux never gives it a name).
    Belongs to one thread.

    Args:
        folder: Where that file lies; the system's own place for such when left out.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._places: dict[int, tuple[int, int]] = {}
        """Offset and length in bytes."""

    def keep(self, number: int, pixels: Pixels) -> None:
        """Add a frame.

        Raises:
            SinkError: there is no room for it.
        """
        packed = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with its owner
                weakref.finalize(self, self._file.close)
            offset = self._file.seek(0, os.SEEK_END)
            self._file.write(packed)
            self._file.flush()
        except OSError as error:
            raise _no_room(self._folder, error) from error
        self._places[number] = offset, len(packed)

    def __getitem__(self, number: int) -> Pixels:
        offset, length = self._places[number]
        assert self._file is not None
        try:
            self._file.seek(offset)
            packed = self._file.read(length)
        except OSError as error:
            raise _no_room(self._folder, error) from error
        return np.asarray(cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_COLOR), np.uint8)

    def __contains__(self, number: object) -> bool:
        return number in self._places

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _no_room(folder: Path | None, error: OSError) -> SinkError:
    why = error.strerror or str(error)
    return SinkError(
        f"{folder or tempfile.gettempdir()}: wanted room for key frames while pictures are made of them ({why}); make "
        "room, or name another folder"
    )


def key_frames(
    path: Path, wanted: Mapping[int, float], *, stream_s: float, folder: Path | None = None
) -> KeptFrames:
    """Frames of a recording as `MediaSource` numbers them.

    Jumps to the key frame before each and decodes from there. Where the recording's own stamps cannot be
    trusted to lead to the same frame (they jump, repeat or are missing, or the container cannot be searched),
    all of it is decoded once more instead.

    Args:
        path: The recording.
        wanted: Stream time in seconds by frame number.
        stream_s: Stream time of the last frame: stamps that do not end there have jumped on the way.
        folder: Where they are kept, as `KeptFrames` has it.

    Returns:
        Frames by number. A frame that does not come a second time is left out.

    Raises:
        SourceError: the recording cannot be read any more.
        SinkError: there is no room for the frames.
    """
    found = KeptFrames(folder)
    if not wanted:
        return found
    try:
        has_all = _by_jumping(path, wanted, stream_s, found)
    except av.FFmpegError:
        has_all = False
    if has_all:
        return found
    found = KeptFrames(folder)
    _in_order(path, wanted, found)
    return found


def _by_jumping(path: Path, wanted: Mapping[int, float], stream_s: float, found: KeptFrames) -> bool:
    """Whether the stamps led to every frame."""
    with av.open(f"file:{path}", metadata_errors="replace") as container:
        if len(container.streams.video) != 1:
            return False
        origin_s = next(_stamped(container), (None, None))[1]
        if origin_s is None or not _ends_at(container, origin_s, stream_s):
            return False
        for number, time_s in sorted(wanted.items()):
            pixels = _frame_at(container, origin_s + time_s)
            if pixels is None:
                return False
            found.keep(number, pixels)
        return True


def _in_order(path: Path, wanted: Mapping[int, float], found: KeptFrames) -> None:
    source = MediaSource(path)
    try:
        for frame in source.frames():
            if frame.seq in wanted:
                found.keep(frame.seq, rgb_pixels(frame.picture))
            if frame.seq >= max(wanted):
                break
    finally:
        source.close()


def _ends_at(container: InputContainer, origin_s: float, stream_s: float) -> bool:
    _jump(container, origin_s + stream_s)
    last_s = None
    for _, stamp_s in _stamped(container):
        last_s = stamp_s
    return last_s is not None and abs(last_s - origin_s - stream_s) <= _TOLERANCE_S


def _frame_at(container: InputContainer, stamp_s: float) -> Pixels | None:
    _jump(container, stamp_s)
    stream = container.streams.video[0]
    straightener = Straightener(stream.codec_context.field_order)
    for picture, its_s in straightener.straightened(_stamped(container)):
        if its_s is None or its_s > stamp_s + _TOLERANCE_S:
            return None
        if its_s >= stamp_s - _TOLERANCE_S:
            return rgb_pixels(picture)
    return None


def _jump(container: InputContainer, stamp_s: float) -> None:
    """To the last key frame at or before a stamp."""
    stream = container.streams.video[0]
    assert stream.time_base is not None
    container.seek(int((stamp_s + _TOLERANCE_S) / stream.time_base), stream=stream)


def _stamped(container: InputContainer) -> Iterator[Stamped]:
    """Pictures from here on, as `MediaSource` lets them pass."""
    stream = container.streams.video[0]
    if not stream.codec_context.is_open:
        stream.codec_context.flags |= Flags.output_corrupt
        # Others fill the other cores, and every thread holds pictures of its own.
        stream.codec_context.thread_count = 1
    for picture in container.decode(stream):
        if not picture.is_corrupt:
            yield picture, picture.time
