"""Temperatures: one number per head that makes its probabilities mean what they say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scopeline_training.examples import UNKNOWN

Logits = NDArray[np.float32]


def fit_temperature(logits: Logits, targets: NDArray[np.int64]) -> float:
    """The temperature in 0.5..8 with the smallest mean negative log-likelihood; 1 with nothing to fit on.

    Guo et al. 2017, "On calibration of modern neural networks". A golden-section search over the logarithm: the
    likelihood has one optimum in it. Where no example is wrong the best temperature is 0; 0.5 is where we stop
    believing that.
    """
    known = targets != UNKNOWN
    if not known.any():
        return 1.0
    logits, targets = logits[known].astype(np.float64), targets[known]
    low, high = np.log(0.5), np.log(8.0)
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if negative_log_likelihood(logits / np.exp(left), targets) < negative_log_likelihood(
            logits / np.exp(right), targets
        ):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def negative_log_likelihood(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """Mean over (N, K) logits with (N,) targets."""
    peak = logits.max(axis=1, keepdims=True)
    log_sum = peak[:, 0] + np.log(np.exp(logits - peak).sum(axis=1))
    return float((log_sum - logits[np.arange(len(targets)), targets]).mean())


def probabilities(logits: Logits, temperature: float) -> Logits:
    """(N, K) softmax of tempered logits."""
    scaled = logits / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)
