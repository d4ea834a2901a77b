"""Answers and scores: equal to scikit-learn where it has the figure, to a hand computation where it has not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics

from scopeline_training.answers import Answers, join_answers
from scopeline_training.areas import area_under_roc, average_precision
from scopeline_training.figures import Figure
from scopeline_training.mask_scores import MaskAnswers, dice, iou, mask_scores, trivial_mask_scores
from scopeline_training.scores import (
    calibration_bins,
    confusion_counts,
    label_scores,
    overall_scores,
    trivial_scores,
)

EXACT = 1e-9


def some_answers(count: int = 240, labels: int = 4, *, seed: int = 3, groups: int = 30) -> Answers:
    """Answers that are right more often than not, with equal scores here and there, of skewed prevalence."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(labels, count, p=np.arange(labels, 0, -1) / np.arange(1, labels + 1).sum())
    logits = rng.normal(0, 1, (count, labels)).round(1)
    logits[np.arange(count), truth] += 1
    said = np.exp(logits)
    return Answers(
        tuple(f"{number}.png" for number in range(count)),
        rng.integers(0, groups, count),
        truth,
        said / said.sum(axis=1, keepdims=True),
        tuple("abcdefghij"[:labels]),
        "class",
        "test",
    )


def certain(truth: list[int], said: list[int], labels: int, groups: list[int] | None = None) -> Answers:
    """Answers whose probabilities are 0.9 for what is said."""
    rest = 0.1 / (labels - 1)
    probabilities = np.full((len(said), labels), rest)
    probabilities[np.arange(len(said)), said] = 0.9
    return Answers(
        tuple(str(n) for n in range(len(said))),
        np.array(groups if groups else range(len(said))),
        np.array(truth),
        probabilities,
        tuple("abcdefghij"[:labels]),
        "class",
        "test",
    )


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


@pytest.mark.parametrize("labels", [2, 3, 4])
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("accuracy", metrics.accuracy_score),
        ("balanced accuracy", metrics.balanced_accuracy_score),
        ("macro precision", lambda t, s: metrics.precision_score(t, s, average="macro")),
        ("macro recall", lambda t, s: metrics.recall_score(t, s, average="macro")),
        ("macro F1", lambda t, s: metrics.f1_score(t, s, average="macro")),
        ("kappa", metrics.cohen_kappa_score),
        ("QWK", lambda t, s: metrics.cohen_kappa_score(t, s, weights="quadratic")),
    ],
)
def test_figures_of_what_is_said_equal_scikit_learn(
    name: str, reference: Callable[..., float], labels: int
) -> None:
    answers = some_answers(labels=labels)
    found = by_name(overall_scores(answers))[name].value
    assert found == pytest.approx(reference(answers.truth, answers.said), abs=EXACT)


@pytest.mark.parametrize("labels", [2, 3, 4])
def test_figures_of_probabilities_equal_scikit_learn(labels: int) -> None:
    answers = some_answers(labels=labels)
    truth, said = answers.truth, answers.probabilities
    figures = by_name(overall_scores(answers))
    known = np.eye(labels)[truth]
    assert figures["macro AUROC"].value == pytest.approx(
        metrics.roc_auc_score(known, said, average="macro"), abs=EXACT
    )
    assert figures["macro AUPRC"].value == pytest.approx(
        metrics.average_precision_score(known, said, average="macro"), abs=EXACT
    )
    assert figures["Brier"].value == pytest.approx(metrics.brier_score_loss(truth, said), abs=EXACT)


@pytest.mark.parametrize("labels", [2, 4])
def test_figures_of_each_label_equal_scikit_learn(labels: int) -> None:
    answers = some_answers(labels=labels)
    truth, said = answers.truth, answers.said
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, said)
    tables = metrics.multilabel_confusion_matrix(truth, said)
    for label, row in enumerate(label_scores(answers)):
        (true_negative, false_positive), _ = tables[label]
        is_label, score = truth == label, answers.probabilities[:, label]
        wanted = {
            "precision": precision[label],
            "recall": recall[label],
            "specificity": true_negative / (true_negative + false_positive),
            "F1": f1[label],
            "AUROC": metrics.roc_auc_score(is_label, score),
            "AUPRC": metrics.average_precision_score(is_label, score),
        }
        assert {figure.name: figure.value for figure in row.figures} == pytest.approx(wanted, abs=EXACT)
        assert row.pictures == support[label]
        assert row.prevalence == pytest.approx(support[label] / len(truth))


def test_weighted_areas_equal_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    positive, scores = rng.random(300) < 0.2, rng.random(300).round(2)
    weights = rng.integers(0, 4, 300).astype(float)
    assert area_under_roc(positive, scores, weights) == pytest.approx(
        metrics.roc_auc_score(positive, scores, sample_weight=weights), abs=EXACT
    )
    assert average_precision(positive, scores, weights) == pytest.approx(
        metrics.average_precision_score(positive, scores, sample_weight=weights), abs=EXACT
    )


def test_the_confusion_counts_equal_scikit_learn() -> None:
    answers = some_answers()
    assert (confusion_counts(answers) == metrics.confusion_matrix(answers.truth, answers.said)).all()


def test_a_label_that_is_never_said_has_precision_nought() -> None:
    answers = certain([0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 1, 0], labels=3)
    rows = label_scores(answers)
    assert rows[2].figure("precision").value == 0
    assert rows[2].figure("recall").value == 0
    assert by_name(overall_scores(answers))["macro precision"].value == pytest.approx(
        metrics.precision_score(answers.truth, answers.said, average="macro", zero_division=0), abs=EXACT
    )


def test_a_label_that_neither_occurs_nor_is_said_does_not_lower_the_means() -> None:
    two = certain([0, 0, 1, 1], [0, 1, 1, 1], labels=2)
    three = certain([0, 0, 1, 1], [0, 1, 1, 1], labels=3)
    for name in ("macro precision", "macro recall", "macro specificity", "macro F1", "balanced accuracy"):
        assert by_name(overall_scores(two))[name].value == pytest.approx(
            by_name(overall_scores(three))[name].value
        )


def test_a_label_that_does_not_occur_has_no_recall() -> None:
    assert np.isnan(label_scores(certain([0, 0, 1], [0, 2, 1], labels=3))[2].figure("recall").value)


def test_macro_recall_is_the_accuracy_on_a_balanced_set() -> None:
    answers = some_answers(400)
    first = np.concatenate([np.flatnonzero(answers.truth == label)[:30] for label in range(4)])
    figures = by_name(overall_scores(answers.take(first)))
    assert figures["macro recall"].value == pytest.approx(figures["accuracy"].value, abs=EXACT)


def test_the_calibration_error_is_the_mean_gap_of_its_bins() -> None:
    probabilities = np.array([[0.6, 0.4]] * 10 + [[0.9, 0.1]] * 10)
    truth = np.array([0] * 8 + [1] * 2 + [0] * 7 + [1] * 3)  # right: 0.8 of those at 0.6, 0.7 of those at 0.9
    answers = Answers(
        tuple(map(str, range(20))), np.arange(20), truth, probabilities, ("a", "b"), "class", "test"
    )
    bins = calibration_bins(answers)
    assert [each.count for each in bins] == [10, 10]
    assert [each.confidence for each in bins] == pytest.approx([0.6, 0.9])
    assert [each.right for each in bins] == pytest.approx([0.8, 0.7])
    assert by_name(overall_scores(answers))["ECE"].value == pytest.approx((0.2 + 0.2) / 2)


def test_the_calibration_error_does_not_depend_on_the_order_of_the_pictures() -> None:
    answers = some_answers(500)
    shuffled = answers.take(np.random.default_rng(0).permutation(500))
    assert by_name(overall_scores(answers))["ECE"].value == pytest.approx(
        by_name(overall_scores(shuffled))["ECE"].value, abs=EXACT
    )


def test_looking_at_nothing_scores_chance() -> None:
    answers = some_answers(labels=3)
    blind = trivial_scores(answers)
    assert blind.keys() == by_name(overall_scores(answers)).keys()
    assert blind["accuracy"] == pytest.approx(answers.prevalence.max())
    assert blind["balanced accuracy"] == pytest.approx(1 / 3)
    assert blind["macro AUROC"] == pytest.approx(0.5)
    assert blind["macro AUPRC"] == pytest.approx(answers.prevalence.mean())
    assert blind["kappa"] == pytest.approx(0)
    assert blind["ECE"] == pytest.approx(0)


def test_an_interval_over_groups_is_wider_than_over_pictures_when_groups_agree() -> None:
    rng = np.random.default_rng(1)
    truth = np.repeat(rng.integers(0, 2, 20), 20)
    said = np.where(np.repeat(rng.random(20) < 0.7, 20), truth, 1 - truth)  # a whole group is right or wrong
    grouped = certain(truth.tolist(), said.tolist(), 2, np.repeat(np.arange(20), 20).tolist())
    alone = replace(grouped, groups=np.arange(400))

    def width(answers: Answers) -> float:
        figure = by_name(overall_scores(answers))["accuracy"]
        return figure.high - figure.low

    assert width(grouped) > 3 * width(alone)


def test_an_interval_of_independent_pictures_is_the_binomial_one() -> None:
    answers = certain([0] * 200 + [1] * 200, [0] * 160 + [1] * 40 + [1] * 160 + [0] * 40, 2)
    figure = by_name(overall_scores(answers))["accuracy"]
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert (figure.low, figure.high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.008)


def test_a_single_group_has_no_interval() -> None:
    figure = overall_scores(certain([0, 1, 1], [0, 1, 0], 2, [7, 7, 7]))[0]
    assert figure.value == pytest.approx(2 / 3)
    assert np.isnan([figure.low, figure.high]).all()


def test_a_long_recording_counts_once_in_the_mean_of_groups() -> None:
    answers = certain([0] * 10 + [1], [0] * 10 + [0], 2, [1] * 10 + [2])
    assert by_name(overall_scores(answers))["mean accuracy of groups"].value == pytest.approx(0.5)


def test_answers_of_one_kind_have_no_area_under_a_curve() -> None:
    figures = by_name(overall_scores(certain([1, 1, 1], [1, 1, 0], 2)))
    assert np.isnan(figures["macro AUROC"].value)
    assert figures["accuracy"].value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.full((3, 2), 0.7)}, "sum 1"),
        ({"probabilities": np.full((3, 3), 1 / 3)}, r"must be \(3, 2\)"),
        ({"truth": np.array([0, 1, 2])}, r"lie in 0\.\.1"),
        ({"groups": np.array([0])}, "got 1 and 3"),
    ],
)
def test_answers_that_do_not_fit_together_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(certain([0, 1, 1], [0, 1, 0], 2), **change)  # type: ignore[arg-type]


def test_answers_of_folds_are_joined_and_of_different_heads_refused() -> None:
    first, second = certain([0, 1], [0, 1], 2), certain([1, 1], [0, 1], 2)
    both = join_answers([first, second], "2 folds")
    assert (both.truth.tolist(), both.said.tolist(), both.split) == ([0, 1, 1, 1], [0, 1, 0, 1], "2 folds")
    with pytest.raises(ValueError, match="one head"):
        join_answers([first, replace(second, head="other")], "2 folds")


def some_masks() -> MaskAnswers:
    rng = np.random.default_rng(2)
    truth = rng.random((12, 16, 16)) < 0.3
    said = truth ^ (rng.random(truth.shape) < 0.1)
    return MaskAnswers(tuple(map(str, range(12))), np.arange(12) // 3, truth, said, "polyp", "val")


def test_dice_and_iou_equal_scikit_learn_on_the_pixels() -> None:
    masks = some_masks()
    for number in range(len(masks)):
        truth, said = masks.truth[number].ravel(), masks.said[number].ravel()
        assert dice(masks.truth, masks.said)[number] == pytest.approx(
            metrics.f1_score(truth, said), abs=EXACT
        )
        assert iou(masks.truth, masks.said)[number] == pytest.approx(
            metrics.jaccard_score(truth, said), abs=EXACT
        )
    pooled = by_name(mask_scores(masks))["Dice of all pixels"].value
    assert pooled == pytest.approx(metrics.f1_score(masks.truth.ravel(), masks.said.ravel()), abs=EXACT)


def test_two_empty_masks_agree() -> None:
    nothing, something = np.zeros((1, 4, 4), bool), np.ones((1, 4, 4), bool)
    assert dice(nothing, nothing)[0] == iou(nothing, nothing)[0] == 1
    assert dice(nothing, something)[0] == iou(nothing, something)[0] == 0


def test_marking_everything_is_the_baseline_of_masks() -> None:
    masks = some_masks()
    share = masks.truth.mean(axis=(1, 2))
    assert trivial_mask_scores(masks)["Dice"] == pytest.approx((2 * share / (1 + share)).mean())


def test_masks_of_different_shapes_are_refused() -> None:
    masks = some_masks()
    with pytest.raises(ValueError, match="one shape"):
        replace(masks, said=masks.said[:, :8])
