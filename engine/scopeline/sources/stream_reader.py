"""Stream reader: one container opened, demuxed and decoded; every failure of it turned into an error or a count.

Damage is weather. Packets that cannot be decoded and pictures that the decoder says it had to conceal are
counted and left out; the rest goes on. Decoders run with their default error detection: after eight flipped
bytes `explode` made H.264 lose 12 of 60 pictures with slice threads and one with frame threads, so results
would depend on the number of cores. No decoder marks what was predicted from a damaged picture, up to the
next key frame: of 24 visibly wrong pictures in that clip it marked one.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from scopeline.errors import SourceError
from scopeline.picture import Picture, Stamped
from scopeline.sources.declared_end import is_cut_off
from scopeline.sources.nvdec import Nvdec

_FALLBACK_FPS = Fraction(25)
_OPEN_S = 10.0
"""Seconds that an address may take to answer."""
_CLOSE_WAIT_S = 0.5
_EARLY_END_S = 0.5
"""A stream that ends this much before its stated end has lost its tail. Stated ends are some frames off."""
_MAX_UNREADABLE_RUN = 16
"""Packets in a row that the demuxer refuses before the file counts as unreadable from there on."""


class StreamReader:
    """The largest video stream of one container, demuxed and decoded.

    Closing a container in which another thread reads would crash the process: each step takes the lock.

    Args:
        place: A file or an address.
        thread_type: FFmpeg's: `SLICE` adds no delay, `AUTO` is faster.
        threads: 0 for all cores.
        stall_s: Seconds of silence after which an address is given up.
        damaged: Where damage is counted.
        start_pts: Begin with the key frame of this stamp, in units of the stream's time base.
        nvdec: Decode on a GPU's own decoder where it takes the stream; the pictures are brought to the CPU.

    Raises:
        SourceError: it cannot be opened or holds no video that can be decoded.
    """

    def __init__(
        self,
        place: str,
        thread_type: str,
        threads: int,
        stall_s: float,
        damaged: Counter[str],
        *,
        start_pts: int | None = None,
        nvdec: Nvdec | None = None,
    ) -> None:
        self._place, self._threads, self._stall_s, self._damaged = place, threads, stall_s, damaged
        self._inside = 0
        """Packets whose picture the decoder has not given yet."""
        self._path = None if "://" in place else Path(place)
        self._name = short_name(place)
        self._lock = threading.Lock()
        self.is_closed = False
        self._nvdec = nvdec
        self._container = _open_accelerated(place, stall_s, nvdec) or _open_container(place, stall_s)
        try:
            self._stream = _choose_stream(self._container, self._name)
            self._open_decoder(thread_type, threads)
            if start_pts is not None:
                self._container.seek(start_pts, stream=self._stream)
        except BaseException:
            self._container.close()
            raise
        context = self._stream.codec_context
        # PyAV 17, the newest for the Python that TensorRT 8.6 has bindings for, does not tell the order.
        self.codec, self.field_order = context.codec.canonical_name, getattr(context, "field_order", 0)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else None
        self.nominal_s = float(1 / (rate or _FALLBACK_FPS))
        self.duration_s = _duration_s(self._container, self._stream)
        self._end_s = _end_s(self._stream)
        self.frame_count = self._stream.frames or None
        self.has_audio = bool(self._container.streams.audio)

    def pictures(self) -> Iterator[Stamped]:
        """Pictures that came out whole, in the order of display."""
        last_s: float | None = None
        for number, picture in enumerate(self._all_pictures()):
            if number == 0 and self._nvdec is not None:
                self._nvdec.look(self._name, self._stream.codec_context, picture)
            if picture.is_corrupt:
                self._damaged["corrupt picture"] += 1
            else:
                last_s = picture.time
                yield picture, last_s
        if not self.is_closed and self._ends_early(last_s):
            self._damaged["truncated"] = 1

    @property
    def time_base(self) -> Fraction:
        """Seconds that one unit of a stamp stands for."""
        return self._stream.time_base or Fraction(1)

    def marks(self) -> Iterator[tuple[int | None, bool]]:
        """Stamp of every packet and whether it is a key frame, in order of decoding; nothing is decoded.

        Raises:
            SourceError: a packet is marked as damaged, or cannot be read.
        """
        for packet in self._packets():
            if self._damaged or packet.is_corrupt:
                raise SourceError(f"{self._name}: wanted packets without damage; the recording has others")
            if packet.size and not packet.is_discard:
                yield packet.pts, packet.is_keyframe

    def close(self) -> None:
        """Close the container as soon as the packet that is being decoded is done.

        If that takes long (a silent server), or this is a signal handler that interrupted it, `pictures` does.
        """
        self.is_closed = True
        if self._lock.acquire(timeout=_CLOSE_WAIT_S):
            self._container.close()
            self._lock.release()

    def _all_pictures(self) -> Iterator[Picture]:
        """Every picture, damaged or not. If frame threads hold some back at the end, those are decoded again.

        PyAV ends draining at the first error, and all that the threads still hold is gone: of 20 pictures with
        one bad packet among the last, eight threads gave 15, without an error.
        """
        last_pts: int | None = None
        for picture in self._decoded():
            pts = picture.pts
            if pts is not None and (last_pts is None or pts > last_pts):
                last_pts = pts
            yield picture
        if self._inside <= 0 or self._threads == 1 or self.is_closed:
            return
        again = StreamReader(self._place, "SLICE", 1, self._stall_s, Counter())
        with contextlib.closing(again):
            with contextlib.suppress(av.FFmpegError):  # what cannot seek is decoded from its start
                again._container.seek(last_pts or 0, stream=again._stream)
            for picture in again._decoded():
                if self.is_closed:
                    return
                if picture.pts is not None and (last_pts is None or picture.pts > last_pts):
                    self._inside -= 1
                    yield picture
            if lost := min(self._inside, again._damaged["damaged packet"]):
                self._damaged["damaged packet"] += lost

    def _decoded(self) -> Iterator[Picture]:
        lock, packets = self._lock, self._packets()
        while True:
            with lock:
                if self.is_closed:
                    self._container.close()
                    return
                packet = next(packets, None)
                if packet is None:
                    return
                is_last = not packet.size
                try:
                    pictures = packet.decode()
                except av.FFmpegError as error:
                    stopped = self._nvdec and self._nvdec.stopped(
                        self._name, self._stream.codec_context, error
                    )
                    if stopped:
                        raise stopped from error
                    if not is_last or self._threads == 1:
                        self._damaged["damaged packet"] += 1
                    continue
            self._inside += (not is_last) - len(pictures)
            yield from pictures

    def _ends_early(self, last_s: float | None) -> bool:
        """Whether the file is shorter than its headers say, or the last picture well before the stated end."""
        if self._path is not None and is_cut_off(self._path):
            return True
        if last_s is None or self._end_s is None:
            return False
        return self._end_s - last_s > max(_EARLY_END_S, 3 * self.nominal_s)

    def _open_decoder(self, thread_type: str, threads: int) -> None:
        context = self._stream.codec_context
        context.thread_type, context.thread_count = thread_type, threads
        # Without it H.264 keeps back in silence what precedes the first key frame; with it we can count it.
        context.flags |= Flags.output_corrupt
        try:
            context.open(strict=False)
        except av.FFmpegError as error:
            raise SourceError(
                f"{self._name}: the {context.name} decoder refuses the stream ({_why(error)})"
            ) from error

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """Packets up to the end, but for a last one that was cut: frame threads would answer it with an error
        while they are drained, and the pictures behind that error could not be had any more."""
        held: Packet[VideoStream] | None = None
        for packet in self._readable_packets():
            if held is not None and packet.size:
                yield held
            elif held is not None:
                self._damaged["damaged packet"] += 1
            held = packet if packet.is_corrupt else None
            if held is None:
                yield packet

    def _readable_packets(self) -> Iterator[Packet[VideoStream]]:
        refused = 0
        while refused < _MAX_UNREADABLE_RUN:
            try:
                for packet in self._container.demux(self._stream):
                    refused = 0
                    yield packet
                return
            except (
                IndexError
            ):  # PyAV, at the end, over a stream that turned up half-way; ours has been flushed
                return
            except av.InvalidDataError:
                self._damaged["unreadable packet"] += 1
                refused += 1
            except av.FFmpegError as error:
                raise SourceError(
                    f"{self._name}: reading stopped half-way ({_why(error)}); try again"
                ) from error
        flush: Packet[Any] = Packet()
        flush.stream = self._stream
        if self._stream.time_base is not None:
            flush.time_base = self._stream.time_base
        yield flush


def _open_container(place: str, stall_s: float, hwaccel: HWAccel | None = None) -> InputContainer:
    name, is_url = short_name(place), "://" in place
    path = Path(place)
    if not is_url and path.exists() and not path.is_file():
        what = "folder" if path.is_dir() else "device or pipe"
        raise SourceError(
            f"{name}: wanted a video file, got a {what}; for stills give a pattern such as {place}/*.png"
        )
    if not is_url and path.is_file() and path.stat().st_size == 0:
        raise SourceError(f"{name}: wanted a video file, got an empty one; copy or record it again")
    try:
        # Tags may be in any encoding: a Latin-1 patient name must not keep a recording from being opened.
        if is_url:
            return av.open(place, timeout=(_OPEN_S, stall_s), metadata_errors="replace", hwaccel=hwaccel)
        # With the protocol named, what stands before a colon in a file name is not taken for one.
        return av.open(f"file:{place}", metadata_errors="replace", hwaccel=hwaccel)
    except FileNotFoundError as error:
        raise SourceError(f"{place}: wanted a video file, there is none; check the path") from error
    except PermissionError as error:
        raise SourceError(
            f"{name}: wanted a video file, may not read this one; check its permissions"
        ) from error
    except av.InvalidDataError as error:
        raise SourceError(
            f"{name}: wanted a video file, got data that is none or lacks its index; was it cut off?"
        ) from error
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{name}: wanted a video, could not open it ({_why(error)})") from error


def _open_accelerated(place: str, stall_s: float, nvdec: Nvdec | None) -> InputContainer | None:
    """The container with its decoders on the GPU; None where there is none, which is told. What is wrong with the file
    itself is for the plain way to say."""
    if nvdec is None:
        return None
    try:
        return _open_container(place, stall_s, nvdec.accelerator())
    except (SourceError, RuntimeError, NotImplementedError) as error:
        why = _why(error.__cause__ or error)
        nvdec.give_up(f"{short_name(place)}: no decoder on the GPU ({why}), see scopeline doctor")
        return None


def _choose_stream(container: InputContainer, name: str) -> VideoStream:
    """The largest video stream; nothing else is read. Covers are none, nor is text, which FFmpeg draws."""
    streams = [
        stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic
    ]
    if not streams or container.format.name == "tty":
        held = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        held = "text" if container.format.name == "tty" else held
        raise SourceError(
            f"{name}: wanted a video stream, the file holds {held}; give a recording with pictures"
        )
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise SourceError(
            f"{name}: wanted a codec that FFmpeg decodes, got one it does not know; convert the file"
        )
    # FFmpeg's own choice goes by bit rate, which Matroska does not state: it took a thumbnail for the video.
    chosen = max(decodable, key=lambda stream: stream.width * stream.height)
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = Discard.all
    return chosen


def _duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    else:
        duration_s = (container.duration or 0) / 1e6
    return duration_s if duration_s > 0 else None


def _end_s(stream: VideoStream) -> float | None:
    """When the last picture ends on the stream's own clock, if the stream and not only the file says so."""
    if stream.time_base is None:
        return None
    start = stream.start_time or 0
    if stream.duration is not None:
        return float((start + stream.duration) * stream.time_base)
    if match := re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", "")):  # Matroska
        hours, minutes, seconds = match.groups()
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    return None


def short_name(place: str) -> str:
    """The file's name; an address without what might be secret in it."""
    if "://" not in place:
        return Path(place).name or place
    parts = urlsplit(place)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _why(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
