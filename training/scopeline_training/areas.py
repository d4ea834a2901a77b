"""Areas under curves of weighted examples: the same ranking, weighed many times, is sorted once only."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def area_under_roc(positive: NDArray[np.bool_], scores: Floats, weights: Floats | None = None) -> float:
    """Area under the ROC curve; NaN where all examples are of one kind."""
    return areas(positive, scores, [np.ones(len(positive)) if weights is None else weights])[0][0]


def average_precision(positive: NDArray[np.bool_], scores: Floats, weights: Floats | None = None) -> float:
    """Area under the precision-recall curve as a sum over steps (scikit-learn's AP); NaN where none is positive."""
    return areas(positive, scores, [np.ones(len(positive)) if weights is None else weights])[0][1]


def areas(
    positive: NDArray[np.bool_], scores: Floats, weightings: Iterable[Floats]
) -> list[tuple[float, float]]:
    """Both areas, ROC and precision-recall, for each weighting; equal scores are one step of either curve.

    Args:
        positive: (N,)
        scores: (N,), high where positive is likely.
        weightings: Each (N,), 0 or more.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    ranked = positive[order]
    return [_areas(weights[order], ranked, last) for weights in weightings]


def _areas(weights: Floats, positive: NDArray[np.bool_], last: NDArray[np.intp]) -> tuple[float, float]:
    """Of examples in falling order; `last` is where each run of equal scores ends."""
    hits = np.cumsum(weights * positive)[last]
    falses = np.cumsum(weights * ~positive)[last]
    if hits[-1] <= 0:
        return np.nan, np.nan
    said = hits + falses
    precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
    auprc = float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1])
    if falses[-1] <= 0:
        return np.nan, auprc
    return float(np.trapezoid(np.append(0.0, hits), np.append(0.0, falses)) / hits[-1] / falses[-1]), auprc
