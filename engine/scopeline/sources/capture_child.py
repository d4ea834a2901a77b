"""Capture child: a process that opens one live feed, decodes it and writes its pictures to standard output.

A process and not a thread, because a read in a dead network stream or a hung driver cannot be cancelled from
within, but a process can be killed; because a decoder that crashes on a damaged stream must not take the engine with
it; and because decoding beside busy Python threads costs up to three quarters of its speed. It ends by itself when the
feed ends, breaks, or stays silent, and when nobody reads any more.

    python -m scopeline.sources.capture_child '{"place": "rtsp://...", "options": {...}}'
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO, NoReturn

import av
import av.logging
import msgspec
from av.codec.context import Flags
from av.container import InputContainer
from av.video.stream import VideoStream

from scopeline.picture import Picture, Stamped, Straightener
from scopeline.sources.picture_pipe import Failed, Head, Opened, head_of, send

_THREADS = 2
"""Slice threads: no delay, and key frames of sliced streams (x264 zerolatency) in 9 instead of 17 ms at 1080p."""
_MOST_REFUSED = 64
"""Packets in a row that the decoder refuses, before the connection is given up: two seconds of them."""
_PALETTED = "pal8"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told to open."""

    place: str = ""
    """What FFmpeg calls the url; empty when `command` brings the stream."""
    format: str | None = None
    options: dict[str, str] = {}
    command: tuple[str, ...] = ()
    """A program that writes a NUT stream of raw pictures to its standard output, instead of `place`."""
    open_s: float = 10.0
    """Most seconds until the first picture."""
    silent_s: float = 3.0
    """Most seconds between two pictures."""


class Watchdog:
    """Ends the process when nothing came for too long, whatever call it hangs in."""

    def __init__(self, out: BinaryIO, limit_s: float) -> None:
        self._out, self._limit_s, self._lock = out, limit_s, threading.Lock()
        self._fed = threading.Event()
        threading.Thread(target=self._watch, name="watchdog").start()

    def feed(self, limit_s: float) -> None:
        """A picture came; the next one is due within so many seconds."""
        self._limit_s = limit_s
        self._fed.set()

    def send(self, head: Head, picture: Picture | None = None) -> None:
        """Write one record, with no last word of the watchdog's in between."""
        with self._lock:
            send(self._out, head, picture)

    def _watch(self) -> None:
        while self._fed.wait(self._limit_s):
            self._fed.clear()
        self.end(f"silent for {self._limit_s:.0f} s")

    def end(self, why: str) -> NoReturn:
        """Say why and end the process at once: no farewells, an RTSP server that is gone would be waited for."""
        with contextlib.suppress(OSError):
            self.send(Failed(why=why))
        os._exit(1)


def main() -> NoReturn:
    """Work off the order in the first argument."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the engine's to answer
    av.logging.set_level(av.logging.PANIC)
    with os.fdopen(os.dup(1), "wb", buffering=0) as out, tempfile.TemporaryFile() as log:
        os.dup2(2, 1)  # whatever a library prints must not come between the pictures
        place = (
            _start(order.command, log) if order.command else order.place
        )  # before there is a second thread
        watchdog = Watchdog(out, order.open_s)
        why = _serve(place, order, watchdog)
        said = _last_line(log)
        watchdog.end(f"{why} ({said})" if said else why)


def _serve(place: str, order: Order, watchdog: Watchdog) -> str:
    """Pass pictures on for as long as it goes; why it does no more."""
    form = "nut" if order.command else order.format
    try:
        _pass_on(av.open(place, format=form, options=dict(order.options)), order, watchdog)
    except av.FFmpegError as error:
        return error.strerror or str(error)
    except BrokenPipeError:
        return "nobody reads any more"
    except ValueError:
        return "there is no video in it"
    return "the sender ended the stream"


def _pass_on(container: InputContainer, order: Order, watchdog: Watchdog) -> None:
    stream = max(container.streams.video, key=lambda each: each.width * each.height)
    context = stream.codec_context
    context.thread_type, context.thread_count = "SLICE", _THREADS
    # Not `low_delay`: it gains nothing with H.264 (71.4 and 71.6 ms) and puts MPEG-2's B-frames out of order.
    context.flags |= Flags.output_corrupt
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate else None
    watchdog.send(Opened(codec=context.name, width=context.width, height=context.height, fps=fps))
    damaged: Counter[str] = Counter()
    straightener = Straightener(context.field_order)
    for picture, stamp_s in straightener.straightened(_decoded(container, stream, damaged)):
        captured_ns = time.monotonic_ns()
        watchdog.feed(order.silent_s)
        if picture.format.name == _PALETTED:
            picture = picture.reformat(format="bgr24")
        watchdog.send(head_of(picture, captured_ns, stamp_s, dict(damaged)), picture)


def _decoded(container: InputContainer, stream: VideoStream, damaged: Counter[str]) -> Iterator[Stamped]:
    """Pictures that came out whole. What comes before the first key frame is no damage: we joined in between."""
    refused, has_begun = 0, False
    for packet in container.demux(stream):
        if packet.is_corrupt and has_begun:
            damaged["damaged packet"] += 1
        try:
            pictures: list[Picture] = packet.decode()
        except av.FFmpegError:
            damaged["damaged packet"] += has_begun
            refused += has_begun
            if refused > _MOST_REFUSED:
                raise
            continue
        for picture in pictures:
            refused = 0
            if picture.is_corrupt:
                damaged["corrupt picture"] += has_begun
            else:
                has_begun = True
                yield picture, picture.time


def _start(command: tuple[str, ...], log: IO[bytes]) -> str:
    """Start the program, and say where its output can be opened. It dies with this process."""
    reader, writer = os.pipe()
    subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=writer, stderr=log, preexec_fn=_die_with_parent()
    )
    os.close(writer)
    return f"pipe:{reader}"


def _die_with_parent() -> Callable[[], object] | None:
    """Linux can be told to end a child with its parent; elsewhere it ends at its next write into the broken pipe."""
    if sys.platform != "linux":
        return None
    import ctypes

    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _last_line(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:200] if lines else ""


if __name__ == "__main__":
    main()
