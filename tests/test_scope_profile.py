"""Scope profiles as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from scopeline.errors import ConfigError
from scopeline.overlay import OverlayKind
from scopeline.scope_profile import load_profile

GOOD = """
name = "mine"
signal = [720, 576]
shape = "octagon"
box = [100, 50, 400, 300]
outline = [[180, 50], [420, 50], [500, 130], [500, 270], [420, 350], [180, 350], [100, 270], [100, 130]]
[[overlays]]
kind = "scope_guide"
box = [90, 250, 120, 110]
"""
SHIPPED = sorted((Path(__file__).parents[1] / "calibration" / "scopes").glob("*.toml"))


def _written(folder: Path, text: str) -> Path:
    path = folder / "scope.toml"
    path.write_text(text)
    return path


def test_a_profile_is_scaled_to_another_size_of_the_same_aspect(tmp_path: Path) -> None:
    field = load_profile(_written(tmp_path, GOOD)).field(7, 1440, 1152)
    assert field.id == 7
    assert field.box == (200, 100, 800, 600)
    assert field.overlays[0].kind is OverlayKind.SCOPE_GUIDE
    assert field.overlays[0].box == (180, 500, 240, 220)
    assert field.outline[0] == (360, 100)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"', 'name = "mine"\nshap = 1', "shap"),
        ('shape = "octagon"', 'shape = "hexagon"', "hexagon"),
        ('shape = "octagon"', 'shape = "circle"', "circle"),
        ("box = [100, 50, 400, 300]", "box = [100, 50, 4000, 300]", "720x576"),
        ("signal = [720, 576]", "signal = [0, 576]", "signal"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = _written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        load_profile(path)
    assert "scope.toml" in str(caught.value)


def test_a_file_that_is_no_text_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "scope.toml"
    path.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ConfigError, match=r"scope\.toml"):
        load_profile(path)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_profile(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_profiles_load(path: Path) -> None:
    profile = load_profile(path)
    assert profile.field(1, *profile.signal).box == profile.box
