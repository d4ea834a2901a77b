"""Risk and coverage: what is gained by saying nothing where one is unsure (selective classification).

El-Yaniv and Wiener 2010, "On the foundations of noise-free selective classification"; Geifman and El-Yaniv 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scopeline_calibration.reliability import grouped_folds

FOLDS = 5
LEAST_ACCEPTED = 20
"""A bound that lets fewer pictures through is not chosen: their risk is not known."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Bounds on a score and what happens at each: pictures below the bound are not answered."""

    bounds: NDArray[np.float64]
    coverage: NDArray[np.float64]
    """Share of pictures that are answered, 0..1."""
    risk: NDArray[np.float64]
    """Share of wrong ones among the answered, 0..1."""

    @property
    def area(self) -> float:
        """Mean risk over coverages (AURC): less is better."""
        return float(np.trapezoid(self.risk, self.coverage) / max(self.coverage[-1] - self.coverage[0], 1e-9))

    def risk_at(self, coverage: float) -> float:
        """Risk at the smallest coverage that is at least this much."""
        place = int(np.searchsorted(self.coverage, coverage - 1e-12))
        return float(self.risk[min(place, len(self.risk) - 1)])


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A bound, and what it did on groups it was not chosen on."""

    bound: float
    coverage: float
    risk: float
    low: float
    high: float
    """95 % interval of the risk, from resampling groups."""


def risk_coverage(scores: NDArray[np.float64], wrong: NDArray[np.bool_]) -> Curve:
    """The curve over every score that occurs, from the highest bound to the lowest.

    Args:
        scores: (N,) how sure the head is.
        wrong: (N,) whether its answer is wrong.
    """
    order = np.argsort(-scores, kind="stable")
    sorted_scores = scores[order]
    ends = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))
    answered = ends + 1
    return Curve(sorted_scores[ends], answered / len(scores), np.cumsum(wrong[order])[ends] / answered)


def choose_bound(scores: NDArray[np.float64], wrong: NDArray[np.bool_], risk: float) -> float | None:
    """The bound with the largest coverage whose risk is at most `risk`; None when no bound reaches it."""
    curve = risk_coverage(scores, wrong)
    reached = np.flatnonzero((curve.risk <= risk) & (curve.coverage * len(scores) >= LEAST_ACCEPTED))
    return float(curve.bounds[reached[-1]]) if len(reached) else None


def operating_point(
    scores: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    risk: float,
    seed: int = 0,
) -> OperatingPoint | None:
    """The bound for a stated risk, chosen on all pictures, and its risk and coverage by cross-fitting.

    Each group is judged by the bound that the other groups chose; None when some of them or all together find no bound.
    """
    bound = choose_bound(scores, wrong, risk)
    if bound is None:
        return None
    answered = np.zeros(len(scores), np.bool_)
    for fit, test in grouped_folds(wrong.astype(np.int64), groups, FOLDS, seed):
        chosen = choose_bound(scores[fit], wrong[fit], risk)
        if chosen is None:
            return None
        answered[test] = scores[test] >= chosen
    low, high = _interval(wrong[answered], groups[answered], seed)
    return OperatingPoint(bound, float(answered.mean()), float(wrong[answered].mean()), low, high)


def _interval(wrong: NDArray[np.bool_], groups: NDArray[np.int64], seed: int) -> tuple[float, float]:
    place = np.unique(groups, return_inverse=True)[1]
    sizes, errors = np.bincount(place), np.bincount(place, weights=wrong)
    draws = np.random.default_rng(seed).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), 1000)
    low, high = np.quantile((draws @ errors) / (draws @ sizes), [0.025, 0.975])
    return float(low), float(high)
