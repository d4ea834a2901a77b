from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import pytest
from av.video.frame import VideoFrame

from fakes import scope_pixels
from scopeline.errors import SourceError
from scopeline.picture import Picture, picture_from_rgb, rgb_pixels
from scopeline.sources.picture_pipe import Failed, Head, Opened, PictureHead, head_of, receive, send, widen
from scopeline.sources.picture_pool import PicturePool


def through_a_pipe(write: Callable[[BinaryIO], object]) -> list[tuple[Head, Picture | None]]:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as source:

        def work() -> None:
            with os.fdopen(writer, "wb", buffering=0) as sink:
                widen(sink)
                write(sink)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            return list(receive(source, PicturePool()))
        finally:
            thread.join()


@pytest.mark.parametrize("form", ["yuv420p", "nv12", "yuyv422", "bgr24", "yuv422p10le", "gray"])
@pytest.mark.parametrize("size", [(640, 480), (642, 358)])
def test_a_picture_arrives_as_it_was_sent(form: str, size: tuple[int, int]) -> None:
    sent = picture_from_rgb(scope_pixels(width=size[0], height=size[1])).reformat(format=form)

    [(head, got)] = through_a_pipe(
        lambda pipe: send(pipe, head_of(sent, 17, 1.5, {"damaged packet": 2}), sent)
    )

    assert isinstance(head, PictureHead)
    assert (head.captured_ns, head.stamp_s, head.damaged) == (17, 1.5, {"damaged packet": 2})
    assert got is not None
    assert np.array_equal(rgb_pixels(got), rgb_pixels(sent))


def test_a_picture_with_other_padding_keeps_its_pixels() -> None:
    array = np.arange(40 * 64, dtype=np.uint8).reshape(40, 64)
    sent = VideoFrame.from_numpy_buffer(array[:, :48], "gray", 48)  # lines of 64 bytes, 48 of them picture

    [(_, got)] = through_a_pipe(lambda pipe: send(pipe, head_of(sent, 0, None, {}), sent))

    assert got is not None
    assert np.array_equal(got.to_ndarray(), array[:, :48])


def test_colour_range_and_space_are_not_lost() -> None:
    sent = picture_from_rgb(scope_pixels()).reformat(format="yuv420p")
    sent.color_range, sent.colorspace = 2, 1  # full range, BT.709

    [(_, got)] = through_a_pipe(lambda pipe: send(pipe, head_of(sent, 0, None, {}), sent))

    assert got is not None
    assert (got.color_range, got.colorspace) == (2, 1)


def test_what_is_said_without_a_picture_arrives_in_order() -> None:
    opened, failed = Opened(codec="h264", width=8, height=8, fps=None), Failed(why="gone")

    def write(pipe: BinaryIO) -> None:
        send(pipe, opened)
        send(pipe, failed)

    assert through_a_pipe(write) == [(opened, None), (failed, None)]


def test_a_picture_that_was_cut_off_is_left_out() -> None:
    picture = picture_from_rgb(scope_pixels())

    def write(pipe: BinaryIO) -> None:
        send(pipe, head_of(picture, 0, None, {}), picture)
        send(pipe, head_of(picture, 1, None, {}))  # the head, and then the writer dies

    assert len(through_a_pipe(write)) == 1


def test_a_stranger_in_the_pipe_is_named() -> None:
    with pytest.raises(SourceError, match="another program"):
        through_a_pipe(lambda pipe: pipe.write(b"hello, I am a library that prints"))
