"""The suite and its simulator: the figures of the default settings, on procedures they were not chosen on."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import cohen_kappa_score

from scopeline_calibration.sequence_simulator import accuracy_of, signal_for, simulate, simulate_graded
from scopeline_calibration.smoothing_suite import (
    DEFAULT,
    GRADED_SEEDS,
    STATIC_SEEDS,
    TEST_SEEDS,
    TUNING_SEEDS,
    SuiteFigures,
    print_suite,
    quadratic_kappa,
    run,
)


@pytest.fixture(scope="module")
def small_suite() -> SuiteFigures:
    """One procedure per level: proves the machinery, not the figures."""
    return run(seeds=(7000,), static_seeds=(7100,), graded_seeds=(7200,), levels=(0.656, 0.872))


@pytest.mark.parametrize("accuracy", [0.656, 0.872])
def test_good_frames_are_right_as_often_as_asked(accuracy: float) -> None:
    hits = []
    for seed in range(4):
        sequence = simulate(seed, accuracy=accuracy)
        right = sequence.probabilities.argmax(axis=1) == sequence.truth
        hits.append(right[~sequence.bad].mean())
    assert np.mean(hits) == pytest.approx(accuracy, abs=0.025)


def test_without_signal_a_frame_is_a_guess() -> None:
    assert accuracy_of(0.0, states=6) == pytest.approx(1 / 6, abs=1e-6)
    assert accuracy_of(signal_for(0.7), states=6) == pytest.approx(0.7, abs=1e-6)


def test_a_seed_names_one_procedure() -> None:
    one, same, other = (simulate(seed, accuracy=0.7) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.probabilities, same.probabilities)
    assert len(one.truth) != len(other.truth) or (one.probabilities != other.probabilities).any()


def test_a_procedure_visits_every_place_and_three_frames_in_ten_are_bad() -> None:
    sequences = [simulate(seed, accuracy=0.7) for seed in range(3)]
    assert all(set(sequence.truth.tolist()) == set(range(6)) for sequence in sequences)
    assert np.mean([sequence.bad.mean() for sequence in sequences]) == pytest.approx(0.3, abs=0.04)
    for sequence in sequences:
        assert sequence.quality[~sequence.bad].mean() > 0.7 > 0.3 > sequence.quality[sequence.bad].mean()


def test_a_still_scope_makes_the_same_error_all_the_time() -> None:
    def slow_change(still: bool) -> float:
        scene = simulate(9, accuracy=0.66, bad_share=0.0, one_place_s=60.0, still=still)
        logits = np.log(scene.probabilities[:, 0] / scene.probabilities[:, 1])
        return float(logits.reshape(12, 50).mean(axis=1).std())

    assert slow_change(still=True) < slow_change(still=False) / 3


def test_planted_grades_are_what_the_stretches_say() -> None:
    procedure = simulate_graded(3, accuracy=0.75)
    for stretch in procedure.stretches:
        seen = procedure.grade.truth[stretch.start : stretch.stop]
        assert np.bincount(seen).argmax() == stretch.dominant
        assert seen.max() == stretch.worst


def test_the_kappa_is_sklearns() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.integers(0, 4, 50).tolist(), rng.integers(0, 4, 50).tolist()
    expected = cohen_kappa_score(one, other, weights="quadratic", labels=[0, 1, 2, 3])
    assert quadratic_kappa(one, other) == pytest.approx(expected)


def test_the_defaults_were_not_chosen_on_the_suites_procedures() -> None:
    used = [*TUNING_SEEDS, *range(600, 800), *range(3100, 3112)]
    assert not set(used) & {*TEST_SEEDS, *STATIC_SEEDS, *GRADED_SEEDS}


def test_the_default_is_steadier_than_single_frames(small_suite: SuiteFigures) -> None:
    for level in (0.656, 0.872):
        by_name = {each.name: each for each in small_suite.filters if each.level == level}
        assert by_name[DEFAULT].flips_per_1000 < by_name["raw argmax"].flips_per_1000 / 50
        assert by_name[DEFAULT].edit > 50 > by_name["raw argmax"].edit
        assert by_name[DEFAULT].accuracy > by_name["raw argmax"].accuracy


def test_every_acceptance_row_is_answered_and_printed(small_suite: SuiteFigures) -> None:
    assert {row.name for row in small_suite.acceptance} == {"H1", "H2", "H3", "A4"}
    console = Console(file=io.StringIO(), width=160)
    print_suite(small_suite, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("H1", "H2", "H3", "A4", "raw argmax", DEFAULT, "QWK"):
        assert word in printed
