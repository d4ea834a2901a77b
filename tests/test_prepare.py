"""The preparer: when it looks for the field, and what that may delay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scopeline.bundle import Input
from scopeline.crop import CropKind
from scopeline.field_tracker import FieldTracker
from scopeline.frame import Frame
from scopeline.picture import picture_from_rgb
from scopeline.prepare import Prepared, Preparer
from scopeline.simulation.procedure import simulate_procedure
from scopeline.simulation.renderer import Renderer

_INPUT = Input(width=64, height=64, crop=CropKind.INSCRIBED)
_COUNT = 24


def _frames(width: int = 320, height: int = 240, first: int = 0) -> Iterator[Frame]:
    """Ten a second: each is due to be looked at."""
    procedure = simulate_procedure(
        seed=11, duration_s=20.0, fps=10, width=width, height=height, screen="hd-circle"
    )
    renderer = Renderer(procedure)
    for number in range(first, first + _COUNT):
        yield Frame(number, 0, number / 10, picture_from_rgb(renderer.render(60 + number)))


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(_frames())


def _told(found: list[Prepared]) -> list[tuple[object, ...]]:
    return [(each.seq, each.field, each.event, each.reason) for each in found]


def test_what_a_look_finds_holds_from_the_next_frame_on(frames: list[Frame]) -> None:
    tracker, preparer = FieldTracker(), Preparer([_INPUT], FieldTracker())
    before: list[object] = [None]
    for frame in frames:
        prepared = preparer.prepare(frame)
        if frame.seq > 0:
            assert prepared.field == before[-1]
        tracker.observe(frame.picture, frame.time_s)
        before.append(tracker.field)
    assert before[-1] is not None


def test_whoever_catches_up_early_gets_the_same_as_who_does_not(frames: list[Frame]) -> None:
    late, early = (Preparer([_INPUT], FieldTracker()) for _ in range(2))
    caught_up = []
    for frame in frames:
        caught_up.append(early.prepare(frame))
        early.catch_up()
    told = _told(caught_up)
    assert told == _told([late.prepare(frame) for frame in frames])
    assert any(event is not None for _, _, event, _ in told)


def test_a_preparer_that_goes_on_from_a_state_tells_what_the_frame_before_gave_rise_to(
    frames: list[Frame],
) -> None:
    whole = Preparer([_INPUT], FieldTracker())
    wanted = _told([whole.prepare(frame) for frame in frames])
    cut = next(place for place, (_, _, event, _) in enumerate(wanted) if event is not None)
    first, second = (Preparer([_INPUT], FieldTracker()) for _ in range(2))
    for frame in frames[:cut]:
        first.prepare(frame)
    second.restore(first.state())
    assert _told([second.prepare(frame) for frame in frames[cut:]]) == wanted[cut:]


def test_a_signal_of_another_size_loses_its_field_with_its_first_frame(frames: list[Frame]) -> None:
    preparer = Preparer([_INPUT], FieldTracker())
    assert [preparer.prepare(frame) for frame in frames][-1].field is not None
    prepared = preparer.prepare(next(_frames(640, 480, first=_COUNT)))
    assert prepared.field is None
    assert prepared.event is not None
    assert prepared.event.kind == "lost"


def test_a_field_that_nobody_was_told_of_is_not_told_lost(frames: list[Frame]) -> None:
    whole, cut_short = (Preparer([_INPUT], FieldTracker()) for _ in range(2))
    told = _told([whole.prepare(frame) for frame in frames])
    locked = next(place for place, (_, _, event, _) in enumerate(told) if event is not None)
    for frame in frames[:locked]:  # the look that finds it is at the last of these
        cut_short.prepare(frame)
    prepared = cut_short.prepare(next(_frames(640, 480, first=locked)))
    assert (prepared.field, prepared.event) == (None, None)
