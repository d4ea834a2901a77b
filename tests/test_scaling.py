"""Planted truth: labels are drawn from known probabilities, so temperature, bias and errors are known beforehand."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from fakes import MES, ORGAN, QUALITY
from scopeline_calibration.head_calibration import calibrate_head
from scopeline_calibration.reliability import (
    balanced_accuracy,
    balanced_statistic,
    bin_count,
    brier_score,
    brier_statistic,
    calibration_error,
    calibration_statistic,
    error_floor,
    grouped_folds,
    log_loss,
    with_interval,
)
from scopeline_calibration.scaling import deserves_bias, fit_scaling

Planted = tuple[NDArray[np.float32], NDArray[np.int64]]


def _planted(count: int, temperature: float, bias: NDArray[np.float64], seed: int = 0) -> Planted:
    """Logits of a network that is overconfident by a temperature, and labels drawn from what it should have said."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2.0, (count, len(bias)))
    said = softmax(logits + bias, axis=1)
    truth = (said.cumsum(axis=1) < rng.uniform(size=(count, 1))).sum(axis=1)
    return (temperature * logits).astype(np.float32), truth.astype(np.int64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_planted_temperature_is_recovered(temperature: float) -> None:
    logits, truth = _planted(4000, temperature, np.zeros(3))
    assert fit_scaling(logits.astype(np.float64), truth, has_bias=False).temperature == pytest.approx(
        temperature, rel=0.08
    )


def test_a_planted_bias_is_recovered_up_to_a_constant() -> None:
    bias = np.array([1.0, 0.0, -0.5, 0.2])
    logits, truth = _planted(8000, 2.0, bias)
    found = fit_scaling(logits.astype(np.float64), truth, has_bias=True)
    assert found.temperature == pytest.approx(2.0, rel=0.08)
    assert np.array(found.bias) - np.mean(found.bias) == pytest.approx(bias - bias.mean(), abs=0.12)


def test_few_groups_few_pictures_or_a_rare_label_give_no_bias() -> None:
    truth = np.arange(2000) % 3
    assert deserves_bias(truth, np.arange(2000) // 10)
    assert not deserves_bias(truth, np.arange(2000) // 100)
    assert not deserves_bias(truth[:299], np.arange(299))
    assert not deserves_bias(np.where(np.arange(2000) < 29, 3, truth), np.arange(2000))


def test_the_fit_is_the_optimum_that_a_search_finds() -> None:
    logits, truth = _planted(300, 1.7, np.zeros(4), seed=3)
    wide = logits.astype(np.float64)
    found = fit_scaling(wide, truth, has_bias=False)
    grid = np.linspace(0.5, 4, 3501)
    losses = [-log_softmax(wide / t, axis=1)[np.arange(300), truth].mean() for t in grid]
    assert found.bias == ()
    assert found.temperature == pytest.approx(grid[int(np.argmin(losses))], abs=2e-3)


def test_a_head_that_is_never_wrong_is_not_believed_beyond_a_bound() -> None:
    truth = np.arange(60) % 2
    assert fit_scaling(np.eye(2)[truth] * 3.0, truth, has_bias=False).temperature == pytest.approx(0.25)


def test_calibration_error_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(1)
    said = rng.dirichlet(np.ones(3), 130)
    truth = rng.integers(0, 3, 130)
    confidence, right = said.max(axis=1), said.argmax(axis=1) == truth
    wanted = 0.0
    ranked = sorted(range(130), key=lambda each: confidence[each])
    for part in range(5):  # 130 pictures in five bins of 26
        rows = ranked[26 * part : 26 * (part + 1)]
        wanted += 26 / 130 * abs(sum(confidence[rows]) / 26 - sum(right[rows]) / 26)
    assert calibration_error(said, truth, bins=5) == pytest.approx(wanted)


def test_the_floor_is_the_error_of_a_perfect_forecaster() -> None:
    rng = np.random.default_rng(7)
    said = rng.dirichlet(np.ones(3), 200)
    errors = []
    for _ in range(50):
        truth = (said.cumsum(axis=1) < rng.uniform(size=(200, 1))).sum(axis=1)
        errors.append(calibration_error(said, truth))
    assert error_floor(said) == pytest.approx(np.mean(errors), rel=0.15)
    assert error_floor(said) > 0.03


def test_brier_and_log_loss_are_those_of_the_definition() -> None:
    said, truth = np.array([[0.7, 0.3], [0.2, 0.8]]), np.array([0, 0])
    assert brier_score(said, truth) == pytest.approx((0.3**2 + 0.3**2 + 0.8**2 + 0.8**2) / 2)
    assert log_loss(said, truth) == pytest.approx(-(np.log(0.7) + np.log(0.2)) / 2)


@pytest.mark.parametrize(("pictures", "bins"), [(10, 5), (300, 6), (5000, 15)])
def test_bins_are_as_many_as_the_pictures_allow(pictures: int, bins: int) -> None:
    assert bin_count(pictures) == bins


def test_resampled_measures_are_the_measures_themselves_on_all_pictures() -> None:
    rng = np.random.default_rng(8)
    said, truth = rng.dirichlet(np.ones(4), 400), rng.integers(0, 3, 400)
    groups = np.arange(400)
    for statistic, measure in (
        (calibration_statistic(said, truth), calibration_error(said, truth)),
        (brier_statistic(said, truth), brier_score(said, truth)),
        (balanced_statistic(said, truth), balanced_accuracy(said, truth)),
    ):
        found = with_interval(statistic, groups)
        assert found.value == pytest.approx(measure)
        assert found.low < found.high


def test_twenty_copies_of_a_picture_are_no_twenty_witnesses() -> None:
    rng = np.random.default_rng(2)
    said, truth = rng.dirichlet(np.ones(2), 40), rng.integers(0, 2, 40)
    alone = with_interval(brier_statistic(said, truth), np.arange(40))
    copies = np.repeat(np.arange(40), 20)
    together = with_interval(brier_statistic(said[copies], truth[copies]), copies)
    believed = with_interval(brier_statistic(said[copies], truth[copies]), np.arange(800))
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert believed.high - believed.low < 0.5 * (alone.high - alone.low)


def test_no_group_lies_on_both_sides_and_labels_are_spread() -> None:
    rng = np.random.default_rng(4)
    groups = rng.integers(0, 60, 300)
    truth = (groups % 3).astype(np.int64)
    folds = grouped_folds(truth, groups, 5, 0)
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(300))
    for fit, test in folds:
        assert not set(groups[fit]) & set(groups[test])
        assert set(truth[test]) == {0, 1, 2}


def test_an_overconfident_head_is_calibrated_on_groups_that_were_not_fitted_on() -> None:
    logits, truth = _planted(1500, 3.0, np.zeros(3))
    found = calibrate_head(ORGAN, logits, truth, np.arange(1500) // 3)
    assert found.outcome == "calibrated"
    assert found.measured_before is not None
    assert found.measured_after is not None
    assert found.measured_before.error.value > 0.1
    assert found.measured_after.error.value <= 0.05
    assert found.after.temperature == pytest.approx(3.0, rel=0.1)


def test_shuffled_labels_make_a_head_uninformative_and_not_calibrated() -> None:
    logits, truth = _planted(1500, 3.0, np.zeros(3))
    shuffled = np.random.default_rng(0).permutation(truth)
    found = calibrate_head(ORGAN, logits, shuffled, np.arange(1500))
    assert found.outcome == "uninformative"


def test_a_head_that_is_calibrated_already_keeps_what_it_has() -> None:
    logits, truth = _planted(2000, 1.0, np.zeros(2), seed=5)
    found = calibrate_head(QUALITY, logits, truth, np.arange(2000))
    assert found.outcome in ("kept: no better", "calibrated")
    if found.outcome == "calibrated":
        assert found.after.temperature == pytest.approx(1.0, abs=0.1)


def test_few_pictures_are_too_few_to_say_anything() -> None:
    logits, truth = _planted(30, 2.0, np.zeros(4))
    assert calibrate_head(MES, logits, truth, np.arange(30)).outcome == "too few pictures"


def test_few_groups_are_told_from_few_pictures() -> None:
    logits, truth = _planted(400, 2.0, np.zeros(4))
    assert calibrate_head(MES, logits, truth, np.arange(400) % 8).outcome == "too few groups"


def test_a_head_of_which_one_label_is_known_only_is_said_to_be_so() -> None:
    logits, _ = _planted(400, 2.0, np.zeros(4))
    found = calibrate_head(MES, logits, np.ones(400, np.int64), np.arange(400))
    assert found.outcome == "one label only"


def test_where_so_few_pictures_could_not_show_the_bar_the_outcome_says_so() -> None:
    logits, truth = _planted(64, 3.0, np.zeros(4), seed=2)
    found = calibrate_head(MES, logits, truth, np.arange(64))
    assert found.measured_after is not None
    assert found.measured_after.error.value > 0.05
    assert found.measured_after.floor > 0.05
    assert found.outcome == "kept: too few to tell"


def test_grades_are_in_order_and_each_step_has_its_own_error() -> None:
    logits, truth = _planted(800, 2.0, np.zeros(4), seed=6)
    found = calibrate_head(MES, logits, truth, np.arange(800), quality=np.linspace(0, 1, 800))
    assert found.disordered == 0
    assert [each.label for each in found.cumulative] == ["1", "2", "3"]
    assert all(each.error < 0.06 for each in found.cumulative)
    assert [each.pictures for each in found.strata] == [400, 320, 80]


def test_of_a_label_that_no_picture_has_nothing_is_learned() -> None:
    bias = np.array([0.0, 1.0, 0.0, -1.0])
    logits, truth = _planted(9000, 2.0, bias, seed=7)
    logits[:, 0] -= (
        20  # the head hardly ever says 0, so that what is learned among the others is right for all
    )
    seen = truth != 0
    found = calibrate_head(MES, logits[seen], truth[seen], np.arange(seen.sum()))
    assert found.outcome == "calibrated"
    assert (found.counts["0"], found.before.bias) == (0, ())
    assert found.after.bias[0] == 0.0
    assert np.array(found.after.bias[1:]) == pytest.approx(bias[1:], abs=0.12)
    wanted = softmax(logits[seen] / 2.0 + bias, axis=1)
    assert found.measured_after is not None
    assert found.measured_after.log_loss == pytest.approx(log_loss(wanted, truth[seen]), abs=0.01)
    assert [each.label for each in found.cumulative] == ["2", "3"]


def test_a_label_that_no_picture_has_counts_where_the_head_says_it() -> None:
    logits, truth = _planted(3000, 2.0, np.zeros(4), seed=8)
    logits[:, 0] += 6  # the head often says 0, and no picture is
    seen = truth != 0
    found = calibrate_head(MES, logits[seen], truth[seen], np.arange(seen.sum()))
    assert found.measured_after is not None
    assert found.measured_after.error.value > 0.05
    assert found.outcome != "calibrated"


def test_a_label_that_no_picture_has_keeps_its_place_beside_the_others() -> None:
    logits, truth = _planted(250, 2.0, np.zeros(4), seed=9)
    seen = truth != 0
    head = msgspec.structs.replace(MES, bias=(-2.0, 0.5, 0.5, 1.0))
    found = calibrate_head(head, logits[seen], truth[seen], np.arange(seen.sum()))
    assert found.after.bias == pytest.approx((-2.0 - 2.0 / 3, 0.0, 0.0, 0.0))


def test_what_is_measured_is_the_kind_of_scaling_that_is_written() -> None:
    logits, truth = _planted(340, 2.0, np.array([2.0, 0.0, -2.0]), seed=10)
    found = calibrate_head(ORGAN, logits, truth, np.arange(340))
    assert found.after.bias
    wanted = softmax(logits / 2.0 + np.array([2.0, 0.0, -2.0]), axis=1)
    assert found.measured_after is not None
    assert found.measured_after.log_loss == pytest.approx(log_loss(wanted, truth), abs=0.03)
