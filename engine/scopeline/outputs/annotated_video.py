"""Annotated video: the recording with tags and masks drawn, as H.264 in MP4 with the original sound and time stamps.

Nothing outside of the field of view is in it, and no frame that `showable` keeps back: those are black, with the
reason. The sound is copied as it is. It may hold voices and names: docs/results.md says so.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from scopeline.contact_sheet import GRADE_COLOURS, clock, what_may_be_seen
from scopeline.errors import SourceError
from scopeline.field_of_view import FieldOfView
from scopeline.mark_outlines import MARK, draw_marks
from scopeline.outputs.findings import Findings
from scopeline.picture import Pixels, rgb_pixels
from scopeline.replace_file import cannot_write
from scopeline.sources.media import MediaSource
from scopeline.wire import NOTICE, FrameMessage

ANNOTATED: Final = "annotated.mp4"
_CLOCK: Final = Fraction(1, 90_000)
"""MPEG's clock: holds the stamps of every usual frame rate exactly."""
_KEPT_SOUND: Final = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
"""What MP4 can carry; other sound (PCM of a card) becomes AAC."""
_SOUND_BIT_S: Final = 192_000
_QUALITY: Final = "20"
"""x264's rate factor: no difference to the eye at half the bytes of 15."""
_INK, _SOFT, _BAR = (235, 239, 243), (150, 160, 172), (17, 21, 26)


def write_annotated_video(findings: Findings) -> Path:
    """annotated.mp4: a bar under the picture says place, grade, quality, time and what keeps a frame from being judged.

    Raises:
        SourceError: the recording or the run's frames cannot be read, or do not belong together.
        SinkError: the folder cannot be written.
    """
    path = findings.folder / ANNOTATED
    unfinished = path.with_name("annotated.unfinished.mp4")
    may_show = findings.facts().may_show
    try:
        with (
            av.open(f"file:{findings.video}", metadata_errors="replace") as original,
            av.open(str(unfinished), "w", options={"movflags": "+faststart"}) as copy,
        ):
            _copy(findings, may_show, original, copy)
        os.replace(unfinished, path)
    except OSError as error:  # FFmpeg's errors of files are OSErrors too
        raise cannot_write(findings.folder, error) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _copy(
    findings: Findings, may_show: Sequence[bool], original: InputContainer, copy: OutputContainer
) -> None:
    source = MediaSource(findings.video)
    video: VideoStream | None = None
    sound = _Sound(original, copy)
    painters: dict[int | None, _Painter] = {}
    marked = {segment.number for segment in findings.tally.segments if segment.marked}
    origin_s = last_s = step_s = 0.0
    try:
        for frame, message, shown in zip(source.frames(), findings.frames(), may_show, strict=True):
            if frame.seq != message.frame:
                raise SourceError(
                    f"{findings.video}: wanted frame {message.frame} as it was judged, got {frame.seq}; "
                    "has the file changed? Work on it again"
                )
            height, width = frame.picture.height, frame.picture.width
            if video is None:
                origin_s = frame.picture.time or 0.0
                video = _video_stream(copy, width, height)
                sound.begin()
            if message.field not in painters:
                painters[message.field] = _Painter(findings.tally.field(message.field), marked)
            drawn = painters[message.field].draw(rgb_pixels(frame.picture), message, shown)
            picture = VideoFrame.from_ndarray(_sized(drawn, video.width, video.height), format="rgb24")
            picture.pts, picture.time_base = round((origin_s + frame.time_s) / _CLOCK), _CLOCK
            copy.mux(video.encode(picture))
            sound.until(origin_s + frame.time_s)
            last_s, step_s = frame.time_s, frame.time_s - last_s
        if video is not None:
            packets = video.encode()
            if (
                packets and step_s
            ):  # the last picture stays as long as the one before, or the end comes too early
                packets[-1].duration = round(step_s / _CLOCK)
            copy.mux(packets)
            sound.until(None)
    finally:
        source.close()


def _video_stream(copy: OutputContainer, width: int, height: int) -> VideoStream:
    stream = copy.add_stream("libx264", options={"crf": _QUALITY, "preset": "veryfast", "bf": "0"})
    stream.width, stream.height = width // 2 * 2, (height + _bar_height(height)) // 2 * 2
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = stream.time_base = _CLOCK
    return stream


class _Sound:
    """The recording's sound, put beside the pictures as they come, so that neither waits for long."""

    def __init__(self, original: InputContainer, copy: OutputContainer) -> None:
        self._original, self._copy = original, copy
        self._source = original.streams.audio[0] if original.streams.audio else None
        self._target: AudioStream | None = None
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        self._ahead: Packet[AudioStream] | None = None
        self._is_kept = self._source is not None and self._source.codec_context.name in _KEPT_SOUND

    def begin(self) -> None:
        """Streams must all stand before the first picture is written."""
        if self._source is None:
            return
        if self._is_kept:
            self._target = self._copy.add_stream_from_template(self._source)
        else:
            self._target = self._copy.add_stream("aac", rate=self._source.rate, bit_rate=_SOUND_BIT_S)
        self._packets = self._original.demux(self._source)
        self._ahead = next(self._packets, None)

    def until(self, time_s: float | None) -> None:
        """Everything up to a stamp in seconds; None: all that is left."""
        while self._ahead is not None:
            packet = self._ahead
            stamp_s = None if packet.dts is None else float(packet.dts * packet.time_base)
            if time_s is not None and stamp_s is not None and stamp_s > time_s:
                return
            self._put(packet)
            self._ahead = next(self._packets, None)
        if time_s is None and self._target is not None and not self._is_kept:
            self._copy.mux(self._target.encode())

    def _put(self, packet: Packet[AudioStream]) -> None:
        assert self._target is not None
        if self._is_kept:
            if packet.dts is not None:  # the packet that ends the stream is empty
                packet.stream = self._target
                self._copy.mux(packet)
            return
        for frame in packet.decode():
            self._copy.mux(self._target.encode(frame))


class _Painter:
    """Draws what is known of frames of one field of view.

    Args:
        marked: Numbers of the segments that the operator named.
    """

    def __init__(self, field: FieldOfView | None, marked: Collection[int]) -> None:
        self._field, self._marked = field, marked
        self._seen = what_may_be_seen(field) if field is not None else None

    def draw(self, pixels: Pixels, message: FrameMessage, shown: bool) -> Pixels:
        """The frame with its bar below, (H + bar, W, 3) uint8 RGB."""
        height, width = pixels.shape[:2]
        canvas = np.zeros((height + _bar_height(height), width, 3), np.uint8)
        if shown and self._seen is not None and self._seen.shape == (height, width):
            cv2.copyTo(pixels, self._seen, canvas[:height])
            draw_marks(canvas[:height], message.masks.values())
        else:
            why = (
                "no field of view"
                if self._field is None
                else "outside of the body, or not known to be inside"
            )
            _centred(canvas[:height], why)
        self._bar(canvas[height:], message)
        return canvas

    def _bar(self, bar: Pixels, message: FrameMessage) -> None:
        bar[:] = _BAR
        height, width = bar.shape[:2]
        scale, base = height / 44, round(height * 0.64)
        x = round(height * 0.4)
        for text, colour in captions(message, self._marked):
            x = _write(bar, text, (x, base), scale, colour) + round(height * 0.5)
        right = f"{clock(message.time_s)}   {NOTICE}"
        length = _length(right, scale * 0.72)
        if x + length + height * 0.4 < width:
            _write(bar, right, (width - length - round(height * 0.4), base), scale * 0.72, _SOFT)


def captions(message: FrameMessage, marked: Collection[int]) -> list[tuple[str, tuple[int, int, int]]]:
    """What the bar says of a frame, with its colours: first what the operator said, if it lies in one of the `marked`
    segments, then what the networks did."""
    parts: list[tuple[str, tuple[int, int, int]]] = []
    if message.segment is not None and message.segment.number in marked and message.segment.location:
        parts.append((f"{message.segment.location.replace('_', ' ')} (marked)", _INK))
    for name, head in message.smoothed.items():
        if head.tag is None:
            continue
        colour, text = _INK, f"{head.tag} {100 * head.posterior[head.tag]:.0f} %"
        if head.tag.isdecimal():
            text = f"{name.upper()} {text}"
            red, green, blue = GRADE_COLOURS[min(int(head.tag), len(GRADE_COLOURS) - 1)]
            colour = (
                min(red + 50, 255),
                min(green + 50, 255),
                min(blue + 50, 255),
            )  # brighter, on the dark bar
        parts.append((text, colour))
    parts += [
        (f"{mask.label} on {100 * mask.share:.1f} % of the field", MARK)
        for mask in message.masks.values()
        if mask.regions
    ]
    if message.reason is not None:
        parts.append((message.reason.replace("_", " "), _SOFT))
    return parts or [("no tag", _SOFT)]


def _bar_height(height: int) -> int:
    """Of the bar under a picture: text of 22 pixels at 720 lines, never less than 14."""
    return max(height // 15, 28) // 2 * 2


def _write(canvas: Pixels, text: str, at: tuple[int, int], scale: float, colour: tuple[int, int, int]) -> int:
    """Text with its baseline's left end at `at`; where it ends."""
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, _weight(scale), cv2.LINE_AA)
    return at[0] + _length(text, scale)


def _length(text: str, scale: float) -> int:
    """Of a line of text, in pixels."""
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, _weight(scale))[0][0])


def _weight(scale: float) -> int:
    return max(1, round(scale * 1.6))


def _centred(canvas: Pixels, text: str) -> None:
    scale = canvas.shape[0] / 720
    x = max((canvas.shape[1] - _length(text, scale)) // 2, 4)
    _write(canvas, text, (x, canvas.shape[0] // 2), scale, _SOFT)


def _sized(pixels: Pixels, width: int, height: int) -> Pixels:
    """H.264 has even sides; a signal that changed its size on the way is fitted to the first."""
    if pixels.shape[1] // 2 * 2 == width and pixels.shape[0] // 2 * 2 == height:
        return np.ascontiguousarray(pixels[:height, :width])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
