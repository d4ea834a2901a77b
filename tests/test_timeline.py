"""Stream time grows whatever the stamps do, and is true where they are."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeline.sources.timeline import Timeline

WRAP_S = 2**33 / 90_000
"""Where the 33-bit clock of MPEG transport streams starts anew."""


def times(stamps: list[float | None], nominal_s: float = 0.04) -> list[float]:
    timeline = Timeline(nominal_s)
    return [timeline.next(stamp) for stamp in stamps]


def test_stamps_of_variable_rate_are_kept_and_start_at_0() -> None:
    rng = np.random.default_rng(0)
    truth = np.concatenate([[0.0], np.cumsum(rng.uniform(0.001, 9.9, 500))])
    assert times(list(truth + 1234.5)) == pytest.approx(truth, abs=1e-9)


def test_a_missing_stamp_takes_the_nominal_duration_and_shifts_nothing() -> None:
    assert times([1.0, None, 1.08, None, None, 1.2]) == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.2])


def test_a_stream_without_stamps_has_the_nominal_rate() -> None:
    assert times([None] * 100) == pytest.approx(np.arange(100) * 0.04)


def test_stamps_that_begin_late_go_on_from_there() -> None:
    assert times([None, None, 7.0, 7.1]) == pytest.approx([0, 0.04, 0.08, 0.18])


def test_one_repeated_stamp_shifts_nothing() -> None:
    assert times([0.0, 0.1, 0.1, 0.2, 0.3], nominal_s=0.05) == pytest.approx([0, 0.1, 0.15, 0.2, 0.3])


def test_one_stamp_from_the_far_future_shifts_nothing() -> None:
    assert times([0.0, 0.04, 5000.0, 0.12, 0.16]) == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])


def test_a_splice_to_an_earlier_time_goes_on_at_the_nominal_duration() -> None:
    assert times([50.0, 50.04, 3.0, 3.04, 3.09]) == pytest.approx([0, 0.04, 0.08, 0.12, 0.17])


def test_a_pause_of_more_than_two_minutes_is_closed_up() -> None:
    assert times([0.0, 0.04, 600.0, 600.04]) == pytest.approx([0, 0.04, 0.08, 0.12])
    assert times([0.0, 10.0, 20.0]) == [0.0, 10.0, 20.0]


def test_a_33_bit_wrap_is_bridged() -> None:
    stamps = [(WRAP_S - 0.1 + k * 0.04) % WRAP_S for k in range(10)]
    assert stamps[-1] < stamps[0]
    assert times(list(stamps)) == pytest.approx(np.arange(10) * 0.04, abs=1e-6)


@given(
    st.lists(
        st.one_of(st.none(), st.floats(), st.floats(-20, 20), st.integers(0, 5).map(float)), max_size=60
    ),
    st.floats(0, 1e6),
)
def test_time_starts_at_0_and_grows_strictly_whatever_comes_in(
    stamps: list[float | None], nominal_s: float
) -> None:
    result = times(stamps, nominal_s)
    assert result[:1] in ([], [0.0])
    assert all(before < after for before, after in itertools.pairwise(result))
    assert all(math.isfinite(time_s) for time_s in result)
