"""Live stream time: grows, believes honest stamps, keeps to arrival when stamps jump."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeline.sources.live_timeline import LiveTimeline

WRAP_S = 2**33 / 90_000


def run(stamps: list[float | None], arrivals_s: list[float]) -> tuple[list[float], list[int]]:
    timeline = LiveTimeline()
    times, jumps = [], []
    for index, (stamp_s, arrival_s) in enumerate(zip(stamps, arrivals_s, strict=True)):
        time_s, jumped = timeline.next(stamp_s, round(arrival_s * 1e9))
        times.append(time_s)
        if jumped:
            jumps.append(index)
    return times, jumps


def even(count: int, start_s: float = 100.0, step_s: float = 0.04) -> list[float]:
    return [start_s + index * step_s for index in range(count)]


def test_jitter_of_arrival_does_not_become_jitter_of_stream_time() -> None:
    rng = random.Random(1)
    arrivals = [at_s + rng.uniform(0, 0.04) for at_s in even(200)]
    times, jumps = run([*even(200, 7.0)], arrivals)
    assert times == pytest.approx(even(200, 0.0))
    assert jumps == []


@pytest.mark.parametrize("jump_s", [-WRAP_S, -3.0, 2.0, 95_000.0], ids=["wrap", "back", "ahead", "far"])
def test_a_jump_is_told_once_and_time_goes_on_with_arrival(jump_s: float) -> None:
    stamps = [stamp + (jump_s if index >= 50 else 0.0) for index, stamp in enumerate(even(100, WRAP_S - 2.0))]
    times, jumps = run([*stamps], even(100))
    assert jumps == [50]
    assert times == pytest.approx(even(100, 0.0), abs=1e-6)


def test_one_bad_stamp_shifts_nothing() -> None:
    stamps = even(100, 7.0)
    stamps[30] = -900.0
    times, jumps = run([*stamps], even(100))
    assert times == pytest.approx(even(100, 0.0), abs=1e-6)
    assert jumps == [30]


def test_a_pause_that_stamps_and_arrival_share_is_no_jump() -> None:
    with_pause = even(50, 0.0) + even(50, 32.0)
    times, jumps = run([*with_pause], [each + 5 for each in with_pause])
    assert times == pytest.approx(with_pause)
    assert jumps == []


def test_frames_that_waited_in_a_buffer_keep_the_times_they_were_made_at() -> None:
    arrivals = even(25) + [102.0 + 0.002 * index for index in range(25)] + even(50, 102.1)
    times, jumps = run([*even(100, 0.0)], arrivals)
    assert times == pytest.approx(even(100, 0.0))
    assert jumps == []


def test_frames_that_stay_behind_are_brought_back_to_arrival_quietly() -> None:
    arrivals = even(50) + even(150, 110.0)
    times, jumps = run([*even(200, 0.0)], arrivals)
    assert jumps == []
    assert times[-1] == pytest.approx(arrivals[-1] - arrivals[0], abs=0.1)


def test_a_slow_reader_does_not_stretch_stream_time() -> None:
    slow = [100.0 + 0.08 * index for index in range(100)] + [108.0 + 0.005 * index for index in range(100)]
    times, jumps = run([*even(200, 0.0)], slow)
    assert times == pytest.approx(even(200, 0.0))
    assert jumps == []


def test_stamps_that_run_at_a_quarter_of_the_speed_are_brought_back_now_and_then() -> None:
    times, _ = run([*even(1000, 0.0, 0.01)], even(1000))
    assert times[-1] == pytest.approx(999 * 0.04, abs=10.5)


def test_a_feed_without_stamps_lives_by_arrival() -> None:
    times, jumps = run([None] * 50, even(50))
    assert times == pytest.approx(even(50, 0.0))
    assert jumps == []


def test_stamps_that_stand_still_do_not_stop_time() -> None:
    times, _ = run([3.0] * 100, even(100))
    assert times[-1] == pytest.approx(99 * 0.04, abs=0.1)


def test_a_new_connection_begins_its_stamps_anew_and_that_is_no_jump() -> None:
    timeline = LiveTimeline()
    for index in range(50):
        timeline.next(900.0 + index * 0.04, round((100 + index * 0.04) * 1e9))
    timeline.reconnected()
    times, jumped = zip(
        timeline.next(0.0, 105_000_000_000), timeline.next(0.04, 105_040_000_000), strict=True
    )
    assert times == pytest.approx((5.0, 5.04))
    assert jumped == (False, False)


def test_a_feed_whose_stamps_always_jump_says_so_once_in_five_seconds() -> None:
    rng = random.Random(2)
    times, jumps = run([rng.uniform(0, 1e5) for _ in range(500)], even(500))
    assert 3 <= len(jumps) <= 5
    assert times[-1] == pytest.approx(499 * 0.04, abs=1.0)


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.floats(-1e6, 1e6)), st.integers(0, 10**10)), min_size=2, max_size=60
    )
)
def test_stream_time_always_grows(steps: list[tuple[float | None, int]]) -> None:
    timeline, captured_ns, before_s = LiveTimeline(), 10**12, -1.0
    for stamp_s, waited_ns in steps:
        captured_ns += waited_ns
        time_s, _ = timeline.next(stamp_s, captured_ns)
        assert time_s > before_s
        before_s = time_s
