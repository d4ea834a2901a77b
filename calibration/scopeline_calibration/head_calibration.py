"""Head calibration: fit on some groups, measure on the others, and keep what was there unless that is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Head
from scopeline_calibration.reliability import (
    Bin,
    Figure,
    balanced_statistic,
    brier_statistic,
    calibration_error,
    calibration_statistic,
    error_floor,
    grouped_folds,
    log_loss,
    reliability_bins,
    with_interval,
)
from scopeline_calibration.scaling import Scaling, fit_scaling

BAR = 0.05
"""Expected calibration error that has to be reached on pictures that were not fitted on (acceptance I1)."""
FOLDS = 5
FEWEST = 40
"""Labelled pictures below which nothing is said."""
FEWEST_GROUPS = 2 * FOLDS
STRATA = ((0.0, 0.5), (0.5, 0.9), (0.9, 1.0))
"""Bounds of the quality probability."""

Outcome = Literal[
    "calibrated",
    "kept: missed the bar",
    "kept: too few to tell",
    "kept: no better",
    "uninformative",
    "too few pictures",
    "too few groups",
    "one label only",
]


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of scaling on pictures it was not fitted on."""

    error: Figure
    """Expected calibration error."""
    brier: Figure
    log_loss: float
    floor: float
    """The error that chance alone would show for so many pictures. Above the bar, the bar cannot be shown."""
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Stratum:
    """Pictures of like quality, after scaling."""

    low: float
    high: float
    pictures: int
    error: Figure


@dataclass(frozen=True, slots=True)
class Cumulative:
    """P(grade >= label) of an ordinal head, after scaling."""

    label: str
    error: float
    """Expected calibration error of that yes-or-no question."""


@dataclass(frozen=True, slots=True)
class HeadCalibration:
    """What was found of one head."""

    head: str
    outcome: Outcome
    pictures: int
    groups: int
    counts: Mapping[str, int]
    """Pictures by true label. Those that no picture has are left out of fit and figures: what the head says of the
    others among themselves is measured, and where the bias of the missing ones would have to lie, nobody can know."""
    before: Scaling
    after: Scaling
    """Fitted on all pictures; what is measured was fitted on other groups each time."""
    measured_before: Measured | None = None
    measured_after: Measured | None = None
    balanced_accuracy: Figure | None = None
    chance: float = 0.0
    """Balanced accuracy of a head that knows nothing."""
    prior_log_loss: float = 0.0
    """Log loss of always giving the shares of the labels, learned on the same folds."""
    strata: tuple[Stratum, ...] = ()
    cumulative: tuple[Cumulative, ...] = ()
    disordered: int = 0
    """Pictures with P(>= k) below P(>= k + 1) for some k."""


def calibrate_head(
    head: Head,
    logits: NDArray[np.float32],
    truth: NDArray[np.int64],
    groups: NDArray[np.int64],
    *,
    quality: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> HeadCalibration:
    """Fit temperature and bias by cross-fitting: every picture is measured with a scaling fitted on other groups.

    A head whose balanced accuracy cannot be told from chance, or which is no better than the shares of the labels in
    log loss, is uninformative: any temperature that flattens it would look calibrated.

    Args:
        head: With the scaling that is in force.
        logits: (N, K).
        truth: (N,) labels; every picture has one.
        groups: (N,) what belongs together: patient, clip, look-alikes.
        quality: (N,) probability that a picture can be judged, for the strata.
        seed: Of folds and resampling.
    """
    whole = Scaling(head.temperature, head.bias)
    present, known = np.unique(truth, return_inverse=True)
    wide, before = logits[:, present].astype(np.float64), _among(whole, present)
    counts = dict(zip(head.labels, np.bincount(truth, minlength=len(head.labels)).tolist(), strict=True))
    group_count = len(np.unique(groups))
    if len(truth) < FEWEST or group_count < FEWEST_GROUPS or len(np.unique(truth)) < 2:
        lacking = _lacking(len(truth), group_count)
        return HeadCalibration(head.name, lacking, len(truth), group_count, counts, whole, whole)
    truth = known.astype(np.int64)
    said, prior = np.zeros_like(wide), np.zeros_like(wide)
    for fit, test in grouped_folds(truth, groups, FOLDS, seed):
        said[test] = fit_scaling(wide[fit], truth[fit], groups[fit])(wide[test])
        shares = np.bincount(truth[fit], minlength=wide.shape[1]) + 0.5
        prior[test] = shares / shares.sum()
    balanced = with_interval(balanced_statistic(said, truth), groups, seed=seed)
    chance = 1 / len(present)
    old, new = _measured(before(wide), truth, groups, seed), _measured(said, truth, groups, seed)
    worth = log_loss(prior, truth)
    return HeadCalibration(
        head.name,
        _outcome(old, new, is_informative=balanced.low > chance and new.log_loss < worth),
        len(truth),
        group_count,
        counts,
        whole,
        _with_all(fit_scaling(wide, truth, groups), present, len(head.labels)),
        old,
        new,
        balanced,
        chance,
        worth,
        _strata(said, truth, groups, quality, seed),
        _cumulative([head.labels[label] for label in present], said, truth) if head.role == "grade" else (),
        _disordered(said) if head.role == "grade" else 0,
    )


def _lacking(pictures: int, groups: int) -> Outcome:
    if pictures < FEWEST:
        return "too few pictures"
    return "too few groups" if groups < FEWEST_GROUPS else "one label only"


def _outcome(old: Measured, new: Measured, *, is_informative: bool) -> Outcome:
    if not is_informative:
        return "uninformative"
    if new.error.value > old.error.value or new.log_loss > old.log_loss:
        return "kept: no better"
    if new.error.value <= BAR:
        return "calibrated"
    return "kept: missed the bar" if new.floor <= BAR else "kept: too few to tell"


def _measured(
    said: NDArray[np.float64], truth: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> Measured:
    return Measured(
        with_interval(calibration_statistic(said, truth), groups, seed=seed),
        with_interval(brier_statistic(said, truth), groups, seed=seed),
        log_loss(said, truth),
        error_floor(said, seed=seed),
        tuple(reliability_bins(said, truth)),
    )


def _strata(
    said: NDArray[np.float64],
    truth: NDArray[np.int64],
    groups: NDArray[np.int64],
    quality: NDArray[np.float64] | None,
    seed: int,
) -> tuple[Stratum, ...]:
    if quality is None:
        return ()
    found = []
    for low, high in STRATA:
        rows = np.flatnonzero((quality >= low) & ((quality < high) | (high == 1.0)))
        if len(rows) >= FEWEST:
            error = with_interval(calibration_statistic(said[rows], truth[rows]), groups[rows], seed=seed)
            found.append(Stratum(low, high, len(rows), error))
    return tuple(found)


def _among(scaling: Scaling, present: NDArray[np.int64]) -> Scaling:
    """What a scaling does to some labels among themselves."""
    return Scaling(
        scaling.temperature, tuple(scaling.bias[label] for label in present) if scaling.bias else ()
    )


def _with_all(scaling: Scaling, present: NDArray[np.int64], labels: int) -> Scaling:
    """The scaling with a bias of 0, which is the mean of the others, for labels that no picture had."""
    if not scaling.bias:
        return scaling
    bias = np.zeros(labels)
    bias[present] = scaling.bias
    return Scaling(scaling.temperature, tuple(bias.tolist()))


def _cumulative(
    labels: Sequence[str], said: NDArray[np.float64], truth: NDArray[np.int64]
) -> tuple[Cumulative, ...]:
    """How well each P(grade >= k) is calibrated; those that all or no pictures fulfil are left out."""
    found = []
    for label in range(1, len(labels)):
        yes = said[:, label:].sum(axis=1)
        is_so = (truth >= label).astype(np.int64)
        if 0 < is_so.mean() < 1:
            found.append(
                Cumulative(labels[label], calibration_error(np.stack([1 - yes, yes], axis=1), is_so))
            )
    return tuple(found)


def _disordered(said: NDArray[np.float64]) -> int:
    at_least = np.cumsum(said[:, ::-1], axis=1)[:, ::-1]
    return int((np.diff(at_least, axis=1) > 1e-9).any(axis=1).sum())
