"""The field of view as a noun, and the estimator on single overviews with planted truth."""

from __future__ import annotations

import numpy as np
import pytest

from scopeline.field_estimator import estimate_field, field_of_still
from scopeline.field_of_view import FieldOfView, Shape
from scopeline.overlay import Overlay, OverlayKind, box_iou
from scopeline.simulation.screen import SHAPES, random_screen


def _field(**changes: object) -> FieldOfView:
    plain: dict[str, object] = {
        "id": 1, "shape": Shape.RECTANGLE, "x": 100, "y": 50, "width": 400, "height": 300,
        "signal_width": 720, "signal_height": 576,
    }  # fmt: skip
    return FieldOfView(**(plain | changes))  # type: ignore[arg-type]


def test_a_field_outside_its_signal_is_refused() -> None:
    with pytest.raises(ValueError, match="720x576"):
        _field(x=400)


def test_a_round_field_needs_its_circle() -> None:
    with pytest.raises(ValueError, match="circle"):
        _field(shape=Shape.CIRCLE)


def test_the_mask_of_a_disc_has_the_area_of_a_disc() -> None:
    disc = _field(shape=Shape.CIRCLE, x=100, y=100, width=300, height=300, circle=(250.0, 250.0, 150.0))
    assert np.count_nonzero(disc.mask(720, 576)) == pytest.approx(np.pi * 150**2, rel=0.005)
    assert np.count_nonzero(disc.mask(360, 288)) == pytest.approx(np.pi * 75**2, rel=0.01)


def test_the_mask_of_an_octagon_lacks_its_corners() -> None:
    cut = 80
    outline = ((180, 50), (420, 50), (500, 130), (500, 270), (420, 350), (180, 350), (100, 270), (100, 130))
    mask = _field(shape=Shape.OCTAGON, outline=outline).mask(720, 576)
    assert not mask[55, 105]
    assert mask[200, 300]
    assert np.count_nonzero(mask) == pytest.approx(400 * 300 - 2 * cut**2, rel=0.01)


def test_overlays_are_cut_out_of_the_mask_on_request() -> None:
    field = _field(overlays=(Overlay(OverlayKind.SCOPE_GUIDE, 80, 250, 120, 120),))
    assert field.mask(720, 576)[300, 150]
    assert not field.mask(720, 576, without_overlays=True)[300, 150]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_found_in_one_lit_picture(shape: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(6):
        screen = random_screen(rng, shape, 720, 576, guide=False, text=True)
        width, height = screen.field_box[2:]
        lit = rng.integers(60, 200, (height, width, 3)).astype(np.uint8)
        field = field_of_still(screen.compose(lit, 0.0))
        assert field is not None
        assert field.shape == shape
        assert box_iou(field.box, screen.field_box) >= 0.98


def test_a_picture_without_a_border_is_full() -> None:
    field = field_of_still(np.full((480, 640, 3), 90, np.uint8))
    assert field is not None
    assert field.shape is Shape.FULL
    assert field.box == (0, 0, 640, 480)


def test_a_dark_picture_has_no_field() -> None:
    assert field_of_still(np.full((480, 640, 3), 8, np.uint8)) is None


def test_text_beside_the_field_does_not_widen_it() -> None:
    bright = np.zeros((240, 300), np.uint8)
    bright[20:220, 90:280] = 120
    bright[60:64, 5:90] = 230
    bright[100:104, 5:90] = 230
    estimate = estimate_field(bright)
    assert estimate is not None
    assert estimate.box[0] == pytest.approx(90, abs=1)


def test_a_disc_with_a_round_shadow_over_its_rim_keeps_its_circle() -> None:
    rows, columns = np.ogrid[:240, :300]
    disc = (columns + 0.5 - 150) ** 2 + (rows + 0.5 - 120) ** 2 <= 100**2
    for angle in np.arange(0, 2 * np.pi, np.pi / 6):
        lumen = np.hypot(columns - 150 - 85 * np.cos(angle), rows - 120 - 85 * np.sin(angle))
        estimate = estimate_field((disc * np.clip(lumen / 60, 0, 1) ** 1.5 * 150).astype(np.uint8))
        assert estimate is not None
        assert estimate.circle == pytest.approx((150, 120, 100), abs=1.5)
        assert box_iou(estimate.box, (50, 20, 200, 200)) >= 0.97
