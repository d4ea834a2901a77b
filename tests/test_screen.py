"""The drawn screens keep their own truth."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from scopeline.simulation.barcode import code_box
from scopeline.simulation.screen import (
    LAYOUTS,
    SHAPES,
    draw_screen,
    random_screen,
    screen_named,
)

NAMES = [layout.name for layout in LAYOUTS]


def white(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def drawn_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The bounding box, by another way than the screen's own."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


@pytest.mark.parametrize("shape", SHAPES)
def test_the_field_box_is_where_the_picture_shows(shape: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(8):
        screen = random_screen(rng, shape, 720, 576, guide=False, text=False)
        width, height = screen.field_box[2:]
        pixels = screen.compose(white(width, height), 0.0)
        lit = pixels[..., 0] > 132
        count, labels = cv2.connectedComponents(lit.astype(np.uint8))
        largest = max(range(1, count), key=lambda label: int((labels == label).sum()))
        found = drawn_box(labels == largest)
        assert max(abs(a - b) for a, b in zip(found, screen.field_box, strict=True)) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_every_layout_can_be_drawn_at_other_sizes(name: str) -> None:
    for width, height in [(640, 480), (960, 720), (1920, 1080)]:
        screen = screen_named(name, width, height)
        assert screen.compose(white(50, 40), 1.0).shape == (height, width, 3)


@pytest.mark.parametrize("name", NAMES)
def test_the_bar_code_has_its_corner_to_itself(name: str) -> None:
    for width, height in [(640, 480), (720, 576), (960, 720), (1280, 1024), (1920, 1080)]:
        screen = screen_named(name, width, height)
        x, y, w, h = code_box(width, height)
        assert not screen.mask[y : y + h, x : x + w].any()


def test_a_clipped_circle_is_wider_than_high_and_a_circle_is_not() -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        _, _, width, height = random_screen(
            rng, "clipped_circle", 720, 576, guide=False, text=False
        ).field_box
        assert width > 1.05 * height
        _, _, width, height = random_screen(rng, "circle", 720, 576, guide=False, text=False).field_box
        assert abs(width - height) <= 1


def test_the_position_box_looks_like_the_real_ones() -> None:
    """Measured on 97 real boxes: hue 72-87, S 113-255, V 98-199, area 8.3-10.8 %, centre near (0.2, 0.8)."""
    rng = np.random.default_rng(3)
    for number in range(12):
        screen = random_screen(rng, SHAPES[number % 4], 720, 576, guide=True, text=True)
        assert screen.guide_box is not None
        x, y, width, height = screen.guide_box
        assert 0.08 <= width * height / (720 * 576) <= 0.11
        assert abs((x + width / 2) / 720 - 0.2) < 0.03
        assert abs((y + height / 2) / 576 - 0.8) < 0.03
        pixels = screen.compose(white(10, 10), 0.0)[y : y + height, x : x + width]
        hue, saturation, value = np.moveaxis(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), -1, 0)
        like_real = (hue >= 72) & (hue <= 87) & (saturation >= 113) & (value >= 98) & (value <= 199)
        assert like_real.mean() >= 0.95


def test_a_black_box_is_black_inside_the_field() -> None:
    without_position_box = LAYOUTS[NAMES.index("hd-rectangle")]
    screen = draw_screen(replace(without_position_box, black_box=(0.22, 0.70, 0.2, 0.2)), 720, 576)
    assert screen.black_box is not None
    x, y, width, height = screen.black_box
    assert screen.mask[y : y + height, x : x + width].any()
    assert not screen.compose(white(10, 10), 0.0)[y : y + height, x : x + width].any()


def test_only_the_clock_changes_with_time() -> None:
    screen = screen_named("sd-octagon")
    mucosa = white(*screen.field_box[2:])
    changed = (screen.compose(mucosa, 0.0) != screen.compose(mucosa, 59.0)).any(axis=-1)
    assert 0 < changed.sum() < 400
    assert not np.any(screen.compose(mucosa, 3.1) != screen.compose(mucosa, 3.9))


def test_an_unknown_screen_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="sd-octagon"):
        screen_named("nothing")
