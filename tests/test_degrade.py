"""Degradations: seeded, of the same shape, and each spoils what its name says."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scopeline.degrade import FAMILIES, SEED_STYLE, degrade, harmless
from scopeline.picture import Pixels


def mucosa(size: int = 160, seed: int = 5) -> Pixels:
    """A reddish picture with vessels, shade and a few highlights."""
    rng = np.random.default_rng(seed)
    noise = cv2.resize(rng.random((9, 9)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    picture = np.array([190.0, 105.0, 80.0]) * (0.6 + 0.5 * noise[..., None])
    picture = picture.astype(np.float32)
    for _ in range(25):
        ends = rng.integers(0, size, (2, 2)).tolist()
        cv2.line(picture, ends[0], ends[1], (130, 40, 35), 1, cv2.LINE_AA)
    picture += rng.normal(0, 4, picture.shape)
    pixels: Pixels = np.clip(picture, 0, 255).astype(np.uint8)
    return pixels


def sharpness(pixels: Pixels) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def power_along(pixels: Pixels, axis: int) -> float:
    grey: NDArray[np.float64] = pixels.mean(axis=2)
    return float(np.abs(np.diff(grey, axis=axis)).mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_picture(family: str) -> None:
    first = degrade(family, mucosa(), np.random.default_rng(11), 0.5)
    again = degrade(family, mucosa(), np.random.default_rng(11), 0.5)
    assert first.shape == (160, 160, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_original_is_left_alone_and_the_copy_differs(family: str) -> None:
    original = mucosa()
    before = original.copy()
    spoilt = degrade(family, original, np.random.default_rng(2), 0.0)
    np.testing.assert_array_equal(original, before)
    assert np.abs(spoilt.astype(int) - original).mean() > 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_more_severity_moves_the_picture_further_away(family: str) -> None:
    def distance(severity: float) -> float:
        seeds = range(6)
        spoilt = [degrade(family, mucosa(), np.random.default_rng(seed), severity) for seed in seeds]
        return float(np.mean([np.abs(each.astype(int) - mucosa()).mean() for each in spoilt]))

    assert distance(0.0) < distance(1.0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(48, 64), (224, 160)])
def test_any_picture_shape_is_kept(family: str, shape: tuple[int, int]) -> None:
    picture = np.asarray(cv2.resize(mucosa(), shape[::-1]), np.uint8)
    assert degrade(family, picture, np.random.default_rng(0), 1.0).shape == (*shape, 3)


@pytest.mark.parametrize("family", ["gaussian_blur", "motion_blur", "defocus", "red_out", "haze"])
def test_families_that_soften_take_most_of_the_sharpness(family: str) -> None:
    assert sharpness(degrade(family, mucosa(), np.random.default_rng(4), 0.5)) < 0.35 * sharpness(mucosa())


@pytest.mark.parametrize("family", ["bubbles", "interlace_comb"])
def test_families_that_sharpen_would_fool_a_mere_sharpness_gate(family: str) -> None:
    assert sharpness(degrade(family, mucosa(), np.random.default_rng(4), 0.8)) > 1.3 * sharpness(mucosa())


@pytest.mark.parametrize("family", ["brightness", "exposure"])
def test_wrong_brightness_goes_both_ways(family: str) -> None:
    means = [degrade(family, mucosa(), np.random.default_rng(seed), 0.5).mean() for seed in range(12)]
    assert min(means) < 0.6 * mucosa().mean()
    assert max(means) > 1.4 * mucosa().mean()


def test_a_gaussian_blur_has_the_width_it_promises() -> None:
    dot = np.zeros((224, 224, 3), np.uint8)
    dot[112, 112] = 255
    # One pixel of 255 spread over sigma 1.5 peaks at 255 / (2 pi 1.5^2) = 18.0.
    assert degrade("gaussian_blur", dot, np.random.default_rng(0), 0.0).max() == pytest.approx(18, abs=1)


def test_a_motion_blur_smears_along_one_line_of_the_promised_length() -> None:
    dot = np.zeros((224, 224, 3), np.uint8)
    dot[100:103, 112] = 255
    smeared = degrade("motion_blur", dot, np.random.default_rng(8), 1.0)[..., 0] > 2
    points = np.argwhere(smeared).astype(np.float32)
    spread = np.sort(np.linalg.svd(points - points.mean(axis=0), compute_uv=False) / np.sqrt(len(points)))
    assert spread[1] > 3 * spread[0]
    assert 28 <= np.ptp(points, axis=0).max() * np.sqrt(2) <= 52


def test_lengths_scale_with_the_picture() -> None:
    small = mucosa(112)
    large = np.asarray(cv2.resize(small, (448, 448), interpolation=cv2.INTER_CUBIC), np.uint8)
    spoilt_small = degrade("gaussian_blur", small, np.random.default_rng(1), 0.6)
    spoilt_large = degrade("gaussian_blur", large, np.random.default_rng(1), 0.6)
    back = cv2.resize(spoilt_large, (112, 112), interpolation=cv2.INTER_AREA)
    assert np.abs(back.astype(int) - spoilt_small).mean() < 3.0


def test_glare_grows_from_the_brightest_place() -> None:
    picture = mucosa()
    picture[100:120, 30:50] = 250
    white = degrade("glare", picture, np.random.default_rng(3), 0.0).min(axis=2) > 235
    assert white[105:115, 35:45].all()
    assert 0.03 < white.mean() < 0.45


def test_an_interlace_comb_leaves_the_even_lines_untouched() -> None:
    picture = mucosa()
    combed = degrade("interlace_comb", picture, np.random.default_rng(3), 0.5)
    np.testing.assert_array_equal(combed[::2], picture[::2])
    assert power_along(combed, 0) > 1.3 * power_along(picture, 0)


def test_compression_leaves_blocks_of_equal_pixels() -> None:
    rows = degrade("compression", mucosa(), np.random.default_rng(3), 1.0).astype(int)
    assert (np.abs(np.diff(rows, axis=1)).sum(axis=2) == 0).mean() > 0.6


def test_a_colour_cast_is_green_or_purple() -> None:
    spoilt = [
        degrade("colour_cast", mucosa(), np.random.default_rng(s), 1.0).mean(axis=(0, 1)) for s in range(12)
    ]
    greenish = [each[1] > max(each[0], each[2]) for each in spoilt]
    purplish = [each[1] < min(each[0], each[2]) for each in spoilt]
    assert any(greenish)
    assert any(purplish)
    assert all(g or p for g, p in zip(greenish, purplish, strict=True))


def test_a_channel_shift_leaves_green_in_place_and_moves_red_and_blue() -> None:
    picture = mucosa()
    shifted = degrade("channel_shift", picture, np.random.default_rng(3), 0.5)
    np.testing.assert_array_equal(shifted[..., 1], picture[..., 1])
    assert (shifted[..., 0] != picture[..., 0]).mean() > 0.5
    assert (shifted[..., 2] != picture[..., 2]).mean() > 0.5


def test_occlusion_covers_at_least_the_promised_share() -> None:
    picture = mucosa()
    covered = (
        np.abs(degrade("occlusion", picture, np.random.default_rng(3), 1.0).astype(int) - picture).sum(axis=2)
        > 0
    )
    assert 0.8 < covered.mean() <= 1.0


def test_harmless_variation_stays_harmless() -> None:
    for seed in range(20):
        varied = harmless(mucosa(), np.random.default_rng(seed))
        assert 0.8 < varied.mean() / mucosa().mean() < 1.2
        # A blur of 0.6 px keeps over a quarter of the Laplacian variance of pixel noise.
        assert sharpness(varied) > 0.1 * sharpness(mucosa())


def test_the_seed_style_comes_first() -> None:
    assert FAMILIES[:3] == SEED_STYLE


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="gaussian_blur"):
        degrade("smudge", mucosa(), np.random.default_rng(0), 0.5)


def test_a_severity_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        degrade("haze", mucosa(), np.random.default_rng(0), 1.5)


def test_grey_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        degrade("haze", np.zeros((64, 64), np.uint8), np.random.default_rng(0), 0.5)
