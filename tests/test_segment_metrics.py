"""Segment metrics against hand-computed examples and an independent reference."""

from __future__ import annotations

import math
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scopeline.segment_metrics import (
    accuracy,
    edit_score,
    episodes,
    f1_at,
    false_tag_s_per_minute,
    flips_per_1000,
    missed_episodes,
    runs_of,
)

tag_sequences = st.lists(st.sampled_from("abc"), min_size=1, max_size=14)


def edit_by_definition(predicted: str, truth: str) -> float:
    """The recursive definition of Levenshtein's distance, on run labels found by another route."""
    mine = [tag for i, tag in enumerate(predicted) if i == 0 or predicted[i - 1] != tag]
    theirs = [tag for i, tag in enumerate(truth) if i == 0 or truth[i - 1] != tag]

    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(
            distance(i - 1, j) + 1,
            distance(i, j - 1) + 1,
            distance(i - 1, j - 1) + (mine[i - 1] != theirs[j - 1]),
        )

    return 100.0 * (1 - distance(len(mine), len(theirs)) / max(len(mine), len(theirs)))


@given(tag_sequences, tag_sequences)
@settings(max_examples=200, deadline=None)
def test_the_edit_score_follows_levenshteins_definition(predicted: list[str], truth: list[str]) -> None:
    assert edit_score(predicted, truth) == pytest.approx(
        edit_by_definition("".join(predicted), "".join(truth))
    )


def test_a_flicker_costs_edit_score_but_hardly_any_accuracy() -> None:
    truth = ["a"] * 10 + ["b"] * 10
    flickering = ["a"] * 5 + ["b"] + ["a"] * 4 + ["b"] * 10
    assert accuracy(flickering, truth) == 95.0
    assert edit_score(flickering, truth) == 50.0


def test_f1_counts_segments_that_overlap_enough() -> None:
    truth = list("aaaabbbb")
    predicted = list("aaaaaabb")
    # a: 4 of 6 frames shared, b: 2 of 4.
    assert f1_at(0.5, predicted, truth) == 100.0
    assert f1_at(0.6, predicted, truth) == 50.0
    assert f1_at(0.7, predicted, truth) == 0.0


def test_a_second_prediction_of_one_true_segment_is_a_false_positive() -> None:
    truth = list("aaaaaaaa")
    predicted = list("aaaaabaa")
    # One hit, two false positives, none missed: 2 / (2 + 2).
    assert f1_at(0.5, predicted, truth) == pytest.approx(50.0)


@given(tag_sequences)
@settings(max_examples=50, deadline=None)
def test_the_truth_scores_full_marks(truth: list[str]) -> None:
    assert edit_score(truth, truth) == f1_at(0.5, truth, truth) == 100.0


def test_frames_without_a_tag_are_background() -> None:
    assert [run.tag for run in runs_of([None, None, 3, 3, None, 4])] == [3, 4]
    assert f1_at(0.1, [None] * 4, [1] * 4) == 0.0


def test_flips_are_changes_between_tags() -> None:
    assert flips_per_1000([None] * 500 + [1] * 250 + [2] * 250) == 1.0
    assert flips_per_1000([1] * 250 + [None] * 500 + [1] * 250) == 0.0
    assert flips_per_1000(list("abab") * 250) == 999.0


def test_the_delay_runs_to_the_first_tag_that_holds() -> None:
    time_s = [i / 10 for i in range(60)]
    truth = [0] * 30 + [1] * 30
    predicted = [0] * 30 + [0] * 5 + [1] * 3 + [0] * 2 + [1] * 20
    first, second = episodes(predicted, truth, time_s)
    assert first.delay_s == 0.0
    assert second.delay_s == pytest.approx(1.0)


def test_a_segment_that_was_never_tagged_is_missed() -> None:
    time_s = [i / 10 for i in range(60)]
    truth = [0] * 30 + [1] * 30
    late = [0] * 55 + [1] * 5
    assert missed_episodes(late, truth, time_s) == 1
    assert episodes(late, truth, time_s)[1].delay_s == math.inf


def test_showing_no_tag_is_not_showing_a_false_one() -> None:
    time_s = [float(i) for i in range(61)]
    truth = [0] * 61
    assert false_tag_s_per_minute([None] * 61, truth, time_s) == 0.0
    assert false_tag_s_per_minute([1] * 6 + [0] * 55, truth, time_s) == pytest.approx(6.0)
