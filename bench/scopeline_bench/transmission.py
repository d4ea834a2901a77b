"""Transmission: the kinds of feed a bench sends on loopback, what sends each, and how it is read.

Encoders are set as one sets them for a live picture: no look-ahead, no reordered frames, a key frame every half
second, and a bit rate that is held. Whoever is asked to listen is what would be the box in the room.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from scopeline.errors import ConfigError
from scopeline_bench.scope_loop import LoopFormat

FeedKind: TypeAlias = Literal["raw", "udp", "tcp", "rtsp", "srt", "rtmp", "http"]
KINDS: Final[tuple[FeedKind, ...]] = get_args(FeedKind)

SYSTEM_PYTHON: Final = "/usr/bin/python3"
"""Where Debian's bindings of GStreamer are."""

WHAT: Final[dict[FeedKind, str]] = {
    "raw": "yuyv422 through a named pipe, no encoder: stands in for a capture card",
    "udp": "MPEG-TS over UDP, ffmpeg",
    "tcp": "MPEG-TS over TCP, GStreamer (tcpserversink)",
    "rtsp": "RTSP over TCP, GStreamer (gst-rtsp-server)",
    "srt": "MPEG-TS over SRT, ffmpeg listens; read through the system ffmpeg",
    "rtmp": "RTMP, ffmpeg listens",
    "http": "MPEG-TS over HTTP, ffmpeg listens",
}


class FeedAt(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is told to watch, as a person would say it to `scopeline live`."""

    address: str
    size_px: tuple[int, int] | None = None
    rate_hz: float | None = None
    pixel_format: str | None = None


class Transmission(msgspec.Struct, frozen=True, kw_only=True):
    """One feed: its kind, its size, and where it is sent."""

    kind: FeedKind
    width_px: int
    height_px: int
    fps: int
    port: int
    """On 127.0.0.1; not used by `raw`."""
    pipe: str = ""
    """Path of the named pipe; `raw` only."""
    kbit_s: int = 8000

    @property
    def pixel_format(self) -> LoopFormat:
        """What the painter hands over."""
        return "yuyv422" if self.kind == "raw" else "yuv420p"

    @property
    def address(self) -> str:
        """What a person would type after `scopeline live`."""
        place = f"127.0.0.1:{self.port}"
        return {
            "raw": f"raw:{self.pipe}",
            "udp": f"udp://{place}",
            "tcp": f"tcp://{place}",
            "rtsp": f"rtsp://{place}/scope",
            "srt": f"srt://{place}",
            "rtmp": f"rtmp://{place}/live/scope",
            "http": f"http://{place}/scope.ts",
        }[self.kind]

    @property
    def feed(self) -> FeedAt:
        """What the engine is told."""
        if self.kind != "raw":
            return FeedAt(address=self.address)
        return FeedAt(
            address=self.address,
            size_px=(self.width_px, self.height_px),
            rate_hz=float(self.fps),
            pixel_format=self.pixel_format,
        )

    @property
    def command(self) -> tuple[str, ...]:
        """The program that reads raw pictures from its standard input and sends them; empty for `raw`."""
        place = f"127.0.0.1:{self.port}"
        match self.kind:
            case "raw":
                return ()
            case "udp":
                return self._ffmpeg(*_MPEGTS, f"udp://{place}?pkt_size=1316")
            case "srt":
                # Microseconds; what is asked for at the other end wins when it is longer.
                return self._ffmpeg(*_MPEGTS, f"srt://{place}?mode=listener&latency=20000&pkt_size=1316")
            case "rtmp":
                return self._ffmpeg("-f", "flv", "-listen", "1", f"rtmp://{place}/live/scope")
            case "http":
                return self._ffmpeg(*_MPEGTS, "-listen", "1", f"http://{place}/scope.ts")
            case "tcp":
                return self._gstreamer()
            case "rtsp":
                server = Path(__file__).with_name("rtsp_server.py")
                return (SYSTEM_PYTHON, str(server), str(self.port), self._gst_caps(), self._gst_encoder())

    def _ffmpeg(self, *output: str) -> tuple[str, ...]:
        rate = f"{self.kbit_s}k"
        return (
            *("ffmpeg", "-hide_banner", "-loglevel", "error", "-fflags", "nobuffer"),
            *(
                "-f",
                "rawvideo",
                "-pixel_format",
                "yuv420p",
                "-video_size",
                f"{self.width_px}x{self.height_px}",
            ),
            # Stamped as they come, as a box does it; counted stamps would fall behind at every picture left out.
            *("-framerate", f"{self.fps}", "-use_wallclock_as_timestamps", "1", "-i", "pipe:0"),
            *("-fps_mode", "passthrough", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"),
            *(
                "-g",
                f"{self.fps // 2}",
                "-b:v",
                rate,
                "-maxrate",
                rate,
                "-bufsize",
                rate,
                "-flush_packets",
                "1",
            ),
            *output,
        )

    def _gstreamer(self) -> tuple[str, ...]:
        return (
            *("gst-launch-1.0", "-q", "fdsrc", "fd=0", "blocksize=65536", "do-timestamp=true"),
            *("!", "rawvideoparse", "use-sink-caps=false", "format=i420"),
            *(f"width={self.width_px}", f"height={self.height_px}", f"framerate={self.fps}/1"),
            *("!", *self._gst_encoder().split(), "!", "h264parse", "config-interval=-1"),
            # Without `sync-method`: to look for a key frame at which to begin cost the sink four times the encoder.
            *("!", "mpegtsmux", "!", "tcpserversink", "host=127.0.0.1", f"port={self.port}", "sync=false"),
        )

    def _gst_caps(self) -> str:
        size = f"width={self.width_px},height={self.height_px},framerate={self.fps}/1"
        return f"video/x-raw,format=I420,{size}"

    def _gst_encoder(self) -> str:
        return f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={self.fps // 2} bitrate={self.kbit_s}"


_MPEGTS: Final = ("-muxdelay", "0", "-muxpreload", "0", "-f", "mpegts")


def kinds_named(only: str | None) -> list[FeedKind]:
    """The kinds in a list separated by commas; all without one.

    Raises:
        ConfigError: one of them is none.
    """
    if only is None:
        return list(KINDS)
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in KINDS]:
        raise ConfigError(f"feeds are {', '.join(KINDS)}; got {', '.join(unknown)}")
    return [kind for kind in KINDS if kind in wanted]


def what_is_missing(kind: FeedKind) -> str | None:
    """Why a kind of feed cannot be sent on this machine; None when it can."""
    if kind == "raw":
        return None
    if kind == "tcp":
        return (
            None if shutil.which("gst-launch-1.0") else "gst-launch-1.0 is not installed (gstreamer1.0-tools)"
        )
    if kind == "rtsp":
        return None if Path(SYSTEM_PYTHON).is_file() and _has_rtsp_server() else _NO_RTSP
    return None if shutil.which("ffmpeg") else "ffmpeg is not installed"


_NO_RTSP: Final = "GStreamer's RTSP server is not installed (python3-gi, gir1.2-gst-rtsp-server-1.0)"


def _has_rtsp_server() -> bool:
    return any(Path("/usr/lib").glob("*/girepository-1.0/GstRtspServer-1.0.typelib"))
