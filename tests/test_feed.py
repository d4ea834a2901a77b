from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from fakes import scope_pixels
from fakes_media import ManualPace
from scopeline.errors import SourceError
from scopeline.notices import Incident, Notices, Signal
from scopeline.picture import picture_from_rgb
from scopeline.sources.connection import Arrival, Connection
from scopeline.sources.feed import LONGEST_WAIT_S, Feed

PICTURE = picture_from_rgb(scope_pixels())


class ScriptedConnection:
    """Delivers pictures with these stamps, then ends or breaks."""

    def __init__(
        self, pace: ManualPace, stamps_s: Sequence[float], *, breaks: str = "", is_final: bool = False
    ) -> None:
        self.is_final, self.is_closed = is_final, False
        self._pace, self._stamps_s, self._breaks = pace, stamps_s, breaks
        self._interrupted = threading.Event()

    @property
    def damaged(self) -> Mapping[str, int]:
        return {"damaged packet": 1}

    def arrivals(self) -> Iterator[Arrival]:
        for stamp_s in self._stamps_s:
            if self._interrupted.is_set():
                return
            self._pace.busy(40)
            yield Arrival(PICTURE, self._pace.now_ns(), stamp_s)
        if self._breaks:
            raise SourceError(self._breaks)

    def interrupt(self) -> None:
        self._interrupted.set()

    def close(self) -> None:
        self.is_closed = True


def steps(count: int, start_s: float = 0.0) -> list[float]:
    return [start_s + 0.04 * number for number in range(count)]


def feed_of(pace: ManualPace, notices: Notices, *connections: ScriptedConnection | SourceError) -> Feed:
    script = iter(connections)

    def connect() -> Connection:
        following = next(script)
        if isinstance(following, SourceError):
            raise following
        return following

    return Feed("card", connect, notices, pace=pace)


def test_frames_of_two_connections_are_one_stream() -> None:
    pace, notices = ManualPace(), Notices()
    first = ScriptedConnection(pace, steps(3), breaks="cable pulled")
    second = ScriptedConnection(pace, steps(3, start_s=900.0), is_final=True)

    frames = list(feed_of(pace, notices, first, second).frames())

    assert [frame.seq for frame in frames] == [0, 1, 2, 3, 4, 5]
    born = frames[0].captured_ns
    for frame in frames:  # across the gap too, stream time keeps to the clock
        assert abs(frame.time_s - (frame.captured_ns - born) / 1e9) < 0.005
    assert [notice.what for notice in notices.take()] == [Signal.CONNECTING, Signal.RECONNECTING]
    assert first.is_closed
    assert second.is_closed


def test_a_lost_connection_is_told_with_its_reason() -> None:
    pace, notices = ManualPace(), Notices()
    broken = ScriptedConnection(pace, steps(1), breaks="cable pulled")

    list(feed_of(pace, notices, broken, ScriptedConnection(pace, [], is_final=True)).frames())

    assert "cable pulled" in notices.take()[-1].text


def test_attempts_come_ever_more_slowly_until_one_succeeds() -> None:
    pace, notices = ManualPace(), Notices()
    refusals = [SourceError("no route to host")] * 7
    one = ScriptedConnection(pace, steps(1))
    last = ScriptedConnection(pace, [], is_final=True)

    list(feed_of(pace, notices, *refusals, one, last).frames())

    waits_s = [wait_ns / 1e9 for wait_ns in pace.waits_ns]
    assert waits_s[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, LONGEST_WAIT_S, LONGEST_WAIT_S]
    assert waits_s[7] == 0.1  # after a success it begins anew
    assert {notice.what for notice in notices.take()} == {Signal.CONNECTING, Signal.RECONNECTING}


def test_closing_ends_the_wait_between_two_attempts_for_good() -> None:
    pace, notices = ManualPace(), Notices()
    feed = feed_of(
        pace, notices, ScriptedConnection(pace, steps(2), breaks="gone"), SourceError("never asked")
    )

    frames = []
    for frame in feed.frames():
        frames.append(frame)
        if len(frames) == 2:
            feed.close()

    assert len(frames) == 2
    assert [notice.what for notice in notices.take()] == [
        Signal.CONNECTING
    ]  # whoever leaves is not told of weather


def test_stamps_that_jump_within_a_connection_are_told_and_do_not_move_time() -> None:
    pace, notices = ManualPace(), Notices()
    jumping = ScriptedConnection(pace, [*steps(5), *steps(5, start_s=5000.0)], is_final=True)

    frames = list(feed_of(pace, notices, jumping).frames())

    assert [notice.what for notice in notices.take()] == [Signal.CONNECTING, Incident.TIME_JUMPED]
    assert abs(frames[-1].time_s - 9 * 0.04) < 0.005


def test_damage_is_counted_over_all_connections() -> None:
    pace, notices = ManualPace(), Notices()
    feed = feed_of(
        pace, notices, ScriptedConnection(pace, steps(1)), ScriptedConnection(pace, steps(1), is_final=True)
    )

    list(feed.frames())

    assert feed.damaged == {"damaged packet": 2}
