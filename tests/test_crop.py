"""Crops against planted geometry."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from scopeline.crop import CropKind, View, inscribed_box
from scopeline.field_of_view import FieldOfView, Shape
from scopeline.overlay import Overlay, OverlayKind
from scopeline.picture import Pixels, picture_from_rgb

WIDTH, HEIGHT = 720, 576
DISC = FieldOfView(
    1, Shape.CIRCLE, 140, 68, 440, 440, WIDTH, HEIGHT, circle=(360.0, 288.0, 220.0)
)  # fmt: skip
OCTAGON = FieldOfView(
    2, Shape.OCTAGON, 60, 40, 600, 500, WIDTH, HEIGHT,
    outline=((180, 40), (540, 40), (660, 160), (660, 420), (540, 540), (180, 540), (60, 420), (60, 160)),
    overlays=(Overlay(OverlayKind.SCOPE_GUIDE, 40, 380, 220, 170),),
)  # fmt: skip


def _painted(field: FieldOfView) -> Pixels:
    """White inside the field, black outside, pure green where overlays are."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[field.mask(WIDTH, HEIGHT)] = 255
    for overlay in field.overlays:
        pixels[overlay.y : overlay.y + overlay.height, overlay.x : overlay.x + overlay.width] = (0, 255, 0)
    return pixels


@pytest.mark.parametrize("field", [DISC, OCTAGON])
@pytest.mark.parametrize(("width", "height"), [(224, 224), (256, 192)])
def test_inscribed_shows_neither_border_nor_overlay(field: FieldOfView, width: int, height: int) -> None:
    view = View(CropKind.INSCRIBED, width, height)(picture_from_rgb(_painted(field)), field)
    assert view.shape == (height, width, 3)
    assert view.min() >= 250


def test_the_inscribed_square_of_a_disc_has_nearly_the_side_of_geometry() -> None:
    x, y, width, height = inscribed_box(DISC, 1.0)
    assert width == height
    assert 0.95 * 1.4142 * 220 <= width <= 1.4142 * 220
    assert (x + width / 2, y + height / 2) == pytest.approx((360, 288), abs=5)


def test_inscribed_boxes_are_even_and_keep_the_aspect() -> None:
    for field in (DISC, OCTAGON):
        for aspect in (1.0, 4 / 3, 16 / 9):
            box = inscribed_box(field, aspect)
            assert all(value % 2 == 0 for value in box)
            assert box[2] / box[3] == pytest.approx(aspect, rel=0.02)


def test_the_inscribed_box_is_as_large_as_an_exhaustive_search_finds() -> None:
    free = OCTAGON.mask(90, 72, without_overlays=True)
    best = 0
    for top in range(72):
        for left in range(90):
            while free[top : top + best + 1, left : left + best + 1].sum() == (best + 1) ** 2:
                best += 1
    _, _, width, _ = inscribed_box(OCTAGON, 1.0)
    assert best * 8 - 24 <= width <= best * 8 + 16


def test_masked_fills_everything_else_with_the_mean_of_the_inside() -> None:
    pixels = _painted(DISC)
    pixels[DISC.mask(WIDTH, HEIGHT)] = (180, 90, 60)
    view = View(CropKind.MASKED, 224, 224)(picture_from_rgb(pixels), DISC)
    assert np.abs(view.astype(int) - (180, 90, 60)).max() <= 3


def test_masked_hides_overlays_too() -> None:
    view = View(CropKind.MASKED, 224, 224)(picture_from_rgb(_painted(OCTAGON)), OCTAGON)
    assert view.min() >= 250


@pytest.mark.parametrize("field", [DISC, OCTAGON])
def test_disc2square_has_no_border(field: FieldOfView) -> None:
    bare = FieldOfView(
        field.id, field.shape, *field.box, WIDTH, HEIGHT, circle=field.circle, outline=field.outline
    )
    view = View(CropKind.DISC2SQUARE, 224, 224)(picture_from_rgb(_painted(bare)), bare)
    assert view.min() >= 200


def test_disc2square_keeps_the_centre_and_brings_the_rim_to_the_edge() -> None:
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    cv2.circle(pixels, (360, 288), 220, (0, 0, 255), -1)
    cv2.circle(pixels, (360, 288), 190, (255, 255, 255), -1)
    view = View(CropKind.DISC2SQUARE, 224, 224)(picture_from_rgb(pixels), DISC)
    assert view[112, 112].min() > 240
    for row, column in ((4, 112), (112, 4), (4, 4), (219, 219)):
        assert view[row, column, 2] > 200
        assert view[row, column, 0] < 60


def test_box_keeps_the_aspect_on_black() -> None:
    view = View(CropKind.BOX, 224, 224)(picture_from_rgb(np.full((HEIGHT, WIDTH, 3), 200, np.uint8)), OCTAGON)
    lit = np.flatnonzero(view[:, 112, 0] > 100)
    assert len(lit) == pytest.approx(224 * 500 / 600, abs=2)
    assert view[0].max() == 0


def test_the_result_is_written_into_the_given_buffer() -> None:
    picture, out = picture_from_rgb(_painted(DISC)), np.zeros((224, 224, 3), np.uint8)
    for kind in CropKind:
        view = View(kind, 224, 224)
        assert view(picture, DISC, out) is out
        np.testing.assert_array_equal(view(picture, DISC), out)


def test_a_field_of_another_signal_is_refused() -> None:
    with pytest.raises(ValueError, match="720x576"):
        View(CropKind.BOX, 64, 64)(picture_from_rgb(np.zeros((480, 640, 3), np.uint8)), DISC)


def test_a_view_follows_a_new_field() -> None:
    view = View(CropKind.INSCRIBED, 64, 64)
    assert view(picture_from_rgb(_painted(DISC)), DISC).min() >= 250
    assert view(picture_from_rgb(_painted(OCTAGON)), OCTAGON).min() >= 250
