from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import pytest

from fakes import scope_pixels
from scopeline.errors import ConfigError, SourceError
from scopeline.picture import Picture, picture_from_rgb
from scopeline.sources.raw_pipe import RAW_FORMATS, RawPipe


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "card"
    os.mkfifo(path)
    return path


@contextmanager
def writing(path: Path, content: bytes) -> Iterator[None]:
    thread = threading.Thread(target=lambda: path.write_bytes(content))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def raw_bytes(form: str, width: int, height: int, seed: int) -> bytes:
    """As every SDK writes them: plane after plane, line after line, no padding. Made by FFmpeg's own encoder."""
    picture = picture_from_rgb(scope_pixels(seed=seed, width=width, height=height)).reformat(format=form)
    return raw_of(picture)


def raw_of(picture: Picture) -> bytes:
    encoder = av.CodecContext.create("rawvideo", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, picture.format.name
    encoder.time_base = Fraction(1, 25)
    picture.pts = 0
    return b"".join(bytes(packet) for packet in encoder.encode(picture))


@pytest.mark.parametrize("form", RAW_FORMATS)
@pytest.mark.parametrize("width", [64, 90])
def test_every_format_is_read_as_it_was_written(fifo: Path, form: str, width: int) -> None:
    sent = [raw_bytes(form, width, 32, seed) for seed in range(2)]
    pipe = RawPipe(str(fifo), form, width, 32)

    with writing(fifo, b"".join(sent)):
        got = [raw_of(arrival.picture) for arrival in pipe.arrivals()]
    pipe.close()

    assert got == sent
    assert pipe.damaged == {}


def test_a_picture_torn_by_a_writer_that_went_is_counted_and_left_out(fifo: Path) -> None:
    content = raw_bytes("yuyv422", 64, 32, 0)
    pipe = RawPipe(str(fifo), "yuyv422", 64, 32)

    with writing(fifo, content + content[: len(content) // 2]):
        arrivals = list(pipe.arrivals())
    pipe.close()

    assert len(arrivals) == 1
    assert pipe.damaged == {"torn picture": 1}


def test_a_wait_for_a_writer_can_be_ended(fifo: Path) -> None:
    pipe = RawPipe(str(fifo), "bgr24", 64, 32)
    reader = threading.Thread(target=lambda: list(pipe.arrivals()))
    reader.start()

    pipe.interrupt()
    reader.join(timeout=5)

    assert not reader.is_alive()
    pipe.close()
    pipe.interrupt()  # one that comes too late does no harm


def test_a_pipe_that_is_not_there_is_asked_for() -> None:
    with pytest.raises(SourceError, match="mkfifo"):
        RawPipe("/nowhere/card", "bgr24", 64, 32)


@pytest.mark.parametrize(
    ("form", "width", "height"), [("yuyv422", 63, 32), ("nv12", 64, 31), ("h264", 64, 32)]
)
def test_pictures_that_cannot_be_are_refused(fifo: Path, form: str, width: int, height: int) -> None:
    with pytest.raises(ConfigError, match=r"even size|one of yuyv422"):
        RawPipe(str(fifo), form, width, height)
