"""Position displays and black boxes, drawn and real."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from scopeline.overlay import Box, OverlayKind, box_iou, find_overlays, find_scope_guide
from scopeline.picture import Pixels
from scopeline_calibration.field_suite import measure_guide

GREEN = (20, 165, 135)


def _mucosa(seed: int = 0) -> Pixels:
    noise = np.random.default_rng(seed).integers(-15, 15, (410, 512, 1))
    return np.clip(np.array((190, 95, 75)) + noise, 0, 255).astype(np.uint8)


def _with_panel(box: Box, frame: int = 0, colour: tuple[int, int, int] = GREEN) -> Pixels:
    pixels = _mucosa()
    x, y, width, height = box
    pixels[y - frame : y + height + frame, x - frame : x + width + frame] = 10
    pixels[y : y + height, x : x + width] = colour
    return pixels


def test_boxes_that_touch_nowhere_have_no_overlap() -> None:
    assert box_iou((0, 0, 10, 10), (10, 0, 10, 10)) == 0
    assert box_iou((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(1 / 3)


def test_a_panel_is_found_to_the_pixel() -> None:
    found = find_scope_guide(_with_panel((30, 270, 150, 120)))
    assert found is not None
    assert box_iou(found, (30, 270, 150, 120)) >= 0.97


@pytest.mark.parametrize("colour", [(51, 80, 63), (51, 80, 79)])
def test_a_panel_as_dark_and_pale_as_panels_can_be_is_found(colour: tuple[int, int, int]) -> None:
    assert find_scope_guide(_with_panel((30, 270, 150, 120), colour=colour)) is not None


def test_the_black_frame_of_a_panel_belongs_to_it() -> None:
    found = find_scope_guide(_with_panel((30, 260, 150, 120), frame=8))
    assert found is not None
    assert box_iou(found, (22, 252, 166, 136)) >= 0.95


def test_the_scope_drawn_on_a_panel_does_not_hide_it() -> None:
    pixels = _with_panel((30, 270, 150, 120))
    cv2.line(pixels, (100, 389), (120, 290), (40, 40, 40), 3)
    assert find_scope_guide(pixels) is not None


def test_dyed_mucosa_is_no_panel() -> None:
    pixels = _mucosa()
    cv2.ellipse(pixels, (120, 320), (90, 60), 20, 0, 360, GREEN, -1)
    cv2.circle(pixels, (350, 150), 50, GREEN, -1)
    assert find_scope_guide(pixels) is None


def test_a_picture_that_is_green_all_over_is_no_panel() -> None:
    assert find_scope_guide(np.full((410, 512, 3), GREEN, np.uint8)) is None


def test_a_box_painted_black_is_found() -> None:
    pixels = _mucosa()
    pixels[280:410, 0:160] = 3
    (overlay,) = find_overlays(pixels)
    assert overlay.kind is OverlayKind.BLACK_BOX
    assert box_iou(overlay.box, (0, 280, 160, 130)) >= 0.9


def test_a_round_dark_lumen_is_no_black_box() -> None:
    pixels = _mucosa()
    cv2.circle(pixels, (256, 205), 80, (4, 2, 2), -1)
    assert find_overlays(pixels) == ()


def test_position_displays_in_real_frames_are_found_and_none_invented(data_dir: Path) -> None:
    figures = measure_guide(data_dir, Path(__file__).parent / "data" / "scope_guide_boxes.csv")
    assert (figures.boxed, figures.unboxed) == (43, 42)
    assert (figures.missed, figures.false_boxes) == (0, 0)
    assert figures.iou_least >= 0.90
