"""Simulated procedures with a known truth: what a location head and a Mayo head would say, frame by frame.

Synthetic: use it to rank filters and to prove code, never to claim anything about patients. The recipe:
ordered states with neighbours that are confused with one another; frame errors that are correlated in time
(AR(1)), because consecutive frames look alike and are wrong together; bursts of bad frames that carry no
signal; and a quality score that tells bad from good only mostly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import erf

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray

NEIGHBOUR = 0.45
"""Share of the signal that spills into the neighbouring states."""
DRIFT, DRIFT_RHO, WHITE = 0.8, 0.97, 0.6
"""Standard deviation of the slow error, its correlation from frame to frame at 10 fps, and of the fast error.
Their squares sum to 1, which is what makes `accuracy_of` a one-dimensional integral."""
SHARPNESS = 1.6
"""Factor on the logits before the softmax: heads are a little too sure of themselves."""
BAD_SHARE, BAD_BURST_S = 0.3, 1.5
STAY_S, STAY_SHAPE = 80.0, 4.0
BACK = 0.15
"""Chance that a visit is followed by a step back instead of forward."""


@dataclass(frozen=True, slots=True)
class SimulatedSequence:
    """One procedure: T frames of K states."""

    time_s: NDArray[np.float64]
    """(T,) stream time, from 0."""
    truth: NDArray[np.intp]
    """(T,) the true state, 0..K-1."""
    probabilities: NDArray[np.float32]
    """(T, K) what the head says; rows sum to 1."""
    quality: NDArray[np.float64]
    """(T,) probability that the frame can be judged, 0..1."""
    bad: NDArray[np.bool_]
    """(T,) whether the frame truly carries no signal."""


@dataclass(frozen=True, slots=True)
class GradedStretch:
    """A stretch of one location in a simulated procedure, and its true grades."""

    start: int
    """First frame."""
    stop: int
    """One past the last frame."""
    location: int
    dominant: int
    """The grade of most of the stretch."""
    worst: int
    """The highest grade that is in view for at least two seconds without a break."""


@dataclass(frozen=True, slots=True)
class GradedProcedure:
    """A procedure with a known location and a known grade on every frame."""

    location: SimulatedSequence
    grade: SimulatedSequence
    """Same times, quality and bad frames as `location`; `truth` is the grade in view, 0..3."""
    stretches: tuple[GradedStretch, ...]


@cache
def signal_for(accuracy: float, *, states: int = 6) -> float:
    """The signal strength at which the largest logit of a good frame is right with the given probability."""
    low, high = 0.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if accuracy_of(middle, states=states) < accuracy else (low, middle)
    return (low + high) / 2


def accuracy_of(signal: float, *, states: int = 6) -> float:
    """Probability that a good frame is right, averaged over the states: Gauss-Hermite quadrature, not
    sampled."""
    nodes, weights = hermegauss(80)
    means = signal * _pattern(states)
    right = 0.0
    for state in range(states):
        gaps = means[state, state] - np.delete(means[state], state)
        right += float(np.sum(weights * np.prod(_normal_cdf(nodes[:, None] + gaps), axis=1)))
    return right / states / float(np.sum(weights))


def simulate(
    seed: int,
    *,
    accuracy: float,
    states: int = 6,
    fps: float = 10.0,
    bad_share: float = BAD_SHARE,
    one_place_s: float | None = None,
    still: bool = False,
) -> SimulatedSequence:
    """One procedure from the first state to the last, or `one_place_s` seconds in a single one.

    `accuracy` is the single-frame accuracy on good frames, 0..1, over all scenes. A `still` scope sees one scene: the
    slow error, which comes of what is in view, stays as it is, and only the fast one changes.
    """
    rng = np.random.default_rng(seed)
    if one_place_s is None:
        truth = _walk(rng, states, fps)
    else:
        truth = np.full(round(one_place_s * fps), rng.integers(states), dtype=np.intp)
    bad = _bursts(rng, len(truth), fps, bad_share)
    rho = 1.0 if still else _rho(fps)
    return _observe(
        rng, truth, bad, _quality(rng, bad), signal_for(accuracy, states=states), states, rho, fps
    )


def simulate_graded(seed: int, *, accuracy: float, fps: float = 10.0, grades: int = 4) -> GradedProcedure:
    """One procedure in which every location has a grade of its own, with patches of a higher grade in places.

    The location is told apart with 87 % of good frames, the grade with `accuracy`.
    """
    rng = np.random.default_rng(seed)
    location = simulate(seed + 1_000_003, accuracy=0.87, fps=fps)
    truth, stretches = _grades_in_view(rng, location.truth, fps, grades)
    signal = signal_for(accuracy, states=grades)
    grade = _observe(rng, truth, location.bad, location.quality, signal, grades, _rho(fps), fps)
    return GradedProcedure(location, grade, stretches)


def _grades_in_view(
    rng: np.random.Generator, location: NDArray[np.intp], fps: float, grades: int
) -> tuple[NDArray[np.intp], tuple[GradedStretch, ...]]:
    grade = np.zeros(len(location), dtype=np.intp)
    edges = [0, *(np.flatnonzero(np.diff(location)) + 1).tolist(), len(location)]
    stretches = []
    for start, stop in pairwise(edges):
        dominant = int(rng.choice(grades, p=_tilted(grades)))
        grade[start:stop] = dominant
        worst = dominant
        if dominant + 1 < grades and rng.random() < 0.5 and stop - start > 20 * fps:
            worst = dominant + 1
            for _ in range(int(rng.integers(1, 4))):
                length = round(float(rng.uniform(3.0, 8.0)) * fps)
                at = int(rng.integers(start, stop - length))
                grade[at : at + length] = worst
        stretches.append(GradedStretch(start, stop, int(location[start]), dominant, worst))
    return grade, tuple(stretches)


def _tilted(grades: int) -> NDArray[np.float64]:
    """Low grades are more common, as in every published set."""
    shares = np.linspace(1.6, 0.6, grades)
    tilted: NDArray[np.float64] = shares / shares.sum()
    return tilted


def _pattern(states: int) -> NDArray[np.float64]:
    """(K, K): the mean logits of each true state at signal 1."""
    pattern: NDArray[np.float64] = np.eye(states) + NEIGHBOUR * (np.eye(states, k=1) + np.eye(states, k=-1))
    return pattern


def _normal_cdf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    below: NDArray[np.float64] = 0.5 * (1.0 + np.vectorize(erf)(x / np.sqrt(2.0)))
    return below


def _walk(rng: np.random.Generator, states: int, fps: float) -> NDArray[np.intp]:
    """States from first to last with now and then a step back; each visit lasts a Gamma time."""
    visits: list[NDArray[np.intp]] = []
    state = 0
    while True:
        frames = max(1, round(float(rng.gamma(STAY_SHAPE, STAY_S / STAY_SHAPE)) * fps))
        visits.append(np.full(frames, state, dtype=np.intp))
        if state == states - 1:
            return np.concatenate(visits)
        state += -1 if state > 0 and rng.random() < BACK else 1


def _bursts(rng: np.random.Generator, frames: int, fps: float, share: float) -> NDArray[np.bool_]:
    """Alternating good and bad runs of geometric length with the given share of bad frames."""
    bad = np.zeros(frames, dtype=np.bool_)
    if share == 0.0:
        return bad
    mean_bad = BAD_BURST_S * fps
    mean_good = mean_bad * (1 - share) / share
    at, is_bad = 0, bool(rng.random() < share)
    while at < frames:
        length = int(rng.geometric(1 / (mean_bad if is_bad else mean_good)))
        bad[at : at + length] = is_bad
        at, is_bad = at + length, not is_bad
    return bad


def _quality(rng: np.random.Generator, bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(bad, rng.beta(2, 6, len(bad)), rng.beta(6, 2, len(bad)))


def _observe(
    rng: np.random.Generator,
    truth: NDArray[np.intp],
    bad: NDArray[np.bool_],
    quality: NDArray[np.float64],
    signal: float,
    states: int,
    rho: float,
    fps: float,
) -> SimulatedSequence:
    """What the head says of every frame: signal where there is one, errors everywhere, softmax."""
    frames = len(truth)
    logits = signal * _pattern(states)[truth] * ~bad[:, None]
    logits += DRIFT * _drift(rng, frames, states, rho) + WHITE * rng.standard_normal((frames, states))
    scores = np.exp(SHARPNESS * (logits - logits.max(axis=1, keepdims=True)))
    probabilities = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return SimulatedSequence(np.arange(frames) / fps, truth, probabilities, quality, bad)


def _rho(fps: float) -> float:
    """The slow error's correlation from frame to frame."""
    return float(DRIFT_RHO ** (10.0 / fps))


def _drift(rng: np.random.Generator, frames: int, states: int, rho: float) -> NDArray[np.float64]:
    """(T, K) stationary AR(1) of unit variance."""
    steps: NDArray[np.float64] = rng.standard_normal((frames, states)) * np.sqrt(1 - rho * rho)
    value = rng.standard_normal(states)
    for row in steps:
        value = rho * value + row
        row[:] = value
    return steps
