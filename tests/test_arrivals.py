"""What arriving frames give away: every kind of trouble planted into feeds with ordinary unrest."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from scopeline.arrivals import Arrivals
from scopeline.notices import Incident, Notice, Signal

SIZE, FORMAT = (1920, 1080), "yuv420p"
Feed = list[tuple[int, float, float]]
"""Number, arrival in seconds, stream time in seconds."""


def even(count: int = 600, fps: float = 30.0) -> Feed:
    return [(index, 100 + index / fps, index / fps) for index in range(count)]


def jittered(count: int = 600, fps: float = 30.0) -> Feed:
    rng = random.Random(3)
    late = sorted(at_s + rng.uniform(0, 0.04) for _, at_s, _ in even(count, fps))
    return [(seq, at_s, time_s) for at_s, (seq, _, time_s) in zip(late, even(count, fps), strict=True)]


def bunched(count: int = 600, fps: float = 30.0) -> Feed:
    """Three frames leave the decoder together, when the last of them is there."""
    return [
        (seq, 100 + (seq // 3 * 3 + 2) / fps + seq % 3 * 1e-3, time_s) for seq, _, time_s in even(count, fps)
    ]


def uneven(count: int = 600) -> Feed:
    """24 pictures a second in a 60 Hz signal, seen by a card that stamps pictures: 33 and 50 ms in turn."""
    times = [index // 2 / 12 + index % 2 / 30 for index in range(count)]
    return [(seq, 100 + time_s, time_s) for seq, time_s in enumerate(times)]


def stamped_by_arrival(count: int = 600) -> Feed:
    return [(seq, at_s, at_s - 100) for seq, at_s, _ in jittered(count)]


def told(feed: Feed, arrivals: Arrivals | None = None) -> list[Notice]:
    arrivals = arrivals or Arrivals()
    return [
        notice
        for seq, at_s, time_s in feed
        for notice in arrivals.observe(seq, round(at_s * 1e9), time_s, SIZE, FORMAT)
    ]


FEEDS = [even, jittered, bunched, uneven, stamped_by_arrival]


@pytest.mark.parametrize(
    "feed", [*FEEDS, lambda: even(600, 60), lambda: even(100, 5), lambda: jittered(300, 25)]
)
def test_ordinary_unrest_is_nothing_to_tell(feed: Callable[[], Feed]) -> None:
    assert told(feed()) == []


@pytest.mark.parametrize("waiting", [8, 15, 60])
def test_a_pipe_that_was_full_at_the_start_has_lost_nothing(waiting: int) -> None:
    at_once = [(seq, 100 + seq * 5e-3, seq * 5e-3) for seq in range(waiting)]
    begun_s = at_once[-1][2]
    paced = [(waiting + seq, 100 + begun_s + (seq + 1) / 15, begun_s + (seq + 1) / 15) for seq in range(150)]
    assert Incident.FRAMES_MISSING not in [notice.what for notice in told([*at_once, *paced])]


def test_a_slow_drift_of_the_clocks_is_nothing_to_tell() -> None:
    assert told([(seq, 100 + time_s * 1.0002, time_s) for seq, _, time_s in even(9000)]) == []


@pytest.mark.parametrize("feed", [even, jittered, bunched])
def test_numbers_that_are_missing_are_counted(feed: Callable[[], Feed]) -> None:
    (notice,) = told(feed()[:300] + feed()[307:])
    assert notice.what is Incident.FRAMES_MISSING
    assert notice.text.startswith("7 frames are missing")


@pytest.mark.parametrize("feed", [even, jittered, bunched])
def test_missing_frames_show_in_stream_time_where_numbers_do_not_tell(feed: Callable[[], Feed]) -> None:
    gap = feed()[:300] + [(seq - 4, at_s, time_s) for seq, at_s, time_s in feed()[304:]]
    (notice,) = told(gap)
    assert notice.what is Incident.FRAMES_MISSING
    assert notice.text.startswith("4 frames are missing")


def test_a_feed_that_loses_every_tenth_frame_says_so_now_and_then_and_counts_them_all() -> None:
    notices = told([each for each in even(900) if each[0] % 10 or each[0] < 100])
    assert 10 <= len(notices) <= 15
    assert sum(int(notice.text.split()[0]) for notice in notices) >= 75


@pytest.mark.parametrize("feed", [even, jittered, bunched])
@pytest.mark.parametrize("held", [5, 7])
def test_frames_that_were_held_and_come_together_are_a_burst(feed: Callable[[], Feed], held: int) -> None:
    frames = feed()
    release_s = frames[300 + held][1]
    late = [
        (seq, release_s - (300 + held - seq) * 1e-3 if 300 <= seq < 300 + held else at_s, time_s)
        for seq, at_s, time_s in frames
    ]
    assert [notice.what for notice in told(late)] == [Incident.BURST]


def test_silence_is_told_with_its_two_ends_when_it_is_over() -> None:
    frames = even()
    silent = frames[:300] + [(seq - 30, at_s, time_s) for seq, at_s, time_s in frames[330:]]
    stalled, running = told(silent)
    assert (stalled.what, running.what) == (Signal.STALLED, Signal.RUNNING)
    assert stalled.at_ns == pytest.approx((frames[299][1] + 0.35) * 1e9, abs=10)
    assert running.at_ns == pytest.approx(frames[330][1] * 1e9, abs=10)


def test_the_limit_of_silence_grows_with_the_interval() -> None:
    fast, slow = Arrivals(), Arrivals()
    assert fast.newest_ns is None
    told(even(50), fast)
    told(even(50, fps=4), slow)
    assert fast.silence_limit_ns == 350_000_000
    assert slow.silence_limit_ns == pytest.approx(750_000_000, abs=10)
    assert fast.newest_ns == round(even(50)[-1][1] * 1e9)


@pytest.mark.parametrize("feed", [even, jittered, bunched])
@pytest.mark.parametrize("slower", [1.4, 2.0])
def test_frames_that_come_later_and_later_are_told_within_half_a_second_and_once(
    feed: Callable[[], Feed], slower: float
) -> None:
    frames, starts_s = feed(), 110.0
    late = [
        (seq, at_s + max(at_s - starts_s, 0) * (slower - 1), time_s) for seq, at_s, time_s in frames[:450]
    ]
    (notice,) = told(late)
    assert notice.what is Incident.LAGGING
    assert notice.at_ns / 1e9 - starts_s < 0.55 + 0.1 * (feed is not even)


def test_a_lag_that_is_over_may_be_told_again() -> None:
    frames = even(1200)

    def late_s(at_s: float) -> float:
        turn_s = (at_s - 100) % 20
        return max(min(turn_s - 10, 1.0), 0) if turn_s < 13 else 0.0

    late = [(seq, at_s + late_s(at_s), time_s) for seq, at_s, time_s in frames]
    late.sort(key=lambda each: each[0])
    notices = [notice.what for notice in told([each for each in late if (each[1] - 100) % 20 < 19.9])]
    assert notices.count(Incident.LAGGING) == 2


def test_a_longer_way_through_the_network_is_no_lag() -> None:
    assert told([(seq, at_s + (0.12 if seq >= 300 else 0), time_s) for seq, at_s, time_s in even()]) == []


@pytest.mark.parametrize(("before", "after"), [(30, 25), (25, 50), (60, 30)])
def test_another_rate_is_another_format(before: int, after: int) -> None:
    first = even(300, before)
    start = first[-1]
    then = [
        (start[0] + 1 + index, start[1] + (index + 1) / after, start[2] + (index + 1) / after)
        for index in range(300)
    ]
    notices = [notice for notice in told(first + then) if notice.what is Incident.FORMAT_CHANGED]
    assert [notice.text for notice in notices] == [f"from {before} to {after} frames per second"]
    assert notices[0].at_ns / 1e9 - start[1] < 0.5


def formats() -> Iterator[tuple[tuple[int, int], str]]:
    yield from [(SIZE, FORMAT)] * 30 + [((1280, 720), FORMAT)] * 30 + [((1280, 720), "nv12")] * 30


def test_another_size_or_pixel_format_is_told_with_what_it_was() -> None:
    arrivals, texts = Arrivals(), []
    for seq, (size, pixel_format) in enumerate(formats()):
        stamp_s = seq / 30
        notices = arrivals.observe(seq, round((5 + stamp_s) * 1e9), stamp_s, size, pixel_format)
        texts += [notice.text for notice in notices if notice.what is Incident.FORMAT_CHANGED]
    assert texts == ["from 1920x1080 yuv420p to 1280x720 yuv420p", "from 1280x720 yuv420p to 1280x720 nv12"]
