"""The forward filter against brute-force enumeration of every path."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from scopeline.hidden_markov import ForwardFilter, rate_matrix, transitions


def eigen_exponential(matrix: np.ndarray) -> np.ndarray:
    """expm by diagonalisation: another route than the one under test."""
    values, vectors = np.linalg.eig(matrix)
    return np.real(vectors @ np.diag(np.exp(values)) @ np.linalg.inv(vectors))


@pytest.mark.parametrize("step_s", [0.04, 1.0, 37.0, 4000.0])
def test_transitions_are_the_exponential_of_the_rates(step_s: float) -> None:
    rates = rate_matrix(5, stay_s=60.0)
    np.testing.assert_allclose(transitions(rates, step_s), eigen_exponential(rates * step_s), atol=1e-12)


def test_two_steps_are_one_step_of_their_sum() -> None:
    rates = rate_matrix(6, stay_s=80.0)
    both = transitions(rates, 0.3) @ transitions(rates, 1.7)
    np.testing.assert_allclose(transitions(rates, 2.0), both, atol=1e-14)


def test_rates_share_out_where_a_label_is_left_for() -> None:
    rates = rate_matrix(4, stay_s=10.0, forward=0.8, back=0.15, jump=0.05)
    np.testing.assert_allclose(rates[1], [0.015, -0.1, 0.08, 0.005])
    np.testing.assert_allclose(rates.sum(axis=1), 0.0, atol=1e-15)


def test_the_filter_equals_the_sum_over_all_paths() -> None:
    rng = np.random.default_rng(7)
    states, frames, step_s = 3, 6, 5.0
    rates = rate_matrix(states, stay_s=20.0)
    move = eigen_exponential(rates * step_s)
    shares = rng.dirichlet(np.ones(states), size=frames)
    prior = np.array([0.5, 0.3, 0.2])

    joint = np.zeros(states)
    for path in product(range(states), repeat=frames):
        weight = 1 / states
        for at, state in enumerate(path):
            weight *= shares[at, state] / prior[state]
            if at > 0:
                weight *= move[path[at - 1], state]
        joint[path[-1]] += weight

    forward = ForwardFilter(rates, prior=prior.tolist())
    for at in range(frames):
        forward.predict(0.0 if at == 0 else step_s)
        forward.correct(shares[at], 1.0)
    np.testing.assert_allclose(forward.posterior, joint / joint.sum(), rtol=1e-10)


def test_a_frame_of_no_worth_changes_nothing() -> None:
    forward = ForwardFilter(rate_matrix(3, stay_s=20.0))
    forward.correct([0.7, 0.2, 0.1], 1.0)
    before = forward.posterior.copy()
    forward.correct([0.0, 0.0, 1.0], 0.0)
    np.testing.assert_allclose(forward.posterior, before)


def test_an_hour_of_certain_frames_does_not_underflow() -> None:
    forward = ForwardFilter(rate_matrix(6, stay_s=80.0))
    for _ in range(5000):
        forward.predict(0.1)
        forward.correct([1.0, 0.0, 0.0, 0.0, 0.0, 0.0], 1.0)
    forward.predict(0.1)
    forward.correct([0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 1.0)
    assert np.isfinite(forward.posterior).all()
    assert forward.posterior.sum() == pytest.approx(1.0)
