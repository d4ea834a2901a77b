"""Recorded video: whatever FFmpeg decodes, as fast as it goes or at its own pace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scopeline.errors import SourceError
from scopeline.frame import Frame
from scopeline.picture import INTERLACED_ORDERS, Straightener
from scopeline.sources.nvdec import Nvdec
from scopeline.sources.pace import Pace
from scopeline.sources.stills import StillReader, is_pattern
from scopeline.sources.stream_reader import StreamReader, short_name
from scopeline.sources.timeline import Timeline


class MediaSource:
    """A recording as a source of frames: every frame once, in order, in the decoder's own pixels.

    The file is opened here, so that a wrong one is told at once. Interlaced pictures are deinterlaced (one
    frame out per frame in, but one later) and rotated ones turned upright; all others are passed on
    untouched.

    Args:
        path_or_url: A file, an address (`https://...`), or stills by `%04d` or glob pattern.
        live: Replay at the recording's own pace, as a capture card would deliver it: every frame when its
        time
            has come, reckoned from the first one, with no delay added by the decoder beyond reordering.
        threads: Decoding threads, 0 for all cores. By default 0 for recordings and 1 for a replay.
        still_fps: Frame rate of stills, in Hz.
        stall_s: Seconds of silence after which an address is given up. Until then FFmpeg's wait cannot be
        ended,
            so a `frames` that waits for a silent server returns that much after `close`, and not within 1 s.
        pace: The clock, and the wait of a replay.
        nvdec: A GPU's decoder, to be used where it can.

    Raises:
        SourceError: there is no such file, it cannot be read, or it holds no video that can be decoded.
    """

    def __init__(
        self,
        path_or_url: str | Path,
        *,
        live: bool = False,
        threads: int | None = None,
        still_fps: float = 25.0,
        stall_s: float = 5.0,
        pace: Pace | None = None,
        nvdec: Nvdec | None = None,
    ) -> None:
        place = str(path_or_url)
        self.name = short_name(place)
        self._live, self._pace = live, pace or Pace()
        self._damaged: Counter[str] = Counter()
        self._reader: StillReader | StreamReader
        if is_pattern(place):
            self._reader = StillReader(place, still_fps, self._damaged)
        else:
            count = (1 if live else 0) if threads is None else threads
            kind = "SLICE" if live else "AUTO"
            self._reader = StreamReader(place, kind, count, stall_s, self._damaged, nvdec=nvdec)
        self.duration_s: float | None = self._reader.duration_s

    @property
    def damaged(self) -> Mapping[str, int]:
        """What never became a frame, by reason: `damaged packet`, `corrupt picture`, `unreadable packet`, and
        `truncated` (1) if the recording ends before its own headers say."""
        return dict(self._damaged)

    def frames(self) -> Iterator[Frame]:
        """Every frame that can be decoded, until the end or `close`. Goes through the recording once.

        Raises:
            SourceError: not one picture could be decoded, or the connection fell silent.
        """
        timeline = Timeline(self._reader.nominal_s)
        pace, straightener = self._pace, Straightener(self._reader.field_order)
        seq, start_ns = 0, 0
        for picture, stamp_s in straightener.straightened(self._reader.pictures()):
            time_s = timeline.next(stamp_s)
            if self._live:
                start_ns = start_ns or pace.now_ns()
                if not pace.wait_until(start_ns + round(time_s * 1e9)):
                    return
            yield Frame(seq, pace.now_ns(), time_s, picture)
            seq += 1
        if seq == 0 and not self._reader.is_closed:
            reasons = (
                ", ".join(f"{count} {reason}" for reason, count in self._damaged.items()) or "it is empty"
            )
            raise SourceError(
                f"{self.name}: wanted pictures, could decode none ({reasons}); check the recording"
            )

    def close(self) -> None:
        """Make `frames` return and close the file. From any thread, any number of times."""
        self._pace.stop()
        self._reader.close()


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a recording is, for summaries. None where the file does not say."""

    width_px: int
    """Upright, as the frames will come."""
    height_px: int
    codec: str
    pixel_format: str
    fps: float | None
    duration_s: float | None
    frames: int | None
    is_interlaced: bool
    rotation_deg: int
    """Counter-clockwise, by which the stored pictures have to be turned."""
    has_audio: bool


def probe(path_or_url: str | Path, *, still_fps: float = 25.0) -> MediaInfo:
    """What a recording is, from its headers and its first picture.

    Raises:
        SourceError: it cannot be opened or holds no picture.
    """
    place = str(path_or_url)
    damaged: Counter[str] = Counter()
    reader = (
        StillReader(place, still_fps, damaged)
        if is_pattern(place)
        else StreamReader(place, "SLICE", 1, 5.0, damaged)
    )
    try:
        picture, _ = next(reader.pictures(), (None, None))
        if picture is None:
            raise SourceError(f"{short_name(place)}: wanted pictures, could decode none; check the recording")
        turned = picture.rotation % 180 == 90
        return MediaInfo(
            width_px=picture.height if turned else picture.width,
            height_px=picture.width if turned else picture.height,
            codec=reader.codec,
            pixel_format=picture.format.name,
            fps=reader.fps,
            duration_s=reader.duration_s,
            frames=reader.frame_count,
            is_interlaced=picture.interlaced_frame or reader.field_order in INTERLACED_ORDERS,
            rotation_deg=picture.rotation,
            has_audio=reader.has_audio,
        )
    finally:
        reader.close()
