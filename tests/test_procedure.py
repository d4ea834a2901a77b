"""A simulated withdrawal keeps its promises for any seed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from scopeline.simulation.procedure import KINDS, ORGANS, Procedure, simulate_procedure, spoilt_s, write_truth

SEEDS = range(25)


@pytest.fixture(params=SEEDS, scope="module")
def procedure(request: pytest.FixtureRequest) -> Procedure:
    return simulate_procedure(seed=request.param)


def test_segments_follow_each_other_without_gaps_and_fill_the_time(procedure: Procedure) -> None:
    assert procedure.segments[0].start_s == 0
    assert procedure.segments[-1].end_s == procedure.duration_s
    for before, after in zip(procedure.segments, procedure.segments[1:], strict=False):
        assert before.end_s == after.start_s


def test_every_segment_lasts_twelve_seconds_or_more(procedure: Procedure) -> None:
    assert min(segment.end_s - segment.start_s for segment in procedure.segments) >= 12


def test_the_course_is_a_withdrawal(procedure: Procedure) -> None:
    organs = [segment.organ for segment in procedure.segments]
    assert organs[0] == organs[-1] == "outside"
    inside = [ORGANS.index(organ) for organ in organs if organ != "outside"]
    assert inside == sorted(inside, reverse=True)
    assert set(inside) == {1, 2, 3, 4, 5}


def test_grades_exist_inside_the_body_only_and_differ_somewhere(procedure: Procedure) -> None:
    for segment in procedure.segments:
        assert (segment.mes is None) == (segment.organ == "outside")
    assert len({segment.mes for segment in procedure.segments} - {None}) >= 2


def test_disturbances_spoil_a_fifth_of_the_time_and_never_a_third_of_a_segment(procedure: Procedure) -> None:
    spoilt = sum(d.end_s - d.start_s for d in procedure.disturbances)
    assert 0.15 <= spoilt / procedure.duration_s <= 0.25
    for segment in procedure.segments:
        assert spoilt_s(segment, procedure.disturbances) < (segment.end_s - segment.start_s) / 3


def test_disturbances_are_short_ordered_and_apart(procedure: Procedure) -> None:
    for before, after in zip(procedure.disturbances, procedure.disturbances[1:], strict=False):
        assert before.end_s < after.start_s
    assert all(0.3 <= d.end_s - d.start_s <= 2.0 for d in procedure.disturbances)
    assert {d.kind for d in procedure.disturbances} <= set(KINDS)


def test_one_scope_stands_still_for_ten_seconds_undisturbed_in_one_segment(procedure: Procedure) -> None:
    ((start_s, end_s),) = procedure.static_stretches
    assert end_s - start_s >= 10
    assert procedure.segment_at(start_s) == procedure.segment_at(end_s)
    assert procedure.segment_at(start_s).mes is not None
    assert not any(d.start_s < end_s and d.end_s > start_s for d in procedure.disturbances)


def test_the_same_seed_gives_the_same_procedure_and_another_seed_another() -> None:
    assert simulate_procedure(seed=5) == simulate_procedure(seed=5)
    assert simulate_procedure(seed=5) != simulate_procedure(seed=6)


def test_truth_of_a_frame_agrees_with_the_segments_and_disturbances() -> None:
    procedure = simulate_procedure(seed=3, fps=10)
    for truth in procedure.truths():
        home = next(s for s in procedure.segments if s.start_s <= truth.time_s < s.end_s)
        spoiling = [d.kind for d in procedure.disturbances if d.start_s <= truth.time_s < d.end_s]
        assert (truth.organ, truth.mes) == (home.organ, home.mes)
        assert truth.usable == (not spoiling)
        assert truth.disturbance == (spoiling[0] if spoiling else None)


def test_a_frame_beyond_the_end_is_refused() -> None:
    procedure = simulate_procedure(duration_s=20, fps=10)
    assert procedure.frame_count == 200
    with pytest.raises(IndexError, match=r"0\.\.199, got 200"):
        procedure.truth_at(200)


@pytest.mark.parametrize("duration_s", [4.0, 20.0, 600.0])
def test_other_durations_scale_the_segments(duration_s: float) -> None:
    procedure = simulate_procedure(duration_s=duration_s)
    shortest = min(segment.end_s - segment.start_s for segment in procedure.segments)
    assert shortest >= 12 * duration_s / 180 - 1e-9


def test_the_written_truth_has_a_row_per_frame_and_per_segment(tmp_path: Path) -> None:
    procedure = simulate_procedure(seed=1, duration_s=30, fps=10)
    frames, segments, whole = write_truth(procedure, tmp_path / "case")
    with frames.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 300
    assert rows[150]["organ"] == procedure.truth_at(150).organ
    with segments.open() as file:
        assert [row["organ"] for row in csv.DictReader(file)] == [s.organ for s in procedure.segments]
    assert json.loads(whole.read_text())["seed"] == 1
