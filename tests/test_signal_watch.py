"""The one state of the feed: who is believed, and when it changes."""

from __future__ import annotations

import pytest

from scopeline.notices import Incident, Notice, Signal
from scopeline.signal_watch import SignalChange, SignalWatch

MS = 1_000_000
LIMIT_NS = 350 * MS


def running(at_ms: int = 0) -> SignalWatch:
    watch = SignalWatch()
    watch.frame(None, at_ms * MS)
    return watch


def names(changes: list[SignalChange]) -> list[Signal]:
    return [change.signal for change in changes]


def test_it_starts_connecting_and_the_first_frame_makes_it_run() -> None:
    watch = SignalWatch()
    assert watch.signal is Signal.CONNECTING
    assert watch.tick(9_000 * MS, None, LIMIT_NS) == []
    assert names(watch.frame(None, 10_000 * MS)) == [Signal.RUNNING]
    assert watch.frame(None, 10_033 * MS) == []


def test_a_state_is_told_once_with_its_time_and_what_to_do() -> None:
    watch = running()
    (change,) = watch.frame(Signal.BLACK, 500 * MS)
    assert (change.signal, change.at_ns) == (Signal.BLACK, 500 * MS)
    assert "light source" in change.text
    assert watch.frame(Signal.BLACK, 533 * MS) == []
    assert names(watch.frame(None, 566 * MS)) == [Signal.RUNNING]


def test_silence_beyond_the_limit_is_a_stall_and_the_next_frame_ends_it() -> None:
    watch = running(1000)
    assert watch.tick(1350 * MS, 1000 * MS, LIMIT_NS) == []
    assert names(watch.tick(1400 * MS, 1000 * MS, LIMIT_NS)) == [Signal.STALLED]
    assert watch.tick(1500 * MS, 1000 * MS, LIMIT_NS) == []
    assert names(watch.frame(None, 1600 * MS)) == [Signal.RUNNING]


def test_a_frame_that_was_captured_but_not_yet_judged_ends_a_stall_too() -> None:
    watch = running(1000)
    watch.tick(1400 * MS, 1000 * MS, LIMIT_NS)
    assert names(watch.tick(1500 * MS, 1490 * MS, LIMIT_NS)) == [Signal.RUNNING]


def test_a_late_result_of_a_frame_from_before_the_silence_does_not_end_it() -> None:
    watch = running(900)
    watch.tick(1400 * MS, 1000 * MS, LIMIT_NS)
    assert watch.frame(None, 1000 * MS) == []
    assert watch.signal is Signal.STALLED


@pytest.mark.parametrize("word", [Signal.CONNECTING, Signal.RECONNECTING, Signal.NO_SIGNAL])
def test_what_the_source_knows_is_better_than_stalled(word: Signal) -> None:
    watch = running(1000)
    assert names(watch.notice(Notice(1100 * MS, word, "because"))) == [word]
    assert watch.tick(3000 * MS, 1000 * MS, LIMIT_NS) == []


def test_a_source_that_says_why_replaces_a_stall() -> None:
    watch = running(1000)
    watch.tick(1400 * MS, 1000 * MS, LIMIT_NS)
    (change,) = watch.notice(Notice(1500 * MS, Signal.RECONNECTING, "connection refused"))
    assert change == SignalChange(Signal.RECONNECTING, 1500 * MS, "connection refused")
    assert names(watch.frame(None, 2000 * MS)) == [Signal.RUNNING]


def test_frames_still_on_their_way_when_the_connection_broke_do_not_end_reconnecting() -> None:
    watch = running(1000)
    watch.notice(Notice(1100 * MS, Signal.RECONNECTING))
    assert watch.frame(None, 1090 * MS) == []
    assert names(watch.frame(None, 1101 * MS)) == [Signal.RUNNING]


def test_a_card_without_signal_may_go_on_sending_its_own_screen() -> None:
    watch = running(1000)
    watch.notice(Notice(1100 * MS, Signal.NO_SIGNAL))
    assert watch.frame(Signal.FROZEN, 1500 * MS) == []
    assert names(watch.frame(None, 1600 * MS)) == [Signal.RUNNING]


def test_the_source_may_say_itself_that_it_runs() -> None:
    watch = running(1000)
    watch.notice(Notice(1100 * MS, Signal.NO_SIGNAL))
    assert names(watch.notice(Notice(1200 * MS, Signal.RUNNING))) == [Signal.RUNNING]


def test_incidents_change_nothing() -> None:
    watch = running(1000)
    assert watch.notice(Notice(1100 * MS, Incident.BURST, "x")) == []


def test_a_silence_that_no_tick_saw_is_told_afterwards() -> None:
    watch = running(1000)
    told = watch.notice(Notice(1350 * MS, Signal.STALLED)) + watch.notice(Notice(1420 * MS, Signal.RUNNING))
    assert [(change.signal, change.at_ns) for change in told] == [
        (Signal.STALLED, 1350 * MS),
        (Signal.RUNNING, 1420 * MS),
    ]


def test_a_silence_that_a_tick_saw_is_not_told_again() -> None:
    watch = running(1000)
    watch.tick(1400 * MS, 1000 * MS, LIMIT_NS)
    watch.tick(1500 * MS, 1480 * MS, LIMIT_NS)
    afterwards = [Notice(1350 * MS, Signal.STALLED), Notice(1480 * MS, Signal.RUNNING)]
    assert [watch.notice(notice) for notice in afterwards] == [[], []]
    watch = running(1000)
    watch.tick(1400 * MS, 1000 * MS, LIMIT_NS)
    assert watch.notice(afterwards[0]) == []
    assert names(watch.notice(afterwards[1])) == [Signal.RUNNING]


def test_after_a_stall_the_picture_is_what_it_looks_like() -> None:
    watch = running(1000)
    watch.frame(Signal.COLOUR_BARS, 1100 * MS)
    watch.tick(1500 * MS, 1100 * MS, LIMIT_NS)
    assert names(watch.frame(Signal.COLOUR_BARS, 1600 * MS)) == [Signal.COLOUR_BARS]


def test_what_is_older_than_half_a_second_is_stale() -> None:
    watch = running(1000)
    assert not watch.stale(1500 * MS, 1000 * MS)
    assert watch.stale(1501 * MS, 1000 * MS)
    assert not watch.stale(1501 * MS, None)
