"""Scores: every figure that a report shows, with its interval, and what saying nothing would have scored.

All of them equal scikit-learn's (a test compares them to 1e-9); they are written over whole stacks of confusion
counts, because an interval takes a thousand of them. Intervals come from resampling groups (`figures`).

What is averaged over labels leaves out labels that neither occur nor are said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from scopeline_training.answers import Answers
from scopeline_training.areas import areas
from scopeline_training.figures import MEASURES, Confusion, Figure, group_draws, with_interval

Floats = NDArray[np.float64]

BINS = 15
"""Bins of equal mass of the calibration error."""
CURVE_RESAMPLES = 500
"""Resamples of areas under curves: each costs a pass over all answers."""


@dataclass(frozen=True, slots=True)
class LabelScores:
    """One label against the rest."""

    label: str
    pictures: int
    groups: int
    """In how many groups the label occurs."""
    prevalence: float
    """Also what AUPRC is worth without skill."""
    figures: tuple[Figure, ...]
    """precision, recall (the same as sensitivity), specificity, F1, AUROC, AUPRC."""

    def figure(self, name: str) -> Figure:
        return next(each for each in self.figures if each.name == name)


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about one confidence."""

    confidence: float
    """Mean probability of the label that was said."""
    right: float
    """Share of answers that were right."""
    count: int


def overall_scores(answers: Answers, *, seed: int = 0) -> list[Figure]:
    """Figures over all labels.

    Accuracy, mean accuracy of the groups (a long recording counts once), balanced accuracy, macro precision, recall,
    specificity and F1, kappa, quadratic weighted kappa (meaningful for ordered labels only), macro AUROC and AUPRC
    (one label against the rest), Brier score, expected calibration error.
    """
    number, draws = _resampling(answers, seed)
    whole, resampled = _tables(answers, number, draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        tabled = [
            with_interval(name, float(measure(whole)), np.asarray(measure(resampled)))
            for name, measure in TABLE_MEASURES.items()
        ]
    curves = [_label_areas(answers, label, number, draws) for label in range(len(answers.labels))]
    areas = [
        _mean_figure(f"macro {name}", [label[place] for label in curves])
        for place, name in enumerate(("AUROC", "AUPRC"))
    ]
    return _narrowed(
        [
            tabled[0],
            _group_accuracy(answers, number, draws),
            *tabled[1:],
            *areas,
            _brier(answers, number, draws),
            _calibration(answers, number, draws),
        ],
        draws,
    )


def label_scores(answers: Answers, *, seed: int = 0) -> list[LabelScores]:
    """Each label against the rest, in the order of the labels."""
    number, draws = _resampling(answers, seed)
    whole, resampled = _tables(answers, number, draws)
    rows = []
    for label, name in enumerate(answers.labels):
        with np.errstate(invalid="ignore", divide="ignore"):
            figures = [
                with_interval(measure, float(by_label(whole)[label]), by_label(resampled)[:, label])
                for measure, by_label in LABEL_MEASURES.items()
            ]
        areas = [
            with_interval(area, value, values)
            for area, (value, values) in zip(
                ("AUROC", "AUPRC"), _label_areas(answers, label, number, draws), strict=True
            )
        ]
        true = answers.truth == label
        if not true.any():  # nothing to find: scikit-learn says 0, a reader would take that for a failure
            figures = [_undefined(figure) if figure.name == "recall" else figure for figure in figures]
        rows.append(
            LabelScores(
                name,
                int(true.sum()),
                len(np.unique(answers.groups[true])),
                float(true.mean()),
                tuple(_narrowed([*figures, *areas], draws)),
            )
        )
    return rows


def trivial_scores(answers: Answers) -> dict[str, float]:
    """What `overall_scores` would be of someone who looks at nothing and always answers the prevalences."""
    constant = replace(answers, probabilities=np.tile(answers.prevalence, (len(answers), 1)))
    number, draws = _resampling(constant, 0)
    whole, _ = _tables(constant, number, draws[:1])
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = {name: float(measure(whole)) for name, measure in TABLE_MEASURES.items()}
    curves = [_label_areas(constant, label, number, draws[:1]) for label in range(len(answers.labels))]
    auroc, auprc = (_mean_figure("", [label[place] for label in curves]).value for place in (0, 1))
    return figures | {
        "mean accuracy of groups": _group_accuracy(constant, number, draws).value,
        "macro AUROC": auroc,
        "macro AUPRC": auprc,
        "Brier": _brier(constant, number, draws).value,
        "ECE": _calibration(constant, number, draws).value,
    }


def confusion_counts(answers: Answers) -> NDArray[np.int64]:
    """(K, K) counts, true label in rows."""
    labels = len(answers.labels)
    flat = np.bincount(answers.truth * labels + answers.said, minlength=labels**2)
    return np.asarray(flat.reshape(labels, labels), np.int64)


def calibration_bins(answers: Answers, bins: int = BINS) -> list[Bin]:
    """Answers in bins of about equal mass by confidence. Equal confidences share a bin, whatever their order."""
    confidence, right, number = _binned(answers, bins)
    return [
        Bin(float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum()))
        for inside in (number == each for each in np.unique(number))
    ]


def macro_precision(table: Confusion) -> Floats:
    return _mean_of_used(label_precision(table), table)


def macro_recall(table: Confusion) -> Floats:
    """Mean recall; the same as balanced accuracy unless a label is said that never occurs."""
    return _mean_of_used(label_recall(table), table)


def macro_specificity(table: Confusion) -> Floats:
    return _mean_of_used(label_specificity(table), table)


def label_precision(table: Confusion) -> Floats:
    """(..., K) share of what is said that is true; 0 for a label that is never said, as in scikit-learn."""
    said = table.sum(axis=-2)
    return np.asarray(np.where(said > 0, _hits(table) / said, 0.0))


def label_recall(table: Confusion) -> Floats:
    """(..., K) share of what is true that is said (sensitivity); 0 for a label that never occurs."""
    true = table.sum(axis=-1)
    return np.asarray(np.where(true > 0, _hits(table) / true, 0.0))


def label_specificity(table: Confusion) -> Floats:
    """(..., K) share of the pictures of other labels that are not said to be of this one."""
    others = table.sum(axis=(-2, -1))[..., None] - table.sum(axis=-1)
    falsely = table.sum(axis=-2) - _hits(table)
    return np.asarray(1 - falsely / others)


def label_f1(table: Confusion) -> Floats:
    """(..., K) harmonic mean of precision and recall."""
    used = table.sum(axis=-1) + table.sum(axis=-2)
    return np.asarray(np.where(used > 0, 2 * _hits(table) / used, 0.0))


TABLE_MEASURES: dict[str, Callable[[Confusion], Floats]] = {
    "accuracy": MEASURES["accuracy"],
    "balanced accuracy": MEASURES["balanced accuracy"],
    "macro precision": macro_precision,
    "macro recall": macro_recall,
    "macro specificity": macro_specificity,
    "macro F1": MEASURES["macro F1"],
    "kappa": MEASURES["kappa"],
    "QWK": MEASURES["QWK"],
}
LABEL_MEASURES: dict[str, Callable[[Confusion], Floats]] = {
    "precision": label_precision,
    "recall": label_recall,
    "specificity": label_specificity,
    "F1": label_f1,
}

Resampled = tuple[float, Floats]
"""A value and its resamples."""


def _resampling(answers: Answers, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """(N,) group numbers without gaps, and how often each group is in each resample."""
    number = np.unique(answers.groups, return_inverse=True)[1].astype(np.int64)
    return number, group_draws(int(number.max()) + 1, seed)


def _tables(answers: Answers, number: NDArray[np.int64], draws: Floats) -> tuple[Confusion, Confusion]:
    """(K, K) counts of all answers and (R, K, K) of the resamples."""
    labels = len(answers.labels)
    per_group = np.zeros((draws.shape[1], labels, labels))
    np.add.at(per_group, (number, answers.truth, answers.said), 1.0)
    return per_group.sum(axis=0), np.tensordot(draws, per_group, axes=1)


def _label_areas(
    answers: Answers, label: int, number: NDArray[np.int64], draws: Floats
) -> tuple[Resampled, Resampled]:
    """AUROC and AUPRC of one label against the rest."""
    positive, scores = answers.truth == label, answers.probabilities[:, label]
    weights = (draw[number] for draw in draws[:CURVE_RESAMPLES])
    (auroc, auprc), *rest = areas(positive, scores, chain([np.ones(len(positive))], weights))
    resampled = np.array(rest)
    return (auroc, resampled[:, 0]), (auprc, resampled[:, 1])


def _mean_figure(name: str, parts: list[Resampled]) -> Figure:
    """Mean over the labels for which the measure is defined."""
    defined = [(value, values) for value, values in parts if not np.isnan(value)]
    if not defined:
        return Figure(name, np.nan, np.nan, np.nan)
    resampled = np.mean([values for _, values in defined], axis=0)
    return with_interval(name, float(np.mean([value for value, _ in defined])), resampled)


def _group_accuracy(answers: Answers, number: NDArray[np.int64], draws: Floats) -> Figure:
    per_group = np.bincount(number, answers.said == answers.truth) / np.bincount(number)
    return with_interval(
        "mean accuracy of groups", float(per_group.mean()), draws @ per_group / draws.sum(axis=1)
    )


def _brier(answers: Answers, number: NDArray[np.int64], draws: Floats) -> Figure:
    """Mean squared distance of probabilities from the truth: 0..1 of two labels, 0..2 of more (scikit-learn)."""
    distance = (answers.probabilities - np.eye(len(answers.labels))[answers.truth]) ** 2
    each = distance.sum(axis=1) / (2 if len(answers.labels) == 2 else 1)
    sums, counts = np.bincount(number, each), np.bincount(number).astype(np.float64)
    return with_interval("Brier", float(each.mean()), (draws @ sums) / (draws @ counts))


def _calibration(answers: Answers, number: NDArray[np.int64], draws: Floats) -> Figure:
    """Expected calibration error over bins of equal mass; the bins stay as they are in all resamples."""
    confidence, right, bin_of = _binned(answers, BINS)
    gaps = np.zeros((draws.shape[1], int(bin_of.max()) + 1))
    np.add.at(gaps, (number, bin_of), confidence - right)
    counts = np.bincount(number).astype(np.float64)
    resampled = np.abs(draws @ gaps).sum(axis=1) / (draws @ counts)
    return with_interval("ECE", float(np.abs(gaps.sum(axis=0)).sum() / len(answers)), resampled)


def _binned(answers: Answers, bins: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """(N,) confidences, 1.0 where right, and numbers of bins."""
    confidence = answers.probabilities.max(axis=1)
    ordered = np.sort(confidence)
    starts = [part[0] for part in np.array_split(ordered, bins) if len(part)]
    number = np.searchsorted(np.unique(starts), confidence, side="right") - 1
    return confidence, (answers.said == answers.truth).astype(np.float64), number.astype(np.int64)


def _hits(table: Confusion) -> Floats:
    return np.asarray(np.diagonal(table, axis1=-2, axis2=-1))


def _mean_of_used(values: Floats, table: Confusion) -> Floats:
    """Mean over the labels that occur or are said."""
    used = table.sum(axis=-1) + table.sum(axis=-2) > 0
    return np.asarray(np.where(used, values, 0.0).sum(axis=-1) / used.sum(axis=-1))


def _undefined(figure: Figure) -> Figure:
    return Figure(figure.name, np.nan, np.nan, np.nan)


def _narrowed(figures: list[Figure], draws: Floats) -> list[Figure]:
    """One group cannot be resampled: its intervals are unknown, not empty."""
    if draws.shape[1] > 1:
        return figures
    return [replace(figure, low=np.nan, high=np.nan) for figure in figures]
