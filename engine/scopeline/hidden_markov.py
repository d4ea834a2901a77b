"""A causal hidden-Markov filter over ordered labels, tempered and weighted by quality.

    alpha_t  proportional to  (A(dt)^T alpha_{t-1}) * (p_t / prior)^(g q_t),   A(dt) = expm(R dt)

Without tempering (g far below 1) it is the worst smoother of all where errors last for seconds, as they do
in video: it takes ten near-identical wrong frames for ten independent witnesses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scopeline.hysteresis import FLOOR

Matrix = NDArray[np.float64]
MOST_KNOWN = 64


def rate_matrix(
    label_count: int, *, stay_s: float, forward: float = 0.8, back: float = 0.15, jump: float = 0.05
) -> Matrix:
    """(K, K) float64 generator in 1/s of a walk along ordered labels; rows sum to 0.

    `stay_s` is the mean stay; `forward`, `back` and `jump` share out where it goes next (`jump` evenly over
    all that are not neighbours). A share without a target (forward from the last label) is simply not left
    for.
    """
    rates = np.zeros((label_count, label_count))
    for state in range(label_count):
        far = [other for other in range(label_count) if abs(other - state) > 1]
        rates[state, far] = jump / max(1, len(far))
        if state + 1 < label_count:
            rates[state, state + 1] = forward
        if state > 0:
            rates[state, state - 1] = back
    rates /= stay_s
    np.fill_diagonal(rates, -rates.sum(axis=1))
    return rates


def transitions(rates: Matrix, step_s: float) -> Matrix:
    """(K, K) expm(rates * step_s): probability of each label `step_s` later; rows sum to 1.

    By uniformisation (Jensen 1953), which has no subtraction and so no cancellation, halving long steps
    first.
    """
    states = len(rates)
    fastest = float(-rates.diagonal().min())
    if fastest * step_s <= 0.0:
        return np.eye(states)
    halvings = max(0, int(np.ceil(np.log2(fastest * step_s))))
    mean = fastest * step_s / 2**halvings
    jumps = np.eye(states) + rates / fastest
    term = np.eye(states) * np.exp(-mean)
    total: Matrix = term.copy()
    order = 0
    while term.max() > 1e-18:
        order += 1
        term = term @ jumps * (mean / order)
        total += term
    for _ in range(halvings):
        total = total @ total
    return total


class ForwardFilter:
    """P(label now | everything so far). Float64 throughout."""

    def __init__(self, rates: Matrix, *, prior: Sequence[float] | None = None) -> None:
        self._rates = rates
        states = len(rates)
        self._uniform = np.full(states, 1 / states)
        self._log_prior = np.log(self._uniform if prior is None else np.asarray(prior, dtype=np.float64))
        self._known: dict[float, Matrix] = {}
        self.posterior: NDArray[np.float64] = self._uniform.copy()
        """(K,) float64, sums to 1."""

    def reset(self) -> None:
        """Know nothing, as at the start."""
        self.posterior = self._uniform.copy()

    def predict(self, step_s: float) -> None:
        """Let `step_s` seconds pass without evidence."""
        self.posterior = self.posterior @ self._after(round(step_s, 6))

    def _after(self, step_s: float) -> Matrix:
        """Transitions of whole microseconds are kept: a steady stream has a few different steps (55 -> 20 us)."""
        known = self._known.get(step_s)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[step_s] = transitions(self._rates, step_s)
        return known

    def correct(self, probabilities: NDArray[np.float32] | Sequence[float], exponent: float) -> None:
        """Take one frame's probabilities (K,) to the power of `exponent` (tempering times quality)."""
        scores = np.log(np.maximum(probabilities, FLOOR)) - self._log_prior
        scores = exponent * (scores - scores.max())
        posterior = self.posterior * np.exp(scores)
        self.posterior = posterior / posterior.sum()
