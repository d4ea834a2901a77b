"""Fitting scope profiles: planted screens, hand-drawn boxes, and clips that must be refused."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from media_clips import write_clip
from scopeline.errors import ConfigError, SourceError
from scopeline.field_of_view import ROUND, Shape
from scopeline.overlay import OverlayKind, box_iou
from scopeline.picture import Pixels
from scopeline.profile_choice import ProfileChoice
from scopeline.scope_profile import load_profile
from scopeline.shipped import shipped_scopes
from scopeline_calibration.clip_looks import ClipLooks, look_at_clip
from scopeline_calibration.profile_file import profile_text
from scopeline_calibration.scope_commands import calibrate_scope
from scopeline_calibration.scope_fit import fit_scope
from scopeline_calibration.scope_picture import draw_scope

WIDTH, HEIGHT = 320, 240
OCTAGON = np.array([[90, 20], [250, 20], [290, 60], [290, 180], [250, 220], [90, 220], [50, 180], [50, 60]])
_BOXES = Path(__file__).parent / "data" / "scope_boxes.csv"


def _mucosa(number: int) -> Pixels:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = 130 + 60 * np.sin((x + 9 * number) / 17) + 30 * np.cos((y - 7 * number) / 23)
    return np.stack([waves, waves * 0.6, waves * 0.5], axis=-1).astype(np.uint8)


def _octagon(number: int) -> Pixels:
    mask = cv2.fillConvexPoly(np.zeros((HEIGHT, WIDTH), np.uint8), OCTAGON, 1)
    return np.asarray(_mucosa(number) * mask[..., None], np.uint8)


def _disc(number: int) -> Pixels:
    mask = cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (160, 120), 100, 1, -1)
    return np.asarray(_mucosa(number) * mask[..., None], np.uint8)


def _written(pixels: Pixels, at: tuple[int, int]) -> Pixels:
    written = pixels.copy()
    cv2.putText(written, "ABC 12", at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (240, 240, 240), 1)
    return written


def _looks(folder: Path, pictures: list[Pixels]) -> ClipLooks:
    clip = write_clip(folder / "clip.mkv", pixels=pictures, codec="ffv1", pixel_format="bgr0")
    return look_at_clip(clip, longest_s=60, done=lambda at_s: None)


def test_a_planted_octagon_is_fitted_to_the_pixel_or_two(tmp_path: Path) -> None:
    fit = fit_scope(_looks(tmp_path, [_octagon(n) for n in range(30)]), title="planted")
    assert fit.profile.shape is Shape.OCTAGON
    assert np.allclose(fit.profile.box, (50, 20, 241, 201), atol=2)
    assert fit.profile.signal == (WIDTH, HEIGHT)


def test_a_planted_disc_gives_its_circle(tmp_path: Path) -> None:
    fit = fit_scope(_looks(tmp_path, [_disc(n) for n in range(30)]), title="planted")
    assert fit.profile.shape in ROUND
    assert fit.profile.circle is not None
    assert np.allclose(fit.profile.circle, (160.5, 120.5, 100.5), atol=2)
    assert np.allclose(fit.profile.box, (60, 20, 201, 201), atol=2)


def test_text_is_found_beside_the_field_and_within_it(tmp_path: Path) -> None:
    pictures = [_written(_written(_octagon(n), (2, 235)), (120, 100)) for n in range(40)]
    fit = fit_scope(_looks(tmp_path, pictures), title="planted")
    text = [overlay.box for overlay in fit.profile.overlays if overlay.kind is OverlayKind.TEXT]
    assert len(text) == 2
    for wanted in ((120, 90, 50, 13), (2, 225, 50, 13)):
        assert max(box_iou(box, wanted) for box in text) > 0.4
    covering = fit.profile.field(1, WIDTH, HEIGHT).overlays
    assert len(covering) == 1  # the line beside the field hides nothing of it


def test_moving_mucosa_alone_is_no_text(tmp_path: Path) -> None:
    fit = fit_scope(_looks(tmp_path, [_octagon(n) for n in range(40)]), title="planted")
    assert fit.field_moved
    assert fit.profile.overlays == ()


def test_in_a_picture_that_stands_still_nothing_within_is_called_text(tmp_path: Path) -> None:
    fit = fit_scope(_looks(tmp_path, [_written(_octagon(0), (120, 100))] * 30), title="planted")
    assert not fit.field_moved
    assert fit.profile.overlays == ()


def test_a_test_card_in_the_clip_leaves_no_trace(tmp_path: Path) -> None:
    card = np.full((HEIGHT, WIDTH, 3), 180, np.uint8)
    pictures = [card if 60 <= n < 64 else _octagon(n) for n in range(120)]
    fit = fit_scope(_looks(tmp_path, pictures), title="planted")
    assert np.allclose(fit.profile.box, (50, 20, 241, 201), atol=2)


def test_a_dark_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no stable field"):
        fit_scope(_looks(tmp_path, [np.full((HEIGHT, WIDTH, 3), 3, np.uint8)] * 12), title="dark")


def test_a_clip_in_which_the_field_changes_is_refused_and_told_where(tmp_path: Path) -> None:
    other = [np.pad(_octagon(n)[:160, :220], ((0, 80), (0, 100), (0, 0))) for n in range(20)]
    with pytest.raises(SourceError, match=r"no stable field: its (beginning|middle|end)"):
        fit_scope(_looks(tmp_path, [_octagon(n) for n in range(40)] + other), title="changes")


def test_light_that_fades_away_has_no_stable_field(tmp_path: Path) -> None:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    fading = np.exp(-((x - 160) ** 2 + (y - 120) ** 2) / (2 * 55**2))
    pictures = [np.asarray(_mucosa(n) * fading[..., None], np.uint8) for n in range(24)]
    with pytest.raises(SourceError, match="no stable field"):
        fit_scope(_looks(tmp_path, pictures), title="fading")


def test_too_short_a_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="at least 10 pictures"):
        _looks(tmp_path, [_octagon(n) for n in range(5)])


def test_the_file_reads_back_as_the_profile(tmp_path: Path) -> None:
    pictures = [_written(_octagon(n), (2, 235)) for n in range(20)]
    profile = fit_scope(_looks(tmp_path, pictures), title='a "quoted" name').profile
    path = tmp_path / "mine.toml"
    path.write_text(profile_text(profile, ["a remark"]))
    assert load_profile(path) == profile


def test_the_picture_shows_the_outline(tmp_path: Path) -> None:
    looks = _looks(tmp_path, [_octagon(n) for n in range(20)])
    sheet = draw_scope(looks, fit_scope(looks, title="planted"))
    green = (sheet[..., 1] > 200) & (sheet[..., 0] < 120) & (sheet[..., 2] < 140)
    assert np.count_nonzero(green) > 500


def test_the_command_writes_a_profile_that_the_engine_recognises(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "clip.mkv", pixels=[_octagon(n) for n in range(20)], codec="ffv1", pixel_format="bgr0"
    )
    out, picture = tmp_path / "mine.toml", tmp_path / "mine.png"
    calibrate_scope(clip, name=None, title=None, out=out, picture=picture, longest_s=60)
    assert picture.stat().st_size > 1000
    profile = load_profile(out)
    assert ProfileChoice({"mine": profile}).settle(profile.field(1, WIDTH, HEIGHT)).profile == "mine"


def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="file name"):
        calibrate_scope(tmp_path / "c.mp4", name="../mine", out=tmp_path / "x.toml")


def _hand_drawn() -> list[dict[str, str]]:
    lines = [line for line in _BOXES.read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


@pytest.mark.parametrize("row", _hand_drawn(), ids=lambda row: row["clip"])
def test_shipped_profiles_agree_with_hand_drawn_boxes(row: dict[str, str]) -> None:
    profile = load_profile(shipped_scopes() / f"{row['profile']}.toml")
    drawn = tuple(int(row[key]) for key in ("x", "y", "width", "height"))
    assert box_iou(profile.box, drawn) >= 0.95


@pytest.mark.parametrize("clip", ["bagls_005.mp4", "polypgen_seq18.mp4", "sinus_1080p_mjpeg.avi"])
def test_fitting_a_real_clip_gives_the_hand_drawn_box(data_dir: Path, clip: str) -> None:
    row = next(row for row in _hand_drawn() if row["clip"] == clip)
    looks = look_at_clip(data_dir / "videos" / clip, longest_s=60, done=lambda at_s: None)
    drawn = tuple(int(row[key]) for key in ("x", "y", "width", "height"))
    assert box_iou(fit_scope(looks, title=clip).profile.box, drawn) >= 0.95
