"""Training pictures: the same bits as the engine shows its networks, masks on them, a cache that cannot lie."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from generated_sets import scene, write_image

pytest.importorskip("torch", reason="training needs scopeline[training]")

from scopeline.crop import CropKind, View
from scopeline.errors import ConfigError, SourceError
from scopeline.field_estimator import field_of_still
from scopeline.picture import Pixels, picture_from_file, rgb_pixels
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.channel_moments import channel_moments
from scopeline_training.pictures import CropName, PicturePlan, load_mask, load_pixels, load_second
from scopeline_training.recipe import InputPlan

CROPS: tuple[CropName, ...] = ("inscribed", "masked", "disc2square", "box")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPELINE_CACHE", str(tmp_path / "cache"))


def on_black_screen(seed: int) -> Pixels:
    """A round field of 300 pixels on a 480x360 screen."""
    screen = np.zeros((360, 480, 3), np.uint8)
    disc = np.zeros((360, 480), np.uint8)
    cv2.circle(disc, (250, 180), 150, 1, -1)
    full = cv2.resize(scene(seed, 64), (480, 360), interpolation=cv2.INTER_CUBIC)
    screen[disc == 1] = np.asarray(full, np.uint8)[disc == 1]
    return screen


@pytest.mark.parametrize("crop", CROPS)
def test_training_sees_the_very_bits_that_the_engine_shows_its_networks(
    tmp_path: Path, crop: CropName
) -> None:
    path = write_image(tmp_path / "a.jpg", on_black_screen(1))
    picture = picture_from_file(path)
    field = field_of_still(rgb_pixels(picture))
    assert field is not None
    assert field.width < 320, "the border is found"
    engine = View(CropKind(crop), 96, 96)(picture, field)
    first = load_pixels(Sample(path), PicturePlan(size=96, crop=crop))
    from_cache = load_pixels(Sample(path), PicturePlan(size=96, crop=crop))
    as_recipe = load_pixels(Sample(path), InputPlan(size=96, crop=CropKind(crop)))
    assert all(np.array_equal(engine, each) for each in (first, from_cache, as_recipe))


def test_real_frames_are_the_same_bits_too(data_dir: Path) -> None:
    for path in sorted((data_dir / "images" / "mes_fullres" / "1").iterdir())[:5]:
        picture = picture_from_file(path)
        field = field_of_still(rgb_pixels(picture))
        assert field is not None
        engine = View(CropKind.INSCRIBED, 112, 112)(picture, field)
        assert np.array_equal(engine, load_pixels(Sample(path), PicturePlan(size=112)))


@pytest.mark.parametrize("crop", ["none", *CROPS])
def test_a_mask_lies_on_what_the_picture_shows(tmp_path: Path, crop: CropName) -> None:
    screen, mask = on_black_screen(2), np.zeros((360, 480), np.uint8)
    cv2.ellipse(mask, (230, 200), (60, 35), 20, 0, 360, 255, -1)
    screen[mask > 0] = (20, 240, 20)
    small = cv2.resize(mask, (240, 180), interpolation=cv2.INTER_AREA)  # masks may have another size
    sample = Sample(
        write_image(tmp_path / "a.png", screen),
        mask=write_image(tmp_path / "m.jpg", np.asarray(small, np.uint8)),
    )
    plan = PicturePlan(size=128, crop=crop)
    pixels, cut = load_pixels(sample, plan).astype(int), load_mask(sample, plan)
    green = (pixels[..., 1] > pixels[..., 0] + 100) & (pixels[..., 1] > pixels[..., 2] + 100)
    assert set(np.unique(cut)) == {0, 1}
    assert (green & (cut == 1)).sum() / (green | (cut == 1)).sum() > 0.93


def test_many_class_masks_keep_their_values_and_get_no_new_ones(tmp_path: Path) -> None:
    blocks = np.array([[0, 3], [6, 1]], np.uint8)
    values = blocks.repeat(60, axis=0).repeat(80, axis=1)
    sample = Sample(write_image(tmp_path / "a.png", scene(1)), mask=write_image(tmp_path / "m.png", values))
    assert set(np.unique(load_mask(sample, PicturePlan(size=77, crop="none"), threshold=None))) == {
        0,
        1,
        3,
        6,
    }


def test_a_grey_file_has_three_like_channels(tmp_path: Path) -> None:
    path = write_image(tmp_path / "oct.png", scene(4)[..., 0])
    pixels = load_pixels(Sample(path), PicturePlan(size=50, crop="none"))
    assert pixels.shape == (50, 50, 3)
    assert np.abs(pixels.astype(int) - pixels[..., :1]).max() <= 1


def test_a_changed_file_under_the_same_name_is_seen_anew(tmp_path: Path) -> None:
    plan = PicturePlan(size=40, crop="none")
    path = write_image(tmp_path / "a.png", scene(1, 96))
    before = load_pixels(Sample(path), plan)
    write_image(path, scene(2, 97))
    assert not np.array_equal(load_pixels(Sample(path), plan), before)


def test_a_damaged_cache_file_is_replaced(tmp_path: Path) -> None:
    plan, path = PicturePlan(size=40, crop="none"), write_image(tmp_path / "a.png", scene(1))
    before = load_pixels(Sample(path), plan)
    (kept,) = (tmp_path / "cache").rglob("*.png")
    kept.write_bytes(b"half a pict")
    assert np.array_equal(load_pixels(Sample(path), plan), before)


def test_a_dual_input_without_a_second_picture_is_refused_and_never_doubled(tmp_path: Path) -> None:
    one, two = (write_image(tmp_path / f"{n}.png", scene(n)) for n in (1, 2))
    plan = PicturePlan(size=40, crop="none")
    with pytest.raises(ConfigError, match="second picture"):
        load_second(Sample(one), plan)
    pair = Sample(one, second=two)
    assert not np.array_equal(load_pixels(pair, plan), load_second(pair, plan))


def test_what_is_no_picture_or_has_no_mask_is_told(tmp_path: Path) -> None:
    text = tmp_path / "a.jpg"
    text.write_text("hello")
    with pytest.raises(SourceError, match="could not decode"):
        load_pixels(Sample(text), PicturePlan(size=40))
    with pytest.raises(ConfigError, match="wanted a file"):
        load_pixels(Sample(tmp_path / "gone.jpg"), PicturePlan(size=40))
    with pytest.raises(ConfigError, match="wanted a mask, got none"):
        load_mask(Sample(write_image(tmp_path / "b.png", scene(1))), PicturePlan(size=40))


def test_the_moments_of_a_data_set_are_those_of_all_its_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    stills = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) // np.uint8(divisor) for divisor in (1, 2, 4)]
    samples = tuple(Sample(write_image(tmp_path / f"{n}.png", pixels)) for n, pixels in enumerate(stills))
    found = channel_moments(Catalogue(samples, {}, "noise"), PicturePlan(size=32, crop="none"))
    every = np.concatenate(stills).reshape(-1, 3) / 255
    assert np.abs(np.array(found.mean) - every.mean(axis=0)).max() < 1e-9
    assert np.abs(np.array(found.std) - every.std(axis=0)).max() < 1e-9
