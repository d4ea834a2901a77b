"""Clips encoded on the spot, with the frame number burnt into every picture: planted truth for decoders."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.frame import VideoFrame

from scopeline.picture import Picture, Pixels, rgb_pixels
from scopeline.simulation import barcode

WIDTH, HEIGHT, FPS = 256, 192, 25

QUIET = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"}}


def numbered_pixels(number: int) -> Pixels:
    """A smooth picture that drifts with the number, and the number itself as a bar code."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = 110 + 50 * np.sin((x + 3 * number) / 17) + 40 * np.cos((y - 2 * number) / 23)
    pixels = np.stack([waves, waves * 0.6, waves * 0.5], axis=-1).astype(np.uint8)
    barcode.burn(pixels, number)
    return pixels


def number_in(picture: Picture) -> int | None:
    """The number that was burnt into a picture."""
    return barcode.read(rgb_pixels(picture))


def write_clip(
    path: Path,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    pixels: Iterable[Pixels] | None = None,
    frames: int = 20,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    stamps_ms: Sequence[int] | None = None,
    rotation: int = 0,
    first_stamp: int = 0,
    prepare: Callable[[av.VideoStream], None] = lambda stream: None,
) -> Path:
    """A clip at 25 frames per second, or with the given stamps."""
    pictures = [numbered_pixels(n) for n in range(frames)] if pixels is None else list(pixels)
    with av.open(str(path), "w", options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=FPS, options={**QUIET.get(codec, {}), **(options or {})})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        if stamps_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        prepare(stream)
        for number, rgb in enumerate(pictures):
            frame = VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = number + first_stamp if stamps_ms is None else stamps_ms[number]
            frame.time_base = Fraction(1, FPS if stamps_ms is None else 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def packet_spans(path: Path) -> list[tuple[int, int]]:
    """Position and size in bytes of every packet of a clip's video, in decoding order."""
    with av.open(str(path)) as container:
        return [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]


def interlaced(stream: av.VideoStream) -> None:
    """Makes an MPEG-2 or H.264 encoder code fields, top field first."""
    stream.codec_context.flags |= (1 << 18) | (1 << 29)  # AV_CODEC_FLAG_INTERLACED_DCT and _ME
    stream.codec_context.field_order = 2


def write_with_audio(path: Path, *, video: Path | None, cover: bool = False) -> Path:
    """Two seconds of a tone, with the video of another clip or a cover picture beside it, or alone."""
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(av.open(str(path), "w"))
        sound = out.add_stream("aac", rate=48000)
        if cover:
            picture = out.add_stream("mjpeg", rate=FPS)
            picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
            picture.disposition = Disposition.attached_pic
        if video is not None:
            source = stack.enter_context(av.open(str(video)))
            copy = out.add_stream_from_template(source.streams.video[0])
        if cover:
            out.mux(picture.encode(VideoFrame.from_ndarray(numbered_pixels(7), format="rgb24")))
            out.mux(picture.encode())
        if video is not None:
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = copy
                    out.mux(packet)
        tone = (0.1 * np.sin(np.arange(1024) / 10)).astype(np.float32)[None]
        for block in range(94):
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, block * 1024
            out.mux(sound.encode(frame))
        out.mux(sound.encode())
    return path


def write_two_videos(path: Path, small: Path, large: Path) -> Path:
    """Both clips as streams of one file, the small one first."""
    with av.open(str(path), "w") as out, av.open(str(small)) as first, av.open(str(large)) as second:
        for source in (first, second):
            copy = out.add_stream_from_template(source.streams.video[0])
            source.metadata["copy"] = str(copy.index)
        for source in (first, second):
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = out.streams.video[int(source.metadata["copy"])]
                    out.mux(packet)
    return path


def write_palette_png(path: Path, *, width: int, height: int, rgb: tuple[int, int, int]) -> Path:
    """A PNG of one colour with a palette (colour type 3), made by hand: PyAV writes none."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 3, 0, 0, 0])
    rows = (b"\0" + b"\1" * width) * height
    palette = bytes([0, 0, 0, *rgb])
    body = chunk(b"IHDR", header) + chunk(b"PLTE", palette) + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    return path
