"""Live timeline: stream time that grows and keeps to the clock of arrival where a live feed's own stamps do not."""

from __future__ import annotations

AGREE_S = 0.5
"""A stamp's step that differs by more from the step of arrival is a jump. Network feeds bunch frames by less."""

_STEADY_S, _STEADY_WITHIN_S = 2.0, 0.2
"""Frames that lag by more than `AGREE_S`, and by the same for so long, will not catch up. A lag that grows or shrinks
is a slow reader's or a buffer's that empties: those frames come with the stamps they were made with."""

_MOST_LAG_S = 10.0
"""No buffer holds more: a longer lag is one of the stamps."""

_TOLD_EVERY_S = 5.0
"""A feed whose stamps jump all the time says so once in so many seconds."""

_LEAST_S = 1e-3
_CREEP = 0.002
"""Two clocks drift apart by up to 0.02 %; the smallest lag is forgotten ten times as fast."""


class LiveTimeline:
    """Turns the stamps of a live feed into stream time: from 0, strictly growing, in seconds.

    Its own stamps are believed as long as they go as arrival goes, so jitter of the network does not become jitter of
    stream time. A stamp that jumps (back, far ahead, a wrapped 33-bit MPEG counter) is replaced by the clock of
    arrival, and the stamps after it are believed again from there. Frames that lag behind for good (the sender took
    up its old stamps after a pause) are brought back to arrival too, quietly. The recorded counterpart is `Timeline`.
    """

    def __init__(self) -> None:
        self._stamp_s: float | None = None
        self._offset_s: float | None = None
        """Stream time less stamp; None when the next stamp is to be anchored anew."""
        self._captured_s: float | None = None
        self._time_s = 0.0
        self._least_lag_s = 0.0
        self._behind_s = 0.0
        self._behind_since_s: float | None = None
        self._told_s = float("-inf")

    def reconnected(self) -> None:
        """The next frame comes from a new connection: its stamps begin anew, which is no jump."""
        self._offset_s = self._stamp_s = None

    def next(self, stamp_s: float | None, captured_ns: int) -> tuple[float, bool]:
        """Stream time of the next frame, and whether its stamp jumped.

        Args:
            stamp_s: The feed's own stamp in seconds, None if it has none.
            captured_ns: `time.monotonic_ns()` of arrival.
        """
        captured_s = captured_ns / 1e9
        if self._captured_s is None:
            self._captured_s, self._stamp_s = captured_s, stamp_s
            self._offset_s = None if stamp_s is None else -stamp_s
            self._least_lag_s = captured_s
            return 0.0, False
        waited_s = max(captured_s - self._captured_s, 0.0)
        by_arrival_s = self._time_s + max(waited_s, _LEAST_S)
        jumped = self._has_jumped(stamp_s, waited_s)
        time_s = None if jumped else self._believed(stamp_s)
        if time_s is None:
            time_s = by_arrival_s
            if stamp_s is not None and (jumped or self._offset_s is None):
                self._offset_s = time_s - stamp_s
        time_s = self._kept_to_arrival(time_s, captured_s, waited_s, anchored=jumped)
        self._captured_s, self._time_s = captured_s, time_s
        self._stamp_s = self._stamp_s if stamp_s is None else stamp_s
        tell = jumped and captured_s - self._told_s > _TOLD_EVERY_S
        if tell:
            self._told_s = captured_s
        return time_s, tell

    def _has_jumped(self, stamp_s: float | None, waited_s: float) -> bool:
        if stamp_s is None or self._stamp_s is None or self._offset_s is None:
            return False
        step_s = stamp_s - self._stamp_s
        # Late by any time is no jump: what waited in a buffer comes with the stamps it was made with.
        return step_s < -AGREE_S or step_s - waited_s > AGREE_S

    def _believed(self, stamp_s: float | None) -> float | None:
        """The stamp as stream time; None where it would not grow, or there is nothing to reckon from."""
        if stamp_s is None or self._offset_s is None:
            return None
        time_s = stamp_s + self._offset_s
        return time_s if time_s > self._time_s else None

    def _kept_to_arrival(self, time_s: float, captured_s: float, waited_s: float, *, anchored: bool) -> float:
        lag_s = captured_s - time_s
        if anchored:
            self._least_lag_s = lag_s
        self._least_lag_s = min(self._least_lag_s + _CREEP * waited_s, lag_s)
        behind_s = lag_s - self._least_lag_s
        if behind_s <= AGREE_S:
            self._behind_since_s = None
            return time_s
        if self._behind_since_s is None or abs(behind_s - self._behind_s) > _STEADY_WITHIN_S:
            self._behind_since_s, self._behind_s = captured_s, behind_s
        if captured_s - self._behind_since_s < _STEADY_S and behind_s < _MOST_LAG_S:
            return time_s
        self._behind_since_s = None
        if self._offset_s is not None:
            self._offset_s += behind_s
        return time_s + behind_s
