"""Head calibration: fit on some groups, measure on the others, and keep what was there unless that is better."""

from __future__ import annotations

from collections.abc import Mapping
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
from scopeline_calibration.scaling import Scaling, deserves_bias, fit_scaling

BAR = 0.05
"""Expected calibration error that has to be reached on pictures that were not fitted on (acceptance I1)."""
FOLDS = 5
REPEATS = 5
"""Ways of drawing the folds. Of few hundred pictures the error by one way alone was 0.033 to 0.056."""
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
    """Pictures by true label. Labels that no picture has are left out of the fit: where their bias would have to lie,
    nobody can know. The figures are of what the head says, all its labels included."""
    before: Scaling
    after: Scaling
    """Fitted on all pictures; what is measured was fitted on other groups each time."""
    measured_before: Measured | None = None
    measured_after: Measured | None = None
    balanced_accuracy: Figure | None = None
    chance: float = 0.0
    """Balanced accuracy of a head that knows nothing."""
    log_loss_among: float = 0.0
    """Log loss after scaling of what is said of the labels that occur, among themselves."""
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
    """Fit temperature and bias by cross-fitting: every picture is measured with scalings fitted on other groups: the
    mean of what they say over a few ways of drawing the folds.

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
    wide = logits.astype(np.float64)
    before = Scaling(head.temperature, head.bias)
    counts = dict(zip(head.labels, np.bincount(truth, minlength=len(head.labels)).tolist(), strict=True))
    group_count = len(np.unique(groups))
    if len(truth) < FEWEST or group_count < FEWEST_GROUPS or len(np.unique(truth)) < 2:
        lacking = _lacking(len(truth), group_count)
        return HeadCalibration(head.name, lacking, len(truth), group_count, counts, before, before)
    # Decided once: what is measured and what is written are the same kind of scaling.
    has_bias = deserves_bias(truth, groups)
    occurs = np.isin(np.arange(wide.shape[1]), truth)
    said, prior = np.zeros_like(wide), np.zeros_like(wide)
    for repeat in range(REPEATS):
        for fit, test in grouped_folds(truth, groups, FOLDS, seed * REPEATS + repeat):
            fitted = _fitted(before, wide[fit], truth[fit], has_bias=has_bias)
            said[test] += fitted(wide[test]) / REPEATS
            shares = (np.bincount(truth[fit], minlength=wide.shape[1]) + 0.5) * occurs
            prior[test] += shares / shares.sum() / REPEATS
    balanced = with_interval(balanced_statistic(said, truth), groups, seed=seed)
    chance = 1 / len(np.unique(truth))
    old, new = _measured(before(wide), truth, groups, seed), _measured(said, truth, groups, seed)
    # That a label does not occur the shares know, and a head cannot.
    among = said * occurs
    among_loss, worth = log_loss(among / among.sum(axis=1, keepdims=True), truth), log_loss(prior, truth)
    return HeadCalibration(
        head.name,
        _outcome(old, new, is_informative=balanced.low > chance and among_loss < worth),
        len(truth),
        group_count,
        counts,
        before,
        _fitted(before, wide, truth, has_bias=has_bias),
        old,
        new,
        balanced,
        chance,
        among_loss,
        worth,
        _strata(said, truth, groups, quality, seed),
        _cumulative(head, said, truth) if head.role == "grade" else (),
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


def _fitted(
    before: Scaling, logits: NDArray[np.float64], truth: NDArray[np.int64], *, has_bias: bool
) -> Scaling:
    """The scaling that is best among the labels that occur. One that does not keeps what bias it had beside the others,
    whose mean a fit leaves at 0."""
    present = np.unique(truth)
    among = fit_scaling(logits[:, present], np.searchsorted(present, truth), has_bias=has_bias)
    old = np.array(before.bias) if before.bias else np.zeros(logits.shape[1])
    bias = old - old[present].mean()
    bias[present] = among.bias if among.bias else 0.0
    return Scaling(among.temperature, tuple(bias.tolist()) if bias.any() else ())


def _cumulative(head: Head, said: NDArray[np.float64], truth: NDArray[np.int64]) -> tuple[Cumulative, ...]:
    """How well each P(grade >= k) is calibrated; those that all or no pictures fulfil are left out."""
    found = []
    for label in range(1, len(head.labels)):
        yes = said[:, label:].sum(axis=1)
        is_so = (truth >= label).astype(np.int64)
        if 0 < is_so.mean() < 1:
            found.append(
                Cumulative(head.labels[label], calibration_error(np.stack([1 - yes, yes], axis=1), is_so))
            )
    return tuple(found)


def _disordered(said: NDArray[np.float64]) -> int:
    at_least = np.cumsum(said[:, ::-1], axis=1)[:, ::-1]
    return int((np.diff(at_least, axis=1) > 1e-9).any(axis=1).sum())
