"""Reliability: do probabilities mean what they say. Figures with intervals from resampling groups, not pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Said = NDArray[np.float64]
"""(N, K) probabilities."""
Truth = NDArray[np.int64]
"""(N,) labels."""

RESAMPLES = 1000
FEWEST_PER_BIN = 50
LEAST_BINS, MOST_BINS = 5, 15


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Bin:
    """Pictures of like confidence."""

    confidence: float
    right: float
    count: int


def bin_count(pictures: int) -> int:
    """Bins of equal mass for so many pictures: 5 to 15, with 50 pictures each where 5 bins allow it."""
    return max(LEAST_BINS, min(MOST_BINS, pictures // FEWEST_PER_BIN))


def reliability_bins(said: Said, truth: Truth, bins: int | None = None) -> list[Bin]:
    """Pictures in bins of equal mass by the highest probability, from the least to the most confident."""
    confidence, right = said.max(axis=1), said.argmax(axis=1) == truth
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, bins or bin_count(len(truth)))
    return [
        Bin(float(confidence[part].mean()), float(right[part].mean()), len(part))
        for part in parts
        if len(part)
    ]


def calibration_error(said: Said, truth: Truth, bins: int | None = None) -> float:
    """Expected calibration error, 0..1: the mean distance of confidence and accuracy over bins of equal mass.

    Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning"; equal mass after Nixon et al.
    2019, "Measuring calibration in deep learning". A perfect forecaster scores more than 0, the more so the fewer
    pictures lie in a bin.
    """
    found = reliability_bins(said, truth, bins)
    return sum(each.count * abs(each.confidence - each.right) for each in found) / len(truth)


def error_floor(said: Said, *, seed: int = 0, draws: int = 100) -> float:
    """What `calibration_error` would show by chance if these probabilities were exactly right, for so many pictures."""
    rng = np.random.default_rng(seed)
    upto = said.cumsum(axis=1)
    chance = rng.uniform(size=(draws, len(said), 1))
    drawn = np.minimum((upto < chance).sum(axis=2), said.shape[1] - 1)
    return float(np.mean([calibration_error(said, truth) for truth in drawn]))


def brier_score(said: Said, truth: Truth) -> float:
    """Mean squared distance from the truth over all labels, 0..2 (Brier 1950)."""
    wanted = np.zeros_like(said)
    wanted[np.arange(len(truth)), truth] = 1.0
    return float(((said - wanted) ** 2).sum(axis=1).mean())


def log_loss(said: Said, truth: Truth) -> float:
    """Mean negative logarithm of the probability of the truth, nats."""
    return float(-np.log(np.maximum(said[np.arange(len(truth)), truth], 1e-12)).mean())


def balanced_accuracy(said: Said, truth: Truth) -> float:
    """Mean recall of the labels that occur."""
    right = said.argmax(axis=1) == truth
    return float(np.mean([right[truth == label].mean() for label in np.unique(truth)]))


@dataclass(frozen=True, slots=True)
class Statistic:
    """A measure that follows from sums over pictures, so that resampling it takes one product of matrices."""

    columns: NDArray[np.float64]
    """(N, C) what each picture adds."""
    combine: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    """(R, C) sums -> (R,) values."""


def calibration_statistic(said: Said, truth: Truth) -> Statistic:
    """`calibration_error`, its bins held as they are on all pictures."""
    order = np.array_split(np.argsort(said.max(axis=1), kind="stable"), bin_count(len(truth)))
    columns = np.zeros((len(truth), len(order) + 1))
    apart = said.max(axis=1) - (said.argmax(axis=1) == truth)
    for number, part in enumerate(order):
        columns[part, number] = apart[part]
    columns[:, -1] = 1.0
    return Statistic(columns, lambda sums: np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1])


def brier_statistic(said: Said, truth: Truth) -> Statistic:
    wanted = np.zeros_like(said)
    wanted[np.arange(len(truth)), truth] = 1.0
    columns = np.stack([((said - wanted) ** 2).sum(axis=1), np.ones(len(truth))], axis=1)
    return Statistic(columns, lambda sums: sums[:, 0] / sums[:, 1])


def balanced_statistic(said: Said, truth: Truth) -> Statistic:
    """`balanced_accuracy`; a resample without some label goes without it."""
    is_label = truth[:, None] == np.unique(truth)
    hits = is_label & (said.argmax(axis=1) == truth)[:, None]
    labels = is_label.shape[1]

    def combine(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        found = sums[:, labels:] > 0
        recall = np.divide(
            sums[:, :labels], sums[:, labels:], out=np.zeros_like(sums[:, labels:]), where=found
        )
        return np.asarray(recall.sum(axis=1) / found.sum(axis=1))

    return Statistic(np.concatenate([hits, is_label], axis=1).astype(np.float64), combine)


def with_interval(statistic: Statistic, groups: NDArray[np.int64], *, seed: int = 0) -> Figure:
    """The measure and the middle 95 % of it over resampled groups (cluster bootstrap)."""
    place = np.unique(groups, return_inverse=True)[1]
    sums = np.zeros((int(place.max()) + 1, statistic.columns.shape[1]))
    np.add.at(sums, place, statistic.columns)
    draws = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    low, high = np.quantile(statistic.combine(draws @ sums), [0.025, 0.975])
    return Figure(float(statistic.combine(sums.sum(axis=0)[None])[0]), float(low), float(high))


def grouped_folds(
    truth: Truth, groups: NDArray[np.int64], folds: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(fit, test) numbers per fold: no group on both sides, labels spread as evenly as groups allow.

    Groups go, in chance order of each label, to the fold that has the fewest pictures of that label.
    """
    rng = np.random.default_rng(seed)
    names, place = np.unique(groups, return_inverse=True)
    labels = int(truth.max()) + 1
    held = np.zeros((folds, labels))
    fold_of = np.zeros(len(names), np.int64)
    counts = np.zeros((len(names), labels))
    np.add.at(counts, (place, truth), 1.0)
    for group in sorted(rng.permutation(len(names)).tolist(), key=lambda each: -counts[each].sum()):
        label = int(counts[group].argmax())
        fold = int(np.lexsort((held.sum(axis=1), held[:, label]))[0])
        fold_of[group] = fold
        held[fold] += counts[group]
    of_picture = fold_of[place]
    return [
        (np.flatnonzero(of_picture != fold), np.flatnonzero(of_picture == fold))
        for fold in range(folds)
        if (of_picture == fold).any()
    ]
