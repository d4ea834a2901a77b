"""Key frames: a few frames of a recording, fetched by a second pass that jumps from one to the next.

The first pass keeps no pictures: an hour of decoded high-definition video is 560 GB, and which frame stands
for a segment is known when the segment ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from numpy.typing import NDArray

from scopeline.picture import Pixels, Stamped, Straightener, rgb_pixels
from scopeline.sources.media import MediaSource

_TOLERANCE_S: Final = 0.0006
"""Times come rounded to milliseconds."""


class KeptFrames(Mapping[int, Pixels]):
    """Frames by number, (H, W, 3) uint8 RGB, compressed without loss until somebody looks at one.

    As pixels, 289 frames of a two-hour 1080p recording and the pictures cut from them took 3.7 GB.
    """

    def __init__(self) -> None:
        self._files: dict[int, NDArray[np.uint8]] = {}

    def keep(self, number: int, pixels: Pixels) -> None:
        """Add a frame."""
        _, file = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        self._files[number] = np.asarray(file, np.uint8)

    def __getitem__(self, number: int) -> Pixels:
        return np.asarray(cv2.imdecode(self._files[number], cv2.IMREAD_COLOR), np.uint8)

    def __contains__(self, number: object) -> bool:
        return number in self._files

    def __iter__(self) -> Iterator[int]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def key_frames(path: Path, wanted: Mapping[int, float], *, stream_s: float) -> KeptFrames:
    """Frames of a recording as `MediaSource` numbers them.

    Jumps to the key frame before each and decodes from there. Where the recording's own stamps cannot be
    trusted to lead to the same frame (they jump, repeat or are missing, or the container cannot be searched),
    all of it is decoded once more instead.

    Args:
        path: The recording.
        wanted: Stream time in seconds by frame number.
        stream_s: Stream time of the last frame: stamps that do not end there have jumped on the way.

    Returns:
        Frames by number. A frame that does not come a second time is left out.

    Raises:
        SourceError: the recording cannot be read any more.
    """
    if not wanted:
        return KeptFrames()
    try:
        found = _by_jumping(path, wanted, stream_s)
    except av.FFmpegError:
        found = None
    return found if found is not None else _in_order(path, wanted)


def _by_jumping(path: Path, wanted: Mapping[int, float], stream_s: float) -> KeptFrames | None:
    """The frames, or None when the stamps do not lead to them."""
    with av.open(f"file:{path}", metadata_errors="replace") as container:
        if len(container.streams.video) != 1:
            return None
        origin_s = next(_stamped(container), (None, None))[1]
        if origin_s is None or not _ends_at(container, origin_s, stream_s):
            return None
        found = KeptFrames()
        for number, time_s in sorted(wanted.items()):
            pixels = _frame_at(container, origin_s + time_s)
            if pixels is None:
                return None
            found.keep(number, pixels)
        return found


def _in_order(path: Path, wanted: Mapping[int, float]) -> KeptFrames:
    source, found = MediaSource(path), KeptFrames()
    try:
        for frame in source.frames():
            if frame.seq in wanted:
                found.keep(frame.seq, rgb_pixels(frame.picture))
            if frame.seq >= max(wanted):
                break
    finally:
        source.close()
    return found


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
        stream.thread_type = "AUTO"
    for picture in container.decode(stream):
        if not picture.is_corrupt:
            yield picture, picture.time
