"""The frame number in the picture comes back through an encoder, or not at all."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scopeline.simulation.barcode import block_px, burn, code_box, read


def noisy_picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A busy picture that starves the encoder of bits."""
    rng = np.random.default_rng(seed)
    return rng.integers(40, 200, (height, width, 3)).astype(np.uint8)


def through_h264(pictures: list[np.ndarray], crf: int) -> list[np.ndarray]:
    """The pictures after libx264 and back."""
    height, width = pictures[0].shape[:2]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


@settings(max_examples=60, deadline=None)
@given(number=st.integers(0, 2**24 - 1))
def test_every_number_comes_back(number: int) -> None:
    pixels = noisy_picture(640, 480)
    burn(pixels, number)
    assert read(pixels) == number


@pytest.mark.parametrize(("width", "height"), [(640, 480), (720, 576), (1920, 1080)])
def test_numbers_survive_strong_h264(width: int, height: int) -> None:
    numbers = [0, 1, 255, 4095, 1 << 23, (1 << 24) - 1]
    pictures = [noisy_picture(width, height, seed) for seed in range(len(numbers))]
    for pixels, number in zip(pictures, numbers, strict=True):
        burn(pixels, number)
    assert [read(pixels) for pixels in through_h264(pictures, crf=28)] == numbers


def test_one_flipped_block_is_noticed() -> None:
    pixels = noisy_picture(640, 480)
    burn(pixels, 1234)
    x, y, _, _ = code_box(640, 480)
    side = block_px(480)
    for column in range(1, 17):
        damaged = pixels.copy()
        block = damaged[y : y + side, x + column * side : x + (column + 1) * side]
        block[:] = 251 - block
        assert read(damaged) is None


@pytest.mark.parametrize("grey", [0, 120, 255])
def test_a_picture_without_a_code_has_no_number(grey: int) -> None:
    assert read(np.full((480, 640, 3), grey, np.uint8)) is None


def test_the_code_touches_only_its_box() -> None:
    before = noisy_picture(1280, 720)
    after = before.copy()
    burn(after, 77)
    x, y, width, height = code_box(1280, 720)
    after[y : y + height, x : x + width] = before[y : y + height, x : x + width]
    assert np.array_equal(before, after)


def test_the_code_is_small() -> None:
    for width, height in [(640, 480), (960, 720), (1920, 1080)]:
        _, _, code_w, code_h = code_box(width, height)
        assert code_w * code_h < 0.01 * width * height


def test_a_number_beyond_24_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="16777215, got 16777216"):
        burn(noisy_picture(640, 480), 1 << 24)
