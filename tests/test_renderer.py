"""The rendered procedure shows what its truth says, the same way every time."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from scopeline.errors import SinkError
from scopeline.picture import rgb_pixels
from scopeline.simulation.barcode import read
from scopeline.simulation.film import render_video
from scopeline.simulation.mucosa import ANATOMY, paint_wall
from scopeline.simulation.procedure import Disturbance, Procedure, TrueSegment, simulate_procedure
from scopeline.simulation.renderer import Renderer
from scopeline.simulation.scene import random_scene, scene_views
from scopeline.simulation.view import Look, Pose, Tunnel

WIDTH, HEIGHT, FPS = 320, 240, 10.0


def procedure_with(*disturbances: Disturbance, still: tuple[tuple[float, float], ...] = ()) -> Procedure:
    """Eight seconds in one place, with what the test plants."""
    return Procedure(
        seed=4, fps=FPS, duration_s=8.0, width=WIDTH, height=HEIGHT, screen="sd-octagon",
        segments=(TrueSegment("transverse", 0.0, 8.0, 1),), disturbances=disturbances, static_stretches=still,
    )  # fmt: skip


def field_of(renderer: Renderer, index: int) -> np.ndarray:
    """The field of a whole frame, without the clock, the position box and the bar code around it."""
    x, y, width, height = renderer.screen.field_box
    return renderer.render(index)[y : y + height // 2, x + width // 3 : x + width]


def test_frames_can_be_asked_for_in_any_order() -> None:
    procedure = simulate_procedure(seed=2, duration_s=12, fps=FPS, width=WIDTH, height=HEIGHT)
    forwards, backwards = Renderer(procedure), Renderer(procedure)
    indices = [3, 50, 51, 90]
    wanted = {index: forwards.render(index) for index in indices}
    for index in reversed(indices):
        assert np.array_equal(backwards.render(index), wanted[index])


def test_every_frame_carries_its_number() -> None:
    renderer = Renderer(procedure_with(Disturbance("black", 2.0, 3.0)))
    for index in (0, 7, 25, 79):
        assert read(renderer.render(index)) == index


def test_the_picture_moves_smoothly() -> None:
    renderer = Renderer(procedure_with())
    pictures = [cv2.GaussianBlur(field_of(renderer, index), (0, 0), 3).astype(float) for index in range(30)]
    steps = [np.abs(a - b).mean() for a, b in itertools.pairwise(pictures)]
    assert min(steps) > 0
    assert max(steps) < 12


def test_the_tunnel_has_no_seam() -> None:
    """A seam would be a sharp straight edge that a smooth wall does not have, wherever the lumen lies."""
    tunnel = Tunnel("sigmoid", 1, 5, Look(), 320, 256)
    tunnel._colour[:] = 120
    tunnel._gloss[:] = 0
    for angle in np.linspace(0, 6, 13):
        pose = Pose(travel=3.0, roll=1.1, lumen=(0.7 * float(np.cos(angle)), 0.6 * float(np.sin(angle))))
        light = tunnel.view(pose).astype(np.int16)
        assert np.abs(np.diff(light, axis=0)).max() < 14
        assert np.abs(np.diff(light, axis=1)).max() < 14


def test_a_frozen_processor_repeats_the_very_same_field_while_its_frames_go_on() -> None:
    renderer = Renderer(procedure_with(Disturbance("freeze", 2.0, 4.0)))
    frozen = [field_of(renderer, index) for index in range(19, 40)]
    assert all(np.array_equal(frozen[0], each) for each in frozen)
    assert not np.array_equal(field_of(renderer, 40), frozen[0])
    assert not np.array_equal(field_of(renderer, 18), frozen[0])
    assert read(renderer.render(25)) == 25


def test_a_scope_held_still_shows_one_scene_but_never_the_same_pixels() -> None:
    renderer = Renderer(procedure_with(still=((2.0, 6.0),)))
    first, last = field_of(renderer, 22), field_of(renderer, 58)
    assert not np.array_equal(first, last)
    assert np.abs(first.astype(int) - last).mean() < 3
    assert np.abs(first.astype(int) - field_of(renderer, 79)).mean() > 6


def test_a_black_signal_is_black_but_for_the_bar_code() -> None:
    renderer = Renderer(procedure_with(Disturbance("black", 2.0, 3.0)))
    assert not renderer.render(25)[: HEIGHT - 32].any()


@pytest.mark.parametrize("kind", ["blur", "red_out", "fog"])
def test_detail_is_gone_in_disturbances_that_hide_it(kind: str) -> None:
    clear, spoilt = Renderer(procedure_with()), Renderer(procedure_with(Disturbance(kind, 2.0, 3.0)))
    for index in (20, 25, 29):
        before, after = field_of(clear, index), field_of(spoilt, index)
        assert (
            cv2.Laplacian(after[..., 1], cv2.CV_32F).var()
            < 0.5 * cv2.Laplacian(before[..., 1], cv2.CV_32F).var()
        )


def test_light_is_wrong_in_disturbances_of_light() -> None:
    clear = field_of(Renderer(procedure_with()), 25).mean()
    assert field_of(Renderer(procedure_with(Disturbance("dark", 2.0, 3.0))), 25).mean() < 0.3 * clear
    assert field_of(Renderer(procedure_with(Disturbance("glare", 2.0, 3.0))), 25).mean() > 1.15 * clear


@pytest.mark.parametrize("organ", list(ANATOMY))
def test_a_wall_is_seamless_in_both_directions(organ: str) -> None:
    wall = paint_wall(organ, 1, 7, size_px=256).colour.astype(float)
    for axis in (0, 1):
        across = np.abs(np.take(wall, 0, axis) - np.take(wall, -1, axis)).mean()
        inside = np.abs(np.diff(wall, axis=axis)).mean(axis=(0, 1, 2) if axis else None)
        assert across < 4 * inside + 2


def test_redness_rises_with_the_grade() -> None:
    def redness(mes: int) -> float:
        walls = [paint_wall("rectum", mes, seed, size_px=128).colour.astype(float) for seed in range(3)]
        return float(np.mean([wall[..., 0].mean() / wall[..., 1:].mean() for wall in walls]))

    grades = [redness(mes) for mes in range(3)]
    assert grades == sorted(grades)
    assert redness(3) > grades[1]


def test_only_the_worst_grade_has_large_pale_ulcers() -> None:
    def ulcerated(mes: int) -> float:
        wall = cv2.GaussianBlur(paint_wall("rectum", mes, 3, size_px=256).colour, (0, 0), 4).astype(float)
        return float(
            np.mean((wall[..., 1] > 120) & (wall[..., 0] < 1.5 * wall[..., 1]) & (wall[..., 2] < 170))
        )

    assert ulcerated(3) > 0.05
    assert ulcerated(2) < 0.01
    assert ulcerated(1) < 0.01


def test_scenes_cover_every_label_and_come_at_the_wanted_size() -> None:
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng, spoilt_share=0.3) for _ in range(200)]
    assert {scene.organ for scene in scenes} == {"outside", *ANATOMY}
    assert {scene.mes for scene in scenes} == {None, 0, 1, 2, 3}
    assert 0.2 < np.mean([not scene.usable for scene in scenes]) < 0.4
    for scene in scenes[:6]:
        views = scene_views(scene, rng, size_px=64, count=3)
        assert [view.shape for view in views] == [(64, 64, 3)] * 3
        assert not np.array_equal(views[0], views[1])


def test_the_film_holds_every_frame_in_order_with_its_truth_beside_it(tmp_path: Path) -> None:
    procedure = simulate_procedure(seed=1, duration_s=4, fps=FPS, width=WIDTH, height=HEIGHT)
    done: list[int] = []
    video, *truth = render_video(procedure, tmp_path / "case.mp4", progress=done.append)
    with av.open(str(video), "r") as container:
        pictures = list(container.decode(video=0))
        codec = container.streams.video[0].codec_context.name
    assert codec == "h264"
    assert [read(rgb_pixels(picture)) for picture in pictures] == list(range(40))
    assert [round(float(picture.time or 0), 3) for picture in pictures] == [k / 10 for k in range(40)]
    assert done == list(range(1, 41))
    assert all(path.exists() for path in truth)


@pytest.mark.parametrize(
    ("name", "complaint"), [("film.txt", "ending in one of"), ("no/film.mp4", "No such")]
)
def test_a_film_that_cannot_be_written_is_refused_before_it_is_rendered(
    tmp_path: Path, name: str, complaint: str
) -> None:
    rendered: list[int] = []
    procedure = simulate_procedure(seed=3, duration_s=20, fps=5, width=160, height=120)
    with pytest.raises(SinkError, match=complaint):
        render_video(procedure, tmp_path / name, progress=rendered.append)
    assert rendered == []


def test_an_odd_size_cannot_be_filmed(tmp_path: Path) -> None:
    procedure = simulate_procedure(duration_s=4, fps=FPS, width=321, height=240)
    with pytest.raises(ValueError, match="321x240"):
        render_video(procedure, tmp_path / "case.mp4")
