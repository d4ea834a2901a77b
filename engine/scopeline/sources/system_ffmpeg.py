"""System ffmpeg: the program as a child that opens what the FFmpeg inside PyAV lacks and pipes raw pictures.

The pipe carries NUT, FFmpeg's own container: it says size, pixel format and stamps. A 1080p picture takes 5 ms through
it, 4 ms without any container.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Final

from scopeline.errors import SourceError
from scopeline.probe import AskProgram, ask_program
from scopeline.sources.address import ProgramFeed

PIPE_FORMATS: Final = (
    "yuv420p",
    "yuvj420p",
    "yuv422p",
    "yuyv422",
    "uyvy422",
    "nv12",
    "yuv444p",
    "bgr24",
    "rgb24",
)
"""Pixel formats that go through the pipe as they are; others are converted to the nearest of these."""

NUT_OPTIONS: Final = {
    # A header of some hundred bytes says everything; without these limits FFmpeg reads five seconds of pictures
    # to guess a rate.
    "probesize": "32",
    "analyzeduration": "0",
    "fpsprobesize": "0",
}
"""For `av.open(..., format="nut")` at the other end of the pipe."""


def ffmpeg_command(feed: ProgramFeed, program: str = "ffmpeg") -> list[str]:
    """The command line of a child that writes the feed's pictures to its standard output, as NUT."""
    return [
        program,
        "-nostdin",  # else it reads the terminal, and a `q` there ends it
        "-hide_banner",
        "-loglevel",
        "warning",
        *_LOW_LATENCY,
        *feed.input_arguments,
        "-map",
        "0:v:0",
        "-vf",
        f"format={'|'.join(PIPE_FORMATS)}",
        "-fps_mode",
        "passthrough",  # neither repeat nor drop pictures to fit a rate: both are ours to see
        "-c:v",
        "rawvideo",
        "-threads",
        "1",  # of the encoder, and raw video has one: with frame threads each picture left 66 ms later at 30 Hz
        "-f",
        "nut",
        "-flush_packets",
        "1",
        "pipe:1",
    ]


_LOW_LATENCY: Final = (
    "-flags",
    "low_delay",
    "-probesize",
    "500000",
    "-analyzeduration",
    "500000",
    "-threads",
    "1",  # of the decoder: a frame thread more is a picture later
)


def find_ffmpeg(
    feed: ProgramFeed, *, which: Callable[[str], str | None] = shutil.which, run: AskProgram | None = None
) -> str:
    """The path of an ffmpeg that can open the feed.

    Raises:
        SourceError: there is none, or it was built without what the feed needs.
    """
    program = which("ffmpeg")
    if program is None:
        raise SourceError(
            f"{feed.name}: wanted the ffmpeg program, which opens such feeds; found none. Debian and Ubuntu: "
            "apt-get install ffmpeg; macOS: brew install ffmpeg; Windows: winget install ffmpeg"
        )
    ask = run or ask_program
    if feed.protocol is not None and feed.protocol not in protocols(program, ask):
        raise SourceError(
            f"{feed.name}: wanted an ffmpeg with {feed.protocol}; {program} was built without. Debian's and "
            f"Ubuntu's ffmpeg has it; or let another program receive the feed and send it on as udp://"
        )
    if feed.device is not None and feed.device not in devices(program, ask):
        raise SourceError(
            f"{feed.name}: wanted an ffmpeg with {feed.device}; {program} was built without. {_REMEDY[feed.device]}"
        )
    return program


_REMEDY: Final = {
    "decklink": (
        "Build ffmpeg with --enable-decklink and Blackmagic's SDK, or pipe the card's pictures in: "
        "bmdcapture, GStreamer's decklinkvideosrc or the vendor's sample into raw:- (docs/capture.md)"
    ),
    "libndi_newtek": (
        "FFmpeg dropped NDI in 2019; take a build with it patched in, or GStreamer's ndisrc into raw:- "
        "(docs/capture.md)"
    ),
}


def protocols(program: str, run: AskProgram | None = None) -> frozenset[str]:
    """Protocols from which that ffmpeg can read."""
    text = (run or ask_program)([program, "-hide_banner", "-protocols"])
    inputs = text.partition("Output:")[0].partition("Input:")[2]
    return frozenset(inputs.split())


def devices(program: str, run: AskProgram | None = None) -> frozenset[str]:
    """Input devices which that ffmpeg knows."""
    text = (run or ask_program)([program, "-hide_banner", "-devices"])
    rows = (line.split() for line in text.splitlines())
    return frozenset(
        name for row in rows if len(row) >= 2 and row[0] in {"D", "DE"} for name in row[1].split(",")
    )
