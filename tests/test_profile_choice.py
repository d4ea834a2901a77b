"""Which profile a found field is: taken only while it agrees, and never believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scopeline.config import FieldRule
from scopeline.errors import ConfigError
from scopeline.field_of_view import FieldOfView, Shape
from scopeline.field_tracker import FieldEvent, FieldTracker
from scopeline.overlay import Overlay, OverlayKind
from scopeline.picture import Pixels, picture_from_rgb
from scopeline.profile_choice import AGREES_AT, AUTO, ProfileChoice, load_choice, outline_iou
from scopeline.scope_profile import PinnedOverlay, ScopeProfile
from scopeline.shipped import shipped_scopes
from scopeline.simulation.screen import Screen, random_screen
from scopeline_calibration.profile_suite import read_drawn, watch

WIDTH, HEIGHT = 360, 288


def _box(x: int, width: int, *, signal: tuple[int, int] = (WIDTH, HEIGHT)) -> FieldOfView:
    return FieldOfView(1, Shape.RECTANGLE, x, 20, width, 240, *signal)


def _profile(x: int, width: int, **more: object) -> ScopeProfile:
    return ScopeProfile(
        name="planted",
        signal=(WIDTH, HEIGHT),
        shape=Shape.RECTANGLE,
        box=(x, 20, width, 240),
        **more,  # type: ignore[arg-type]
    )


def _screen(shape: str, seed: int) -> Screen:
    return random_screen(np.random.default_rng(seed), shape, WIDTH, HEIGHT, guide=False, text=False)


def _lit(screen: Screen) -> Pixels:
    _, _, width, height = screen.field_box
    return screen.compose(np.full((height, width, 3), (190, 90, 70), np.uint8), 0.0)


def _profile_of(screen: Screen) -> ScopeProfile:
    return ScopeProfile(name="planted", signal=(WIDTH, HEIGHT), shape=Shape.RECTANGLE, box=screen.field_box)


def _run(
    tracker: FieldTracker, picture_at: Callable[[float], Pixels], start_s: float, end_s: float
) -> list[FieldEvent]:
    events = []
    for step in range(round((end_s - start_s) * 10)):
        time_s = start_s + step / 10
        event = tracker.observe(picture_from_rgb(picture_at(time_s)), time_s)
        if event is not None:
            events.append(event)
    return events


def test_the_iou_is_of_outlines_and_not_of_boxes() -> None:
    full = FieldOfView(1, Shape.FULL, 0, 0, 200, 200, 200, 200)
    corners = ((50, 0), (150, 0), (200, 50), (200, 150), (150, 200), (50, 200), (0, 150), (0, 50))
    octagon = replace(full, shape=Shape.OCTAGON, outline=corners)
    assert full.iou(octagon) == 1.0
    assert outline_iou(full, octagon) == pytest.approx(1 - 4 * 0.5 * 50 * 50 / 200**2, abs=0.01)


def test_a_profile_that_agrees_takes_the_place_of_what_was_found() -> None:
    choice = ProfileChoice({"mine": _profile(40, 280)}).settle(_box(41, 279))
    assert (choice.profile, choice.field.box) == ("mine", (40, 20, 280, 240))
    assert "mine" in choice.text


def test_of_several_that_agree_the_best_is_taken() -> None:
    choice = ProfileChoice({"near": _profile(42, 280), "nearest": _profile(40, 280)})
    assert choice.settle(_box(40, 280)).profile == "nearest"


def test_a_profile_that_does_not_agree_is_refused_and_the_reason_said() -> None:
    choice = ProfileChoice({"other": _profile(60, 260)}).settle(_box(40, 280))
    assert (choice.profile, choice.field.box) == (None, (40, 20, 280, 240))
    assert "other" in choice.text
    assert str(AGREES_AT) in choice.text


def test_a_profile_of_another_signal_size_is_not_even_compared() -> None:
    found = _box(40, 280, signal=(2 * WIDTH, 2 * HEIGHT))
    choice = ProfileChoice({"half": _profile(20, 140)}).settle(found)
    assert choice.profile is None
    assert "720x576" in choice.text


def test_overlays_stay_as_found_and_text_is_the_profiles() -> None:
    guide = Overlay(OverlayKind.SCOPE_GUIDE, 50, 200, 60, 50)
    pinned = (
        PinnedOverlay(kind=OverlayKind.TEXT, box=(60, 30, 80, 20)),
        PinnedOverlay(kind=OverlayKind.BLACK_BOX, box=(200, 100, 60, 60)),
    )
    choice = ProfileChoice({"mine": _profile(40, 280, overlays=pinned)})
    kinds = [
        overlay.kind for overlay in choice.settle(replace(_box(40, 280), overlays=(guide,))).field.overlays
    ]
    assert kinds == [OverlayKind.SCOPE_GUIDE, OverlayKind.TEXT]


def test_text_beside_the_field_covers_nothing_of_it() -> None:
    beside = PinnedOverlay(kind=OverlayKind.TEXT, box=(2, 20, 30, 20))
    within = PinnedOverlay(kind=OverlayKind.TEXT, box=(60, 30, 80, 20))
    field = _profile(40, 280, overlays=(beside, within)).field(1, WIDTH, HEIGHT)
    assert [overlay.box for overlay in field.overlays] == [(60, 30, 80, 20)]


def test_the_tracker_says_which_profile_it_took() -> None:
    screen = _screen("rectangle", 3)
    tracker = FieldTracker(choice=ProfileChoice({"mine": _profile_of(screen)}))
    events = _run(tracker, lambda _: _lit(screen), 0, 8)
    assert [(event.kind, event.profile) for event in events] == [("locked", "mine")]
    assert tracker.field is not None
    assert tracker.field.box == screen.field_box


def test_without_a_fitting_profile_the_tracker_finds_what_it_finds_alone() -> None:
    screen, other = _screen("rectangle", 3), _screen("rectangle", 5)
    alone, choosing = FieldTracker(), FieldTracker(choice=ProfileChoice({"other": _profile_of(other)}))
    expected = _run(alone, lambda _: _lit(screen), 0, 4)
    events = _run(choosing, lambda _: _lit(screen), 0, 4)
    assert [(e.kind, e.time_s, e.field) for e in events] == [(e.kind, e.time_s, e.field) for e in expected]
    assert events[0].profile is None
    assert "other" in events[0].text


def test_a_profile_is_given_up_when_the_signal_becomes_another() -> None:
    first, second = _screen("rectangle", 3), _screen("circle", 4)
    tracker = FieldTracker(choice=ProfileChoice({"first": _profile_of(first)}))
    _run(tracker, lambda _: _lit(first), 0, 10)
    events = _run(tracker, lambda _: _lit(second), 10, 40)
    assert events[-1].profile is None
    assert tracker.field is not None
    assert tracker.field.iou(FieldOfView(9, Shape.RECTANGLE, *second.field_box, WIDTH, HEIGHT)) >= 0.97


def test_a_profile_recognised_again_is_no_new_field() -> None:
    screen = _screen("rectangle", 3)
    tracker = FieldTracker(choice=ProfileChoice({"mine": _profile_of(screen)}))
    lit = _lit(screen)
    half = lit.copy()
    half[:, WIDTH // 2 :] = 0
    assert [event.profile for event in _run(tracker, lambda _: lit, 0, 5)] == ["mine"]
    time_s, events = 5.0, []
    while tracker.state().locked is not None and time_s < 60:
        events += _run(tracker, lambda _: half, time_s, time_s + 0.1)
        time_s += 0.1
    assert tracker.state().locked is None  # given up, and before something else is found the light comes back
    events += _run(tracker, lambda _: lit, time_s, time_s + 10)
    assert tracker.state().locked is not None
    assert events == []


def test_state_handed_to_another_tracker_keeps_the_profile() -> None:
    screen = _screen("rectangle", 3)
    choice = ProfileChoice({"mine": _profile_of(screen)})
    first, second = FieldTracker(choice=choice), FieldTracker(choice=choice)
    _run(first, lambda _: _lit(screen), 0, 5)
    second.restore(first.state())
    assert not _run(second, lambda _: _lit(screen), 5, 12)
    assert second.field == first.field


def test_the_shipped_profiles_can_all_be_chosen_from() -> None:
    odd = FieldOfView(1, Shape.FULL, 0, 0, 1000, 999, 1000, 999)
    assert load_choice(shipped_scopes()).settle(odd).profile is None


@pytest.mark.parametrize(
    "clip", ["bagls_005.mp4", "bagls_133.mp4", "bagls_220.mp4", "imes_p1_seq1_5fps.mp4", "polypgen_seq19.mp4"]
)
def test_on_real_clips_the_profile_that_belongs_to_them_is_taken_and_no_other(
    data_dir: Path, clip: str
) -> None:
    boxes = Path(__file__).parent / "data" / "scope_boxes.csv"
    drawn = next(each for each in read_drawn(boxes) if each.clip == clip)
    taken = watch(data_dir / "videos" / clip, drawn, load_choice(shipped_scopes()))
    assert taken.profiles[-1] == drawn.profile
    assert not taken.is_wrong
    assert taken.chosen_iou >= taken.found_iou - 0.005


def test_profiles_are_recognised_unless_a_pipeline_says_none() -> None:
    assert FieldRule().profile == AUTO


def test_boxes_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("clip,x\na.mp4,1\n")
    with pytest.raises(ConfigError, match="wanted a CSV"):
        read_drawn(tmp_path / "boxes.csv")
