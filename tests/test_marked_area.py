"""What a mask head marks, against shapes planted in the signal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fakes import POLYP, QUALITY, CollectingSink, ScriptedSource
from scopeline.assemble import assemble
from scopeline.bundle import Input
from scopeline.config import BundleChoice, Pipeline
from scopeline.crop import CropKind, View
from scopeline.field_of_view import FieldOfView, Shape
from scopeline.marked_area import MOST_POINTS, MOST_REGIONS, MOST_RUNS, MarkedArea, MaskTracer, run_lengths
from scopeline.picture import picture_from_rgb
from tiny_bundle import write_tiny_bundle

WIDTH, HEIGHT, SIZE = 960, 720, 128
DISC = FieldOfView(1, Shape.CIRCLE, 180, 60, 600, 600, WIDTH, HEIGHT, circle=(480.0, 360.0, 300.0))
OCTAGON = FieldOfView(
    2, Shape.OCTAGON, 100, 40, 760, 640, WIDTH, HEIGHT,
    outline=((260, 40), (700, 40), (860, 200), (860, 520), (700, 680), (260, 680), (100, 520), (100, 200)),
)  # fmt: skip
FULL = FieldOfView(3, Shape.FULL, 0, 0, WIDTH, HEIGHT, WIDTH, HEIGHT)
FIELDS = [DISC, OCTAGON, FULL]
EVERYWHERE = np.ones((SIZE, SIZE), np.float32)


def _planted(*ellipses: tuple[tuple[int, int], tuple[int, int], int]) -> NDArray[np.uint8]:
    """255 in ellipses (centre, half axes, angle) of the signal, 60 elsewhere: never so dark that it is no picture."""
    truth = np.full((HEIGHT, WIDTH), 60, np.uint8)
    for centre, axes, angle in ellipses:
        cv2.ellipse(truth, centre, axes, angle, 0, 360, 255, -1)
    return truth


def _traced(truth: NDArray[np.uint8], field: FieldOfView, crop: CropKind) -> MarkedArea:
    """What a network would have told that marks every bright pixel of its view, through the engine's own crop."""
    seen = View(crop, SIZE, SIZE)(picture_from_rgb(np.repeat(truth[..., None], 3, axis=2)), field)
    probabilities = seen[..., 1].astype(np.float32) / np.float32(255)
    head = msgspec.structs.replace(POLYP, threshold=157.5 / 255)  # half way between the two levels
    return MaskTracer(head, Input(width=SIZE, height=SIZE, crop=crop)).trace(probabilities, field)


def _drawn(area: MarkedArea) -> NDArray[np.bool_]:
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    for outline in area.outlines:
        # Corners lie between pixels; OpenCV's lie on pixel centres, hence the half.
        corners = np.round((np.array(outline) - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(drawn, [corners], 1, shift=4)
    return drawn.astype(np.bool_)


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("crop", list(CropKind))
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.shape)
def test_outlines_come_back_to_where_they_were_planted(crop: CropKind, field: FieldOfView) -> None:
    truth = _planted(((400, 300), (80, 45), 30), ((560, 440), (50, 60), 0))
    area = _traced(truth, field, crop)
    assert area.regions == len(area.outlines) == 2
    assert _iou(_drawn(area), truth == 255) > 0.94


@pytest.mark.parametrize("crop", list(CropKind))
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.shape)
def test_the_box_and_the_share_are_those_of_what_was_planted(crop: CropKind, field: FieldOfView) -> None:
    truth = _planted(((430, 330), (90, 60), 0))
    area = _traced(truth, field, crop)
    assert area.box is not None
    assert np.array(area.box) == pytest.approx(np.array([340, 270, 181, 121]), abs=6)
    share = (truth == 255).sum() / field.mask(WIDTH, HEIGHT).sum()
    assert area.share == pytest.approx(share, rel=0.05)


def test_an_outline_that_runs_along_the_edge_of_a_bent_view_follows_the_disc() -> None:
    area = _traced(_planted(((480, 360), (400, 400), 0)), DISC, CropKind.DISC2SQUARE)
    assert _iou(_drawn(area), DISC.mask(WIDTH, HEIGHT)) > 0.94
    assert area.share > 0.95


@pytest.mark.parametrize("crop", [CropKind.BOX, CropKind.MASKED])
def test_nothing_is_marked_beside_the_field(crop: CropKind) -> None:
    tracer = MaskTracer(POLYP, Input(width=SIZE, height=SIZE, crop=crop))
    for field in FIELDS:
        area = tracer.trace(EVERYWHERE, field)
        # Half a pixel of the network, here 3.75 of the signal, is how well an outline is known.
        near = cv2.dilate(field.mask(WIDTH, HEIGHT).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        assert not (_drawn(area) & ~near).any()
        assert area.share == pytest.approx(1.0, abs=0.02)


def test_an_inscribed_view_marks_no_more_of_the_field_than_it_shows() -> None:
    area = MaskTracer(POLYP, Input(width=SIZE, height=SIZE, crop=CropKind.INSCRIBED)).trace(EVERYWHERE, DISC)
    assert area.share == pytest.approx(2 / np.pi, rel=0.06)  # a square within a disc, less its margin


def test_where_nothing_is_marked_there_is_no_box_and_no_outline() -> None:
    area = MaskTracer(POLYP, Input(width=SIZE, height=SIZE, crop=CropKind.BOX)).trace(0.4 * EVERYWHERE, FULL)
    assert (area.share, area.box, area.regions, area.outlines) == (0.0, None, 0, ())
    assert area.peak == pytest.approx(0.4)


def test_a_tracer_follows_the_field_when_it_changes() -> None:
    tracer = MaskTracer(POLYP, Input(width=SIZE, height=SIZE, crop=CropKind.BOX))
    first = tracer.trace(EVERYWHERE, DISC).box
    moved = replace(DISC, id=9, x=100, circle=(400.0, 360.0, 300.0))
    second = tracer.trace(EVERYWHERE, moved).box
    assert first is not None
    assert second is not None
    assert second[0] == pytest.approx(first[0] - 80, abs=2)


def test_one_marked_pixel_alone_is_a_region() -> None:
    lone = np.zeros((SIZE, SIZE), np.float32)
    lone[40, 70] = 0.51
    area = MaskTracer(POLYP, Input(width=SIZE, height=SIZE, crop=CropKind.BOX)).trace(lone, FULL)
    assert area.regions == 1
    assert area.box is not None
    assert area.box[0] == pytest.approx(70.5 * 7.5, abs=5)


def test_noise_does_not_make_a_message_long() -> None:
    noise = np.random.default_rng(0).random((SIZE, SIZE)).astype(np.float32)
    area = MaskTracer(POLYP, Input(width=SIZE, height=SIZE, crop=CropKind.BOX)).trace(noise, FULL)
    assert area.regions > MOST_REGIONS
    assert len(area.outlines) == MOST_REGIONS
    assert all(len(outline) <= MOST_POINTS for outline in area.outlines)
    assert run_lengths(area.marked) is None


def test_the_largest_regions_are_outlined_first() -> None:
    area = _traced(_planted(((300, 300), (20, 20), 0), ((560, 400), (70, 70), 0)), FULL, CropKind.BOX)
    widths = [np.ptp(np.array(outline)[:, 0]) for outline in area.outlines]
    assert widths == pytest.approx([141, 41], abs=6)


@given(arrays(np.bool_, (7, 5)))
def test_run_lengths_are_read_back_by_their_definition(marked: NDArray[np.bool_]) -> None:
    lengths = run_lengths(marked)
    assert lengths is not None
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    assert np.array_equal(values.reshape(5, 7).T, marked)
    assert all(length > 0 for length in lengths[1:])


@given(st.integers(MOST_RUNS - 2, MOST_RUNS + 2))
def test_run_lengths_have_a_bound(changes: int) -> None:
    marked = np.zeros((1, 5000), np.bool_)
    marked[0, 1 : changes + 1 : 2] = True
    runs = 1 + int((marked[0, 1:] != marked[0, :-1]).sum())
    lengths = run_lengths(marked)
    assert (lengths is None) == (runs > MOST_RUNS)


def test_a_running_engine_publishes_the_outline_of_what_was_planted(tmp_path: Path) -> None:
    """Through the real field finder, crop, runtime, judge and concluder: a mask that marks red, and a red disc."""
    write_tiny_bundle(tmp_path / "tiny", (QUALITY, POLYP), size=SIZE)
    pipeline = Pipeline(name="polyps", bundles=(BundleChoice(path="tiny"),), folder=str(tmp_path))
    sink = CollectingSink()
    with_noise = [_red_disc(seed) for seed in range(30)]
    assemble(pipeline, ScriptedSource(with_noise), [sink], live=False).run()
    result = sink.frames[-1].masks["polyp"]
    assert result.regions == 1
    assert np.array(result.box) == pytest.approx(np.array([160, 150, 100, 80]), abs=3)
    assert result.share == pytest.approx(np.pi * 50 * 40 / (480 * 360), rel=0.04)
    assert sink.frames[-1].heads.keys() == {"quality"}


def _red_disc(seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(-12, 13, (360, 480, 3))
    pixels = np.asarray(np.clip(noise + np.array([100, 90, 80]), 30, 240), np.uint8)
    disc = cv2.ellipse(np.zeros((360, 480), np.uint8), (210, 190), (50, 40), 0, 0, 360, 255, -1)
    pixels[disc > 0, 0] += 90
    return pixels
