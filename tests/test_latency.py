from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeline.latency import LatencyHistogram


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_percentiles_lie_within_a_bin_of_the_exact_ones(samples: list[float], share: float) -> None:
    histogram = LatencyHistogram()
    for sample in samples:
        histogram.add(sample)
    exact = float(np.quantile(samples, share, method="inverted_cdf"))
    assert histogram.percentile(share) == pytest.approx(exact, rel=0.023)


def test_the_maximum_is_exact() -> None:
    histogram = LatencyHistogram()
    for sample in (1.0, 123.456, 2.0):
        histogram.add(sample)
    assert histogram.summary()["max"] == 123.456


def test_no_samples_give_no_figures() -> None:
    assert LatencyHistogram().summary() == {}
    assert math.isnan(LatencyHistogram().percentile(0.5))
