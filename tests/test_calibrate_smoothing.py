"""The smoothing curve: planted sequences, a rule that can be checked by hand, and pipeline files that stay readable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from scopeline.config import load_pipeline
from scopeline.errors import ConfigError
from scopeline.smoothing import GRADE_SMOOTHING, LOCATION_SMOOTHING, SmoothingSettings
from scopeline_calibration.labelled_sequence import LabelledSequence, read_sequences
from scopeline_calibration.pipeline_smoothing import with_smoothing, write_smoothing
from scopeline_calibration.smoothing_check import held_out_rows
from scopeline_calibration.smoothing_commands import calibrate_smoothing
from scopeline_calibration.smoothing_curve import Bounds, SmoothingCurve, choose, curve_of, settings_grid
from scopeline_calibration.smoothing_plot import draw_curve
from scopeline_calibration.smoothing_point import Delays, SmoothingPoint, measure
from scopeline_calibration.smoothing_report import SmoothingReport
from scopeline_calibration.smoothing_suite import LEVELS
from tiny_bundle import write_tiny_pipeline

RESULTS = Path(__file__).parents[1] / "calibration" / "results"
CSV = "sequence,time_s,truth,quality,p_nose,p_larynx\n"


def _sequence(truth: Sequence[int], right: float = 0.95, *, wrong_at: Sequence[int] = ()) -> LabelledSequence:
    """Ten frames a second of a head that gives the true label `right`, and another one at the frames of `wrong_at`."""
    shares = np.full((len(truth), 3), (1 - right) / 2, np.float32)
    shares[np.arange(len(truth)), truth] = right
    for index in wrong_at:
        shares[index] = np.roll(shares[index], 1)
    return LabelledSequence(
        "planted",
        "planted",
        ("a", "b", "c"),
        np.arange(len(truth)) / 10,
        np.array(truth, np.intp),
        shares,
        np.full(len(truth), 0.95),
    )


def _point(flips: float, delay_s: float, *, score: float = 90.0, missed: int = 0) -> SmoothingPoint:
    return SmoothingPoint(
        settings=LOCATION_SMOOTHING,
        flips_per_1000=flips,
        true_flips_per_1000=1.0,
        f1_10=score,
        f1_25=score,
        f1_50=score,
        edit=score,
        delay_s=delay_s,
        delay_p50_s=delay_s,
        delay_p90_s=delay_s,
        missed=missed,
        episodes=100,
        false_s_per_minute=3.0,
    )


def test_a_sure_head_has_the_truths_own_flips_and_misses_nothing() -> None:
    point = measure(LOCATION_SMOOTHING, [_sequence([0] * 300 + [1] * 300)])
    assert point.flips_per_1000 == point.true_flips_per_1000 == pytest.approx(1000 / 600)
    assert (point.missed, point.episodes, point.edit) == (0, 2, 100.0)


def test_a_missed_episode_counts_with_its_whole_length() -> None:
    slow = msgspec.structs.replace(LOCATION_SMOOTHING, confirm_s=500.0)
    point = measure(slow, [_sequence([0] * 300 + [1] * 200)])
    first_s = measure(slow, [_sequence([0] * 300)]).delay_s
    assert point.missed == 1
    assert point.delay_s == pytest.approx((first_s + 19.9) / 2)
    assert point.delay_p90_s is None


def test_more_confirmation_means_fewer_flips_and_a_longer_wait() -> None:
    wrong = [start + frame for start in (200, 400, 800, 1000) for frame in range(20)]
    sequence = _sequence([0] * 600 + [1] * 600, 0.8, wrong_at=wrong)
    hasty, steady = (
        measure(msgspec.structs.replace(LOCATION_SMOOTHING, confirm_s=confirm_s, dwell_s=0.0), [sequence])
        for confirm_s in (0.0, 6.0)
    )
    assert hasty.flips_per_1000 > steady.flips_per_1000
    assert hasty.delay_s < steady.delay_s


def test_on_the_curve_stands_what_nothing_beats() -> None:
    points = [_point(5, 1), _point(2, 3), _point(3, 4), _point(1, 9), _point(2, 3.5)]
    assert curve_of(points) == [True, True, False, True, False]


def test_the_rule_takes_the_quickest_of_the_best_within_the_bound() -> None:
    points = [
        _point(9, 1, score=40), _point(4, 2, score=89.5), _point(2, 3, score=90), _point(1, 4, score=95, missed=5)
    ]  # fmt: skip
    assert choose(points, [True] * 4, Bounds(most_missed=0.01)) == (1, True)
    assert choose(points, [True, False, True, True], Bounds(most_missed=0.01)) == (2, True)
    assert choose(points, [True] * 4, Bounds(most_missed=0.05)) == (3, True)


def test_a_point_that_is_too_slow_for_a_strong_head_is_not_taken() -> None:
    slow, quick = (
        msgspec.structs.replace(_point(2, 3, score=score), by_group={"87.2%": Delays(p50_s=4.0, p90_s=p90_s)})
        for score, p90_s in ((95, 10.4), (90, 9.8))
    )
    missing = msgspec.structs.replace(slow, by_group={"87.2%": Delays(p50_s=4.0, p90_s=None)})
    points = [slow, quick, missing]
    assert choose(points, [True] * 3, Bounds(most_missed=0.01, quick_for="87.2%")) == (1, True)
    assert choose(points, [True] * 3, Bounds(most_missed=0.01)) == (0, True)


def test_a_point_that_flips_more_than_the_truth_is_not_taken() -> None:
    points = [_point(5, 1, score=95), _point(2, 3, score=90)]
    true_flips = points[0].true_flips_per_1000
    assert points[1].flips_per_1000 <= 2 * true_flips < points[0].flips_per_1000
    assert choose(points, [True] * 2, Bounds(most_missed=0.01, flips_of_truth=2.0)) == (1, True)


def test_delays_are_told_for_each_strength_of_the_head() -> None:
    sequences = [_sequence([0] * 300 + [1] * 300)]
    point = measure(LOCATION_SMOOTHING, sequences)
    assert list(point.by_group) == [sequences[0].group]
    assert point.by_group[sequences[0].group].p90_s == point.delay_p90_s


def test_where_nothing_is_within_the_bound_the_fewest_misses_decide() -> None:
    points = [_point(3, 1, missed=9), _point(2, 2, missed=8), _point(1, 3, score=99, missed=9)]
    assert choose(points, [True] * 3, Bounds(most_missed=0.01)) == (1, False)


@pytest.mark.parametrize("base", [LOCATION_SMOOTHING, GRADE_SMOOTHING])
def test_the_grid_holds_the_default_once_and_both_methods(base: SmoothingSettings) -> None:
    grid = settings_grid(base)
    assert grid.count(base) == 1
    assert {settings.method for settings in grid} == {"ema", "hmm"}
    assert len({msgspec.json.encode(settings) for settings in grid}) == len(grid)


def test_labelled_sequences_are_read_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "frames.csv"
    path.write_text(CSV + "a,0.0,nose,0.9,0.8,0.2\na,0.1,,0.9,0.6,0.4\nb,0.0,larynx,1,0.1,0.9\n")
    first, second = read_sequences(path)
    assert (first.name, first.labels, first.truth.tolist()) == ("a", ("nose", "larynx"), [0, -1])
    assert second.probabilities.tolist() == [[pytest.approx(0.1), pytest.approx(0.9)]]


def test_labelled_sequences_are_read_from_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    row = {"sequence": "a", "time_s": 0.5, "truth": "larynx", "probabilities": {"nose": 0.3, "larynx": 0.7}}
    path.write_text(json.dumps(row) + "\n")
    (sequence,) = read_sequences(path)
    assert (sequence.truth.tolist(), sequence.quality.tolist()) == ([1], [1.0])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,0.0,ear,0.9,0.8,0.2\n", "line 2: truth"),
        ("a,0.0,nose,0.9,0.8,0.8\n", "line 2.*sum to 1"),
        ("a,0.5,nose,0.9,0.8,0.2\na,0.1,nose,0.9,0.8,0.2\n", "line 3: time"),
        ("a,soon,nose,0.9,0.8,0.2\n", "line 2: wanted numbers"),
        ("a,0.5,nose,9,0.8,0.2\n", "line 2: quality"),
        ("", "no frame"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_its_line(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "frames.csv"
    path.write_text(CSV + rows)
    with pytest.raises(ConfigError, match=message):
        read_sequences(path)


def test_the_chosen_point_goes_into_a_pipeline_file_and_leaves_the_rest(tmp_path: Path) -> None:
    path = write_tiny_pipeline(tmp_path)
    before = path.read_text()
    head = "organ"
    chosen = msgspec.structs.replace(LOCATION_SMOOTHING, method="hmm", confirm_s=6.0)
    write_smoothing(path, head, chosen, "chosen by hand")
    assert path.read_text().startswith(before.rstrip("\n"))
    assert load_pipeline(path).smoothing[head] == chosen
    write_smoothing(path, head, LOCATION_SMOOTHING, "chosen again")
    assert path.read_text().count("[smoothing.organ]") == 1
    assert path.read_text().count("scopeline calibrate smoothing") == 1
    assert load_pipeline(path).smoothing[head] == LOCATION_SMOOTHING


def test_a_section_in_the_middle_is_replaced_in_its_place() -> None:
    text = 'name = "x"\n\n[smoothing.organ]\ntau_s = 9.0\n\n# about quality\n[quality]\nusable_at = 0.5\n'
    changed = with_smoothing(text, "organ", LOCATION_SMOOTHING, "new")
    assert "tau_s = 9.0" not in changed
    assert changed.index("[smoothing.organ]") < changed.index("# about quality") < changed.index("[quality]")


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    points = (_point(5, 1), _point(2, 3))
    curve = SmoothingCurve(
        points=points,
        on_curve=(True, True),
        chosen=1,
        default=0,
        bounds=Bounds(most_missed=0.01),
        within_bounds=True,
    )
    draw_curve(curve, tmp_path / "curve.png", title="planted")
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_chooses_checks_and_writes(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    lines = ["sequence,time_s,truth,quality,p_good,p_bad"]
    for name in ("one", "two"):
        for frame in range(160):
            truth = int(frame >= 80)
            right = rng.uniform(0.55, 0.95)
            shares = (right, 1 - right) if truth == 0 else (1 - right, right)
            lines.append(f"{name},{frame / 5},{('good', 'bad')[truth]},0.9,{shares[0]},{shares[1]}")
    table = tmp_path / "frames.csv"
    table.write_text("\n".join(lines) + "\n")
    pipeline = write_tiny_pipeline(tmp_path)
    calibrate_smoothing(
        table,
        role="location",
        procedures=1,
        most_missed=None,
        pipeline=pipeline,
        head="organ",
        write=True,
        out=tmp_path,
    )
    report = msgspec.json.decode((tmp_path / "smoothing_location.json").read_bytes(), type=SmoothingReport)
    assert report.chosen_check is not None
    assert (tmp_path / "smoothing_location.png").is_file()
    assert load_pipeline(pipeline).smoothing["organ"] == report.curve.points[report.curve.chosen].settings


def test_h1_to_h3_are_answered_on_seeds_of_their_own() -> None:
    rows, _ = held_out_rows(
        LOCATION_SMOOTHING, weak=LEVELS[0], strong=LEVELS[-1], seeds=[7000], still_seeds=[7001]
    )
    assert [row.name for row in rows] == ["H1", "H1", "H1", "H2", "H2", "H3"]
    assert rows[-1].passed


@pytest.mark.parametrize(("role", "default"), [("location", LOCATION_SMOOTHING), ("grade", GRADE_SMOOTHING)])
def test_the_default_stands_on_the_curve_that_was_printed(role: str, default: SmoothingSettings) -> None:
    if not (RESULTS / f"smoothing_{role}.json").is_file():
        pytest.skip(
            f"no curve yet; run `scopeline calibrate smoothing --role {role} --out calibration/results`"
        )
    report = msgspec.json.decode((RESULTS / f"smoothing_{role}.json").read_bytes(), type=SmoothingReport)
    curve = report.curve
    assert curve.points[curve.default].settings == default
    assert curve.default_is_on_curve
    assert curve.default == curve.chosen
    assert curve_of(curve.points) == list(curve.on_curve)
    assert choose(curve.points, curve.on_curve, curve.bounds) == (curve.chosen, curve.within_bounds)
    assert all("met" in line for line in report.acceptance.get("default", []))
