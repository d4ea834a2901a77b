"""Feed address: what a person types after `scopeline live`, taken apart into what has to be opened and how.

Every option that is set here is set on purpose and says why. Timeouts are none of them: who opens a feed waits
for it with a limit and can end the wait, which holds for every kind alike. Decoder settings are none of them
either: PyAV hands options to the demuxer and its probing, never to the decoder that is opened afterwards.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from scopeline.errors import ConfigError
from scopeline.sources.stream_reader import short_name

InputFormat: TypeAlias = Literal["mjpeg", "yuyv422", "nv12", "uyvy422"]
"""What a capture device may be asked to deliver, by FFmpeg's names."""
RawFormat: TypeAlias = Literal["yuyv422", "uyvy422", "nv12", "yuv420p", "bgr24", "rgb24"]
"""Pixel formats of a raw pipe, by FFmpeg's names."""
RtspTransport: TypeAlias = Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What a person says beside the address. None: not said."""

    size_px: tuple[int, int] | None = None
    """Width and height."""
    rate_hz: float | None = None
    input_format: str | None = None
    """One of `InputFormat`."""
    pixel_format: str | None = None
    """One of `RawFormat`."""
    rtsp_transport: str | None = None
    """One of `RtspTransport`; `tcp` when not said."""


@dataclass(frozen=True, slots=True)
class LibraryFeed:
    """A device or stream that the FFmpeg inside PyAV opens."""

    name: str
    """What to call it; holds no password."""
    place: str
    """For `av.open`, with its passwords."""
    format: str | None
    """FFmpeg's demuxer; None lets it find out."""
    options: Mapping[str, str]
    """Demuxer and protocol options for `av.open`."""


@dataclass(frozen=True, slots=True)
class ProgramFeed:
    """A device or stream that only a system ffmpeg opens; see `system_ffmpeg`."""

    name: str
    input_arguments: tuple[str, ...]
    """Arguments of the ffmpeg program up to and including `-i PLACE`."""
    protocol: str | None = None
    """Protocol which that ffmpeg must have been built with."""
    device: str | None = None
    """Input device which that ffmpeg must have been built with."""


@dataclass(frozen=True, slots=True)
class RawFeed:
    """Pictures without any wrapping, one after the other, from a named pipe or the standard input."""

    name: str
    path: Path | None
    """None: the standard input."""
    width_px: int
    height_px: int
    pixel_format: RawFormat
    rate_hz: float | None
    """As the sender means it; None leaves it to the clock."""


@dataclass(frozen=True, slots=True)
class RecordingFeed:
    """A recording, replayed at its own pace."""

    name: str
    place: str


@dataclass(frozen=True, slots=True)
class SyntheticFeed:
    """The simulated procedure."""

    name: str = field(default="synthetic")


FeedAddress: TypeAlias = LibraryFeed | ProgramFeed | RawFeed | RecordingFeed | SyntheticFeed

EXAMPLES: Final = (
    "/dev/video0, dshow:NAME, avfoundation:NAME, decklink:NAME, ndi:NAME, rtsp://, udp://, rtp://, tcp://, rtmp://, "
    "http://, srt://, rist://, raw:PATH, raw:-, ffmpeg:'ARGUMENTS', a recording, or synthetic"
)


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels from `1920x1080`.

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text.strip())
    if match is None or not int(match[1]) or not int(match[2]):
        raise ConfigError(f"size: wanted WIDTHxHEIGHT in pixels such as 1920x1080, got {text!r}")
    return int(match[1]), int(match[2])


def parse_address(text: str, options: FeedOptions | None = None) -> FeedAddress:
    """What has to be opened, and how.

    Raises:
        ConfigError: the address is none that is known, lacks something, or does not go with an option.
    """
    said = options or FeedOptions()
    _check_choices(said)
    kind, rest = _kind(text)
    if kind not in _READERS:
        raise ConfigError(f"{text}: wanted {EXAMPLES}; got the unknown kind {kind!r}: check the spelling")
    read, takes = _READERS[kind]
    _refuse_what_is_not_taken(text, said, takes)
    return read(text, rest, said)


def _kind(text: str) -> tuple[str, str]:
    """The kind of an address and what follows its colon."""
    if text == "synthetic":
        return "synthetic", ""
    if re.match(r"/dev/(video\d|v4l/)", text):
        return "v4l2", text
    scheme, colon, rest = text.partition(":")
    # A single letter is a Windows drive; and what exists is a file, whatever its name looks like.
    if not colon or len(scheme) == 1 or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) or _exists(text):
        return ("sdp", text) if text.lower().endswith(".sdp") else ("recording", text)
    return scheme.lower(), rest


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a path, or with a null in it
        return False


def _check_choices(said: FeedOptions) -> None:
    for name, value, known in (
        ("--input-format", said.input_format, get_args(InputFormat)),
        ("--pixel-format", said.pixel_format, get_args(RawFormat)),
        ("--rtsp-transport", said.rtsp_transport, get_args(RtspTransport)),
    ):
        if value is not None and value not in known:
            raise ConfigError(f"{name}: wanted one of {', '.join(known)}; got {value!r}")
    if said.size_px is not None and min(said.size_px) < 1:
        raise ConfigError(f"--size: wanted a width and a height from 1 px on, got {said.size_px}")
    if said.rate_hz is not None and not 0 < said.rate_hz <= 1000:
        raise ConfigError(f"--rate: wanted pictures per second between 0 and 1000, got {said.rate_hz:g}")


def _refuse_what_is_not_taken(text: str, said: FeedOptions, takes: frozenset[str]) -> None:
    for name, value in (
        ("size", said.size_px),
        ("rate", said.rate_hz),
        ("input-format", said.input_format),
        ("pixel-format", said.pixel_format),
        ("rtsp-transport", said.rtsp_transport),
    ):
        if value is not None and name not in takes:
            raise ConfigError(
                f"{short_name(text)}: --{name} is {_MEANT_FOR[name]}, not for this; leave it out"
            )


_MEANT_FOR: Final = {
    "size": "for capture devices and raw pipes",
    "rate": "for capture devices and raw pipes",
    "input-format": "for capture devices",
    "pixel-format": "for raw pipes",
    "rtsp-transport": "for rtsp:// addresses",
}


# Capture devices


def _v4l2(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    if not rest.startswith("/dev/"):
        raise ConfigError(f"{text}: wanted a device such as v4l2:/dev/video0; `scopeline devices` lists them")
    return LibraryFeed(rest, rest, "v4l2", _device_options(said, "input_format"))


def _dshow(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    name = _device_name(text, rest).removeprefix("video=")
    options = _device_options(said, "pixel_format")
    # The default of 3 MB is less than one uncompressed 1080p picture: each would be dropped as it came. Four
    # pictures let a late reader catch up, and no more than four can grow old.
    width, height = said.size_px or (1920, 1080)
    options["rtbufsize"] = str(4 * 2 * width * height)
    if said.input_format != "mjpeg":
        return LibraryFeed(name, f"video={name}", "dshow", options)
    # A codec can be chosen on the program's command line only; the library has no option for it.
    arguments = ("-f", "dshow", "-vcodec", "mjpeg", *_words(options), "-i", f"video={name}")
    return ProgramFeed(name, arguments, device="dshow")


def _avfoundation(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    if said.input_format == "mjpeg":
        raise ConfigError(
            f"{text}: macOS hands over uncompressed pictures only; wanted --input-format uyvy422, nv12 or "
            "yuyv422, got mjpeg"
        )
    name = _device_name(text, rest)
    # Without `:none` FFmpeg would open the default microphone too.
    return LibraryFeed(name, f"{name}:none", "avfoundation", _device_options(said, "pixel_format"))


def _decklink(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    name = _device_name(text, rest)
    arguments = (
        *("-f", "decklink"),
        # The card finds size and rate by itself. Bars that the driver draws when the cable is out would be taken
        # for the processor's own.
        *("-draw_bars", "0"),
        *("-raw_format", "uyvy422"),
        *("-queue_size", str(4 * 2 * 1920 * 1080)),  # four pictures; by default 1 GB of them may grow old
        *("-i", name),
    )
    return ProgramFeed(name, arguments, device="decklink")


def _ndi(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    name = _device_name(text, rest)
    return ProgramFeed(name, ("-f", "libndi_newtek", "-i", name), device="libndi_newtek")


def _device_name(text: str, rest: str) -> str:
    if not rest:
        kind = text.partition(":")[0]
        raise ConfigError(
            f"{text}: wanted {kind}:NAME with the name that `scopeline devices` lists, got none"
        )
    return rest


def _device_options(said: FeedOptions, format_key: str) -> dict[str, str]:
    options: dict[str, str] = {}
    if said.size_px is not None:
        options["video_size"] = f"{said.size_px[0]}x{said.size_px[1]}"
    if said.rate_hz is not None:
        options["framerate"] = f"{said.rate_hz:g}"
    if said.input_format is not None and (format_key == "input_format" or said.input_format != "mjpeg"):
        options[format_key] = said.input_format
    return options


# Streams that the library opens

_PROBE: Final = {
    # Bytes and microseconds that FFmpeg may take to find out what the stream is. By default 5 MB and 5 s, all of
    # which is late when the first picture comes: RTMP opened after 6.7 s and was 4.9 s late then, instead of 2.0
    # and 0.35. `fflags=nobuffer` is not set on purpose: it throws away what was read meanwhile, the key frame
    # too, and spares nothing, for decoding catches up within a second.
    "probesize": "500000",
    "analyzeduration": "500000",
}


def _rtsp(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    _check_host(text)
    transport = said.rtsp_transport or "tcp"
    # TCP by default: no picture breaks on a lost packet, firewalls let it through, and on a wired network it is
    # not slower. With UDP a missing packet is waited for, and everything behind it with it.
    options = {**_PROBE, "rtsp_transport": transport, "allowed_media_types": "video"}
    if transport == "udp":
        options |= _REORDER
    return LibraryFeed(short_name(text), text, "rtsp", options)


_REORDER: Final = {
    # Microseconds that a missing RTP packet is waited for; 0.5 s by default. On one network they hardly overtake.
    "max_delay": "50000",
}

_UDP: Final = {
    # Packets of 188 bytes that may wait between the network and us: 1.5 MB, which is 0.8 s of 15 Mbit/s, instead
    # of 2.9 s. Whatever waits there makes every later picture late.
    "fifo_size": "8192",
    # When they do not fit, lose some and go on. By default reading ends with an error.
    "overrun_nonfatal": "1",
    # What the kernel may hold while we are not scheduled; a key frame comes in one burst.
    "buffer_size": "1048576",
}

_WHOLE_PICTURES: Final = {
    # In MPEG-TS a picture is known to be complete when the next one begins, and FFmpeg's parser waits for the one
    # after that. Senders put one picture into each PES packet (ETSI TS 101 154 asks for it), so no parser is needed:
    # 40 instead of 71 ms at 30 Hz, and 8 ms when the sender writes the length (`-omit_video_pes_length 0`). H.264
    # with B-frames, slices or fields, HEVC and MPEG-2, of FFmpeg and GStreamer, came out the same without it.
    "fflags": "noparse+nofillin",
    # Without the parser nobody puts a picture together again that was cut at the default of 200 kB.
    "max_packet_size": "4194304",
}


def _udp(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    _check_port(text)
    # Naming the format spares the guess, which in mid-stream can go wrong.
    return LibraryFeed(short_name(text), text, "mpegts", {**_PROBE, **_UDP, **_WHOLE_PICTURES})


def _rtp(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    _check_port(text)
    return LibraryFeed(
        short_name(text), text, "rtp", {**_PROBE, **_REORDER, "buffer_size": _UDP["buffer_size"]}
    )


def _sdp(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    options = {
        **_PROBE,
        **_REORDER,
        "protocol_whitelist": "file,udp,rtp",
    }  # a file may not open what it likes
    return LibraryFeed(short_name(text), text, "sdp", options)


def _tcp(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    _check_port(text)
    return LibraryFeed(short_name(text), text, None, dict(_PROBE))


def _rtmp(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    _check_host(text)
    place, is_listening = _without_listen(text)
    options = dict(_PROBE)
    if is_listening:
        options["listen"] = "1"
    else:
        options["rtmp_live"] = "live"  # else a server may look for a recording of that name first
        options["rtmp_buffer"] = "100"  # milliseconds that the server is told we hold; 3000 by default
    return LibraryFeed(short_name(place), place, "flv", options)


def _without_listen(text: str) -> tuple[str, bool]:
    """The address without `?listen=1`, and whether it had that: then the sender calls us."""
    place = re.sub(r"[?&]listen=1$", "", text)
    return place, place != text


def _http(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    _check_host(text)
    # A feed has no end to look for; asking for one breaks servers that answer once.
    return LibraryFeed(short_name(text), text, None, {**_PROBE, "seekable": "0"})


# Streams that need the program


def _srt(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    _check_port(text)
    # Microseconds in which a lost packet can be sent again, added to every picture; 120 ms by default, 107 ms of
    # which this spares. Four round trips are enough, and within a building one takes a millisecond. The address can
    # say `?latency=`.
    latency = () if "latency=" in text else ("-latency", "50000")
    return ProgramFeed(short_name(text), (*_words(_TRANSPORT_STREAM), *latency, "-i", text), protocol="srt")


def _rist(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    _check_port(text)
    # Milliseconds, as for SRT; 1000 by default, which made 1.14 s of a 0.16 s feed.
    buffer = () if "buffer_size=" in text else ("-buffer_size", "50")
    arguments = (*_words(_TRANSPORT_STREAM), *buffer, "-overrun_nonfatal", "1", "-i", text)
    return ProgramFeed(short_name(text), arguments, protocol="rist")


_TRANSPORT_STREAM: Final = {"f": "mpegts", **_WHOLE_PICTURES}
"""What SRT and RIST carry, wherever they are met."""


def _words(options: Mapping[str, str]) -> tuple[str, ...]:
    """Options as the program takes them."""
    return tuple(word for key, value in options.items() for word in (f"-{key}", value))


def _program(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    try:
        words = tuple(shlex.split(rest))
    except ValueError as error:
        raise ConfigError(
            f"{text}: wanted arguments as a shell takes them; {error}: check the quotes"
        ) from error
    if words.count("-i") != 1 or words[-2:-1] != ("-i",):
        raise ConfigError(
            f"{text}: wanted ffmpeg's input arguments ending in one -i PLACE, such as "
            "ffmpeg:'-f lavfi -i testsrc2'; what comes after it is Scopeline's part"
        )
    return ProgramFeed(f"ffmpeg {short_name(words[-1])}", words)


# Pipes, recordings, simulation


def _raw(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    if not rest:
        raise ConfigError(
            f"{text}: wanted raw:PATH of a named pipe or raw:- for the standard input, got neither"
        )
    if said.size_px is None or said.pixel_format is None:
        raise ConfigError(
            f"{text}: a raw pipe does not say what is in it; wanted --size WIDTHxHEIGHT and --pixel-format "
            f"{'|'.join(get_args(RawFormat))}"
        )
    (width_px, height_px), pixel_format = said.size_px, said.pixel_format
    if (width_px % 2 and pixel_format not in {"bgr24", "rgb24"}) or (
        height_px % 2 and pixel_format in {"nv12", "yuv420p"}
    ):
        raise ConfigError(
            f"{text}: {pixel_format} shares colour between neighbours; wanted an even --size, got "
            f"{width_px}x{height_px}"
        )
    return RawFeed(
        "raw pipe" if rest == "-" else short_name(rest),
        None if rest == "-" else Path(rest),
        width_px,
        height_px,
        _RAW_FORMATS[pixel_format],
        said.rate_hz,
    )


_RAW_FORMATS: Final[dict[str, RawFormat]] = {name: name for name in get_args(RawFormat)}


def _recording(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    if text.startswith("/dev/"):
        raise ConfigError(
            f"{text}: wanted /dev/video0 or the like for a capture card; what any other device or pipe delivers "
            f"is read with raw:{text}"
        )
    return RecordingFeed(short_name(text), text)


def _synthetic(text: str, rest: str, said: FeedOptions) -> FeedAddress:
    return SyntheticFeed()


def _check_host(text: str) -> None:
    if not re.match(r"[a-z]+://[^/?]+", text, re.IGNORECASE):
        raise ConfigError(f"{short_name(text)}: wanted {_scheme(text)}://HOST/PATH, got no host")


def _check_port(text: str) -> None:
    if not re.match(r"[a-z]+://[^/?]*:\d+", text, re.IGNORECASE):
        raise ConfigError(
            f"{short_name(text)}: wanted a port, as in {_scheme(text)}://HOST:5000 (udp://@:5000 listens on "
            "every address of this machine), got none"
        )


def _scheme(text: str) -> str:
    return text.partition(":")[0].lower()


_Reader: TypeAlias = Callable[[str, str, FeedOptions], FeedAddress]
_NOTHING: Final[frozenset[str]] = frozenset()
_DEVICE: Final = frozenset({"size", "rate", "input-format"})
_READERS: Final[dict[str, tuple[_Reader, frozenset[str]]]] = {
    "v4l2": (_v4l2, _DEVICE),
    "dshow": (_dshow, _DEVICE),
    "avfoundation": (_avfoundation, _DEVICE),
    "decklink": (_decklink, _NOTHING),
    "ndi": (_ndi, _NOTHING),
    "rtsp": (_rtsp, frozenset({"rtsp-transport"})),
    "rtsps": (_rtsp, frozenset({"rtsp-transport"})),
    "udp": (_udp, _NOTHING),
    "rtp": (_rtp, _NOTHING),
    "sdp": (_sdp, _NOTHING),
    "tcp": (_tcp, _NOTHING),
    "rtmp": (_rtmp, _NOTHING),
    "rtmps": (_rtmp, _NOTHING),
    "http": (_http, _NOTHING),
    "https": (_http, _NOTHING),
    "srt": (_srt, _NOTHING),
    "rist": (_rist, _NOTHING),
    "ffmpeg": (_program, _NOTHING),
    "raw": (_raw, frozenset({"size", "rate", "pixel-format"})),
    "recording": (_recording, _NOTHING),
    "synthetic": (_synthetic, _NOTHING),
}
"""By kind: what reads the address, and which options go with it."""
