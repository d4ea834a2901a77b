"""The acceptance suite itself, at a small size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scopeline.simulation.screen import SHAPES
from scopeline_calibration.field_suite import (
    Content,
    FieldFigures,
    GuideFigures,
    ShapeFigures,
    StaticFigures,
    measure_shape,
    measure_static,
    report,
    textures_from,
)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_few_screens_of_every_shape_reach_the_required_figure(shape: str) -> None:
    figures = measure_shape(shape, textures_from(None), fields=2, seed=11)
    assert figures.iou_least >= 0.95
    assert figures.lock_s_most <= 3.0


def test_a_static_scope_keeps_its_geometry_through_flashes_and_blackouts() -> None:
    assert measure_static("octagon", textures_from(None), minutes=1.2, seed=11).changes_later == 0


def test_the_content_really_darkens_the_rim() -> None:
    content = Content(np.full((64, 64, 3), 200, np.uint8), np.random.default_rng(1), 200, 160)
    rims = [content.at(time_s)[:, [0, -1]].min() for time_s in np.arange(0, 20, 0.5)]
    assert min(rims) < 20


def test_the_verdict_needs_every_figure() -> None:
    shape = ShapeFigures("octagon", 9, 0.97, 0.99, 0.96, 0.96, 0.4)
    static = StaticFigures("octagon", 10, 1, 0)
    guide = GuideFigures(43, 42, 0, 0, 0.95, 0.99)
    good = FieldFigures((shape,), (static,), guide)
    assert good.passed
    assert report(good).endswith("\npassed")
    assert not replace(good, shapes=(replace(shape, iou_p5=0.949),)).passed
    assert not replace(good, shapes=(replace(shape, lock_s_most=float("inf")),)).passed
    assert not replace(good, static=(replace(static, changes_later=1),)).passed
    assert not replace(good, guide=replace(guide, false_boxes=1)).passed


def test_the_report_says_nothing_of_a_display_that_was_not_measured() -> None:
    figures = FieldFigures((), (), None)
    assert "position display" not in report(figures)
