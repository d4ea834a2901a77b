"""The resizer gives the colours that were planted, in every pixel format, from the place it was told."""

from __future__ import annotations

import numpy as np
import pytest
from av.video.frame import VideoFrame

from scopeline.picture import Picture, Resizer, picture_from_rgb

FORMATS = (
    "yuv420p",
    "yuvj420p",
    "yuv422p",
    "yuv444p",
    "yuv411p",
    "yuv440p",
    "nv12",
    "nv21",
    "p010le",
    "yuyv422",
    "uyvy422",
    "yuv420p10le",
    "yuv422p10le",
    "yuv444p12le",
    "gbrp",
    "gbrp10le",
    "rgb24",
    "bgr24",
    "bgra",
    "rgba",
    "bgr0",
    "rgb48le",
    "yuva420p",
)
PATCH, GROUND = (40, 120, 190), (180, 70, 50)
BT709, BT601 = 1, 5
LIMITED, FULL = 1, 2


def picture_of(format_name: str) -> Picture:
    """320x240, with a 40x40 patch of another colour whose corner lies at the odd pixel (99, 101)."""
    pixels = np.full((240, 320, 3), GROUND, np.uint8)
    pixels[101:141, 99:139] = PATCH
    return VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=format_name)


def flat_yuv(format_name: str, *, colour_space: int, colour_range: int) -> Picture:
    """A picture of the ground's colour, its samples reckoned by the equations of ITU-R BT.601 or BT.709."""
    picture = VideoFrame(320, 240, format_name)
    bits = picture.format.components[0].bits
    red, green, blue = (value / 255 for value in GROUND)
    kr, kb = (0.299, 0.114) if colour_space == BT601 else (0.2126, 0.0722)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = ((blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr)))
    step, top = 1 << (bits - 8), (1 << bits) - 1
    if colour_range == FULL:
        samples = [luma * top, *(value * top + 128 * step for value in chroma)]
    else:
        samples = [(16 + 219 * luma) * step, *((128 + 224 * value) * step for value in chroma)]
    for plane, value in zip(picture.planes, samples, strict=True):
        np.frombuffer(memoryview(plane), np.uint8).view(np.uint8 if bits == 8 else "<u2")[:] = round(value)
    picture.colorspace, picture.color_range = colour_space, colour_range
    return picture


@pytest.mark.parametrize(
    "format_name",
    FORMATS,
)
@pytest.mark.parametrize("x", [98, 99])
def test_a_patch_keeps_its_colour_and_place_in_every_pixel_format(format_name: str, x: int) -> None:
    cut = Resizer(20, 20, crop=(x, 101, 40, 40))(picture_of(format_name)).astype(int)
    assert cut[10, 10] == pytest.approx(PATCH, abs=5)
    beside = Resizer(20, 20, crop=(x - 45, 101, 40, 40))(picture_of(format_name)).astype(int)
    assert beside[10, 10] == pytest.approx(GROUND, abs=5)


@pytest.mark.parametrize(
    ("format_name", "sample"), [("gray", 100), ("gray10le", 401), ("gray16le", 100 * 257)]
)
def test_grey_stays_grey(format_name: str, sample: int) -> None:
    picture = VideoFrame(320, 240, format_name)
    kind = np.uint8 if format_name == "gray" else np.dtype("<u2")
    np.frombuffer(memoryview(picture.planes[0]), np.uint8).view(kind)[:] = sample
    assert Resizer(64, 64)(picture)[32, 32] == pytest.approx([100, 100, 100], abs=1)


@pytest.mark.parametrize("colour_space", [BT601, BT709])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
@pytest.mark.parametrize("format_name", ["yuv420p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le"])
def test_range_and_matrix_flags_of_the_picture_are_obeyed(
    format_name: str, colour_range: int, colour_space: int
) -> None:
    picture = flat_yuv(format_name, colour_space=colour_space, colour_range=colour_range)
    assert Resizer(64, 64)(picture)[32, 32].astype(int) == pytest.approx(GROUND, abs=5)


def test_one_resizer_follows_pictures_whose_flags_change() -> None:
    resizer = Resizer(64, 64)
    for space, value_range in [(BT601, LIMITED), (BT601, FULL), (BT709, LIMITED), (BT601, LIMITED)]:
        picture = flat_yuv("yuv420p", colour_space=space, colour_range=value_range)
        assert resizer(picture)[32, 32].astype(int) == pytest.approx(GROUND, abs=5)


def test_one_resizer_follows_pictures_whose_size_and_format_change() -> None:
    resizer = Resizer(32, 32)
    for width, height, name in [(320, 240, "yuv420p"), (640, 480, "nv12"), (320, 240, "rgb24")]:
        pixels = np.full((height, width, 3), GROUND, np.uint8)
        picture = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=name)
        assert resizer(picture)[16, 16].astype(int) == pytest.approx(GROUND, abs=5)


def test_a_picture_made_by_hand_needs_no_time_base() -> None:
    pixels = np.full((240, 320, 3), GROUND, np.uint8)
    assert tuple(Resizer(8, 8)(picture_from_rgb(pixels))[4, 4]) == GROUND


def test_a_crop_outside_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="crop must lie within the 320x240 picture"):
        Resizer(8, 8, crop=(300, 0, 40, 40))(picture_of("yuv420p"))
