"""Reader study: planted truth comes out, and every statistic equals a computation by hand or in the literature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scopeline.errors import ConfigError
from scopeline_training.examples import UNKNOWN
from scopeline_training.reader_report import write_study
from scopeline_training.reader_study import CONSENSUS, MEAN, Comparison, Study, agreement, holm, study
from scopeline_training.readings import Labels, Readings, consensus, read_readings


def flipped(truth: Labels, share: float, seed: int) -> Labels:
    """The truth of two labels with exactly that share of answers wrong."""
    wrong = np.random.default_rng(seed).permutation(len(truth))[: round(share * len(truth))]
    said = truth.copy()
    said[wrong] = 1 - said[wrong]
    return said


def readings(model: Labels, truth: Labels, groups: Labels | None = None, **readers: Labels) -> Readings:
    names = tuple(str(number) for number in range(len(truth)))
    return Readings(
        names, np.arange(len(truth)) if groups is None else groups, truth, model, readers, ("no", "yes"), None
    )


def found(of: Study, reader: str, measure: str = "balanced accuracy") -> Comparison:
    return next(each for each in of.comparisons if (each.reader, each.measure) == (reader, measure))


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_a_planted_difference_is_found_and_a_reader_like_the_model_has_none() -> None:
    truth = np.tile([0, 1], 200)
    model = flipped(truth, 0.1, 1)
    result = study(readings(model, truth, weak=flipped(truth, 0.3, 2), twin=model.copy()))
    weak, twin = found(result, "weak"), found(result, "twin")
    assert weak.difference.value == pytest.approx(0.2, abs=0.03)
    assert weak.difference.low > 0
    assert weak.p_holm is not None
    assert weak.p_holm < 0.01
    assert (twin.difference.value, twin.difference.low, twin.difference.high) == (0, 0, 0)
    assert twin.p == twin.p_holm == 1


def test_the_interval_of_a_paired_difference_is_that_of_the_formula() -> None:
    """Of 400 positive cases the model alone is right in 80, the reader alone in 20 (Newcombe's variance)."""
    truth = np.concatenate([np.ones(400, np.int64), np.zeros(50, np.int64)])
    model, reader = truth.copy(), truth.copy()
    reader[:80] = 0
    model[80:100] = 0
    difference = found(study(readings(model, truth, r=reader)), "r", "sensitivity").difference
    half = 1.96 * np.sqrt((0.2 + 0.05 - 0.15**2) / 400)
    assert difference.value == pytest.approx(0.15)
    assert (difference.low, difference.high) == pytest.approx((0.15 - half, 0.15 + half), abs=0.008)


def test_cases_of_one_patient_are_no_independent_witnesses() -> None:
    rng = np.random.default_rng(4)
    truth = np.repeat(np.tile([0, 1], 15), 10)
    reader = np.where(
        np.repeat(rng.random(30) < 0.3, 10), 1 - truth, truth
    )  # a patient is all right or all wrong
    alone = found(study(readings(truth, truth, r=reader)), "r").difference
    grouped = found(study(readings(truth, truth, np.repeat(np.arange(30), 10), r=reader)), "r").difference
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_holm_equals_the_hand_computation() -> None:
    # Sorted: .005 x 4, .010 x 3, .030 x 2, .040 x 1; none may be smaller than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]


def test_holm_goes_over_the_readers_but_not_over_consensus_and_mean() -> None:
    truth = np.tile([0, 1], 100)
    result = study(
        readings(flipped(truth, 0.1, 0), truth, **{f"r{n}": flipped(truth, 0.2, n) for n in (1, 2, 3)})
    )
    raw = [found(result, f"r{n}").p for n in (1, 2, 3)]
    assert [found(result, f"r{n}").p_holm for n in (1, 2, 3)] == pytest.approx(holm(raw))
    assert found(result, CONSENSUS).p_holm is None
    assert found(result, MEAN).p_holm is None


def test_the_mean_of_the_readers_is_their_mean() -> None:
    truth = np.tile([0, 1], 100)
    result = study(readings(truth, truth, a=flipped(truth, 0.1, 1), b=flipped(truth, 0.3, 2)))
    mean = (found(result, "a").human.value + found(result, "b").human.value) / 2
    assert found(result, MEAN).human.value == pytest.approx(mean)
    assert found(result, MEAN).difference.value == pytest.approx(1 - mean)


def test_fleiss_kappa_equals_the_published_example() -> None:
    """Ten cases, fourteen readers, five labels: 0.210 (the worked example of Fleiss' kappa)."""
    counts = np.array([
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ])  # fmt: skip
    assert agreement(counts)[0] == pytest.approx(0.210, abs=0.0005)


def test_both_agreements_equal_the_hand_computation() -> None:
    # Agreed in 3 of 4; shares 7/8 and 1/8; by chance 50/64 (Fleiss) and 14/64 (Gwet).
    fleiss, gwet = agreement(np.array([[2, 0], [2, 0], [2, 0], [1, 1]]))
    assert fleiss == pytest.approx((48 - 50) / (64 - 50))
    assert gwet == pytest.approx((48 - 14) / (64 - 14))


def test_a_single_reader_has_nobody_to_agree_with() -> None:
    truth = np.tile([0, 1], 10)
    result = study(readings(truth, truth, only=truth))
    assert np.isnan([result.fleiss, result.gwet]).all()


def test_most_votes_win_and_a_tie_goes_to_the_most_senior_of_those_tied() -> None:
    cases = readings(
        np.zeros(4, np.int64), np.zeros(4, np.int64),
        senior=np.array([1, 0, UNKNOWN, UNKNOWN]),
        second=np.array([0, 1, 1, UNKNOWN]),
        third=np.array([0, UNKNOWN, 0, UNKNOWN]),
    )  # fmt: skip
    assert consensus(cases).tolist() == [0, 0, 1, UNKNOWN]


def test_a_reader_is_compared_on_the_cases_that_were_read() -> None:
    truth = np.tile([0, 1], 50)
    half = truth.copy()
    half[50:] = UNKNOWN
    model = truth.copy()
    model[50:] = 1 - model[50:]  # wrong only where this reader did not read
    comparison = found(study(readings(model, truth, half=half)), "half")
    assert (comparison.cases, comparison.difference.value) == (50, 0)


def test_a_file_is_read_and_the_senior_comes_first(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.csv",
        "case,group,truth,model,anna,ben\n1,p1,mes0,mes0,mes0,mes1\n2,p1,mes1,mes1,,mes1\n",
    )
    read = read_readings(path, senior="ben")
    assert list(read.readers) == ["ben", "anna"]
    assert read.labels == ("mes0", "mes1")
    assert read.readers["anna"].tolist() == [0, UNKNOWN]
    assert read.groups.tolist() == [0, 0]


def test_a_probability_becomes_an_answer_at_the_threshold(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.csv",
        "case,group,truth,model_probability,anna\n1,,no,0.2,no\n2,,yes,0.6,yes\n3,,yes,0.4,no\n",
    )
    assert read_readings(path).model.tolist() == [0, 1, 0]
    assert read_readings(path, threshold=0.3).model.tolist() == [0, 1, 1]
    assert read_readings(path, labels=["yes", "no"]).truth.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,truth,model,anna\n1,a,a,a\n", "wanted the columns case, group"),
        ("case,group,truth,model\n1,p,a,a\n", "one of a name of its own for each reader"),
        ("case,group,truth,anna\n1,p,a,a\n", "one of model and model_probability"),
        ("case,group,truth,model,anna\n1,p,,a,a\n", "line 2, truth"),
        ("case,group,truth,model_probability,anna\n1,p,a,1.5,b\n", "from 0 to 1, got '1.5'"),
        ("case,group,truth,model_probability,anna\n1,p,a,0.5,b\n2,p,c,0.5,c\n", "is for two labels, got 3"),
        ("case,group,truth,model,anna\n", "at least one row"),
    ],
)
def test_a_file_that_is_not_wanted_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_readings(write(tmp_path / "r.csv", text))


def test_the_report_has_its_tables_and_plots(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["case,group,truth,model_probability,senior,novice"]
    for number in range(60):
        truth = number % 2
        lines.append(
            f"c{number},p{number // 3},{truth},{np.clip(truth * 0.6 + rng.random() * 0.4, 0, 1):.3f},{truth},"
            f"{truth if rng.random() < 0.7 else 1 - truth}"
        )
    path = write(tmp_path / "r.csv", "\n".join(lines) + "\n")
    write_study(
        tmp_path / "out", read_readings(path), source=path.name, command="scopeline evaluate readers r.csv"
    )
    files = {each.name for each in (tmp_path / "out").iterdir()}
    assert files == {
        "report.html", "report.pdf", "tables.xlsx", "readers.csv", "cases.csv", "run.csv", "differences.png",
        "roc_readers.png",
    }  # fmt: skip
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Fleiss&#39; kappa" in page
    assert "Research use only" in page
