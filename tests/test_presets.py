"""Presets: ranges, seeds, masks that stay on their picture, and the steps that the studies list."""

import numpy as np
import pytest

from generated_sets import scene

pytest.importorskip("torch", reason="training needs scopeline[training]")

from scopeline_training.presets import PRESETS, PresetName, augment, oct_size, steady


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_pixels_stay_bytes_in_range_and_the_seed_decides_everything(preset: PresetName) -> None:
    pixels = scene(1, 64)
    before = pixels.copy()
    seen = []
    for seed in (0, 0, *range(1, 12)):
        varied, mask = augment(preset, pixels, np.random.default_rng(seed))
        assert varied.dtype == np.uint8
        assert varied.shape == ((oct_size(64),) * 2 if preset == "oct" else (64, 64)) + (3,)
        assert varied.flags.c_contiguous
        assert mask is None
        seen.append(varied)
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(pixels, before), "the picture itself is left alone"
    different = len({each.tobytes() for each in seen[1:]})
    assert different == 1 if preset == "none" else different >= 8


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_mask_moves_with_its_picture_and_keeps_its_values(preset: PresetName) -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[40:90, 30:70] = 1
    pixels = np.repeat(mask[..., None] * np.uint8(160) + np.uint8(40), 3, axis=2)
    for seed in range(25):
        varied, moved = augment(preset, pixels, np.random.default_rng(seed), mask)
        assert moved is not None
        assert set(np.unique(moved)) <= {0, 1}
        assert moved.shape == varied.shape[:2]
        grey = varied[..., 1].astype(float)
        middle = (np.median(grey[moved == 1]) + np.median(grey[moved == 0])) / 2
        inside = grey > middle
        inside[grey < 5] = False  # what the rotation brought in
        union = (inside | (moved == 1)).sum()
        assert (inside & (moved == 1)).sum() / union > 0.93, f"seed {seed}"


def test_kvasir_has_the_six_steps_of_the_study_at_their_rates() -> None:
    # Each step alone changes this picture, so the share of unchanged copies is the product of what is left out.
    pixels = scene(2, 64)
    rng = np.random.default_rng(4)
    same = np.mean([np.array_equal(augment("kvasir", pixels, rng)[0], pixels) for _ in range(2000)])
    expected = 0.625 * 0.5**3 * 0.7**2  # a quarter turn by 0 (one in four) changes nothing
    assert abs(same - expected) < 4 * np.sqrt(expected / 2000)


def test_kvasir_brightness_and_gamma_stay_within_the_study_limits() -> None:
    flat = np.full((32, 32, 3), 128, np.uint8)
    rng = np.random.default_rng(1)
    means = [augment("kvasir", flat, rng)[0].mean() for _ in range(600)]
    low, high = 128 * 0.8 - 51, 128 * 1.2 + 51  # contrast by 0.2, brightness by 0.2 of 255; gamma moves less
    assert min(means) >= low - 9
    assert max(means) <= high + 9
    assert max(means) > 160
    assert min(means) < 96


def test_oct_keeps_nearly_the_whole_scan_and_never_turns_it_over() -> None:
    rows = np.linspace(0, 255, 256).astype(np.uint8)
    layered = np.repeat(np.repeat(rows[:, None], 256, axis=1)[..., None], 3, axis=2)
    for seed in range(40):
        varied, _ = augment("oct", layered, np.random.default_rng(seed))
        middle = varied[:, 112, 0].astype(int)
        assert middle[10] < middle[112] < middle[-10]
        assert middle[-1] - middle[0] > 0.93 * 255


def test_endoscopy_moves_colours_by_a_few_per_cent_only() -> None:
    flat = np.full((48, 48, 3), (180, 90, 80), np.uint8)
    rng = np.random.default_rng(2)
    ratios = [
        augment("endoscopy", flat, rng)[0].reshape(-1, 3).mean(axis=0) / (180, 90, 80) for _ in range(200)
    ]
    hue = np.array([ratio[0] / ratio[1] for ratio in ratios])
    assert 0.8 < hue.min() < 0.95
    assert 1.05 < hue.max() < 1.25
    assert np.min(ratios) > 0.65
    assert np.max(ratios) < 1.42


def test_validation_sees_the_middle_of_a_scan_and_other_pictures_whole() -> None:
    pixels = scene(3, 256)
    cut, _ = steady("oct", pixels)
    assert np.array_equal(cut, pixels[16:240, 16:240])
    assert steady("endoscopy", pixels)[0] is pixels


def test_a_wrong_preset_or_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="none, kvasir, oct, endoscopy"):
        augment("sepia", scene(1), np.random.default_rng(0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="square"):
        augment("oct", scene(1)[:50], np.random.default_rng(0))
