"""Figures: what a classifier is worth, with prevalence beside and an interval around.

Examples of one group (patient, clip, look-alikes) are no independent witnesses, so intervals come from resampling
groups, not pictures (cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

Confusion = NDArray[np.float64]
"""(..., K, K) counts, true class in rows."""

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def confusion(truth: NDArray[np.int64], said: NDArray[np.int64], labels: int) -> Confusion:
    """(K, K) counts."""
    return np.bincount(truth * labels + said, minlength=labels**2).reshape(labels, labels).astype(np.float64)


def accuracy(table: Confusion) -> NDArray[np.float64]:
    return np.asarray(np.trace(table, axis1=-2, axis2=-1) / table.sum(axis=(-2, -1)))


def balanced_accuracy(table: Confusion) -> NDArray[np.float64]:
    """Mean recall of the classes that occur."""
    with np.errstate(invalid="ignore"):
        recall = np.diagonal(table, axis1=-2, axis2=-1) / table.sum(axis=-1)
    return np.asarray(np.nanmean(recall, axis=-1))


def macro_f1(table: Confusion) -> NDArray[np.float64]:
    """Mean F1 of the classes that occur or are said."""
    hit = np.diagonal(table, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        f1 = 2 * hit / (table.sum(axis=-1) + table.sum(axis=-2))
    return np.asarray(np.nanmean(f1, axis=-1))


def kappa(table: Confusion, power: int = 0) -> NDArray[np.float64]:
    """Cohen's kappa; power 2 weighs an error by the square of its distance (quadratic weighted kappa, QWK).

    NaN where only one label was seen and said: chance leaves nothing to agree on.
    """
    labels = table.shape[-1]
    distance = np.abs(np.subtract.outer(np.arange(labels), np.arange(labels)))
    weights = (distance > 0).astype(float) if power == 0 else distance.astype(float) ** power
    total = table.sum(axis=(-2, -1))
    by_chance = table.sum(axis=-1)[..., :, None] * table.sum(axis=-2)[..., None, :] / total[..., None, None]
    with np.errstate(invalid="ignore"):
        return np.asarray(1 - (weights * table).sum(axis=(-2, -1)) / (weights * by_chance).sum(axis=(-2, -1)))


def qwk(table: Confusion) -> NDArray[np.float64]:
    return kappa(table, 2)


MEASURES: dict[str, Callable[[Confusion], NDArray[np.float64]]] = {
    "accuracy": accuracy,
    "balanced accuracy": balanced_accuracy,
    "macro F1": macro_f1,
    "kappa": kappa,
    "QWK": qwk,
}


def table_figures(
    truth: NDArray[np.int64],
    said: NDArray[np.int64],
    groups: NDArray[np.int64],
    *,
    labels: int,
    seed: int = 0,
) -> list[Figure]:
    """Every measure with its cluster-bootstrap interval."""
    number = np.unique(groups, return_inverse=True)[1]
    per_group = np.zeros((number.max() + 1, labels, labels))
    np.add.at(per_group, (number, truth, said), 1.0)
    draws = group_draws(len(per_group), seed)
    resampled = np.tensordot(draws, per_group, axes=1)  # (RESAMPLES, K, K)
    whole = per_group.sum(axis=0)
    return [
        with_interval(name, float(measure(whole)), np.asarray(measure(resampled)))
        for name, measure in MEASURES.items()
    ]


def auroc_figure(
    name: str,
    positive: NDArray[np.bool_],
    scores: NDArray[np.float32],
    groups: NDArray[np.int64],
    seed: int = 0,
) -> Figure:
    """Area under the ROC curve with its cluster-bootstrap interval."""
    number = np.unique(groups, return_inverse=True)[1]
    values = []
    for draw in group_draws(number.max() + 1, seed)[:300]:
        weights = draw[number]
        if weights[positive].sum() > 0 and weights[~positive].sum() > 0:
            values.append(roc_auc_score(positive, scores, sample_weight=weights))
    return with_interval(name, float(roc_auc_score(positive, scores)), np.asarray(values))


def group_draws(groups: int, seed: int, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """(resamples, G): how often each group is in each resample of the cluster bootstrap."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(groups, np.full(groups, 1 / groups), resamples).astype(np.float64)


def with_interval(name: str, value: float, resampled: NDArray[np.float64]) -> Figure:
    """The value with the middle 95 % of its resamples; those where the measure is undefined are left out."""
    defined = resampled[~np.isnan(resampled)]
    low, high = np.quantile(defined, [0.025, 0.975]) if len(defined) else (np.nan, np.nan)
    return Figure(name, value, float(low), float(high))
