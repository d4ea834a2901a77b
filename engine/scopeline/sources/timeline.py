"""Timeline: stream time that grows, made of time stamps that may not."""

from __future__ import annotations

MAX_GAP_S = 120.0
"""A longer step between two stamps is a splice or a wrap, not a pause of the recording."""

State = tuple[float | None, float | None, float | None]
"""All that a timeline remembers: the last time, and the origins of its two reckonings, in seconds."""

_SHORTEST_S, _LONGEST_S = 1e-3, 10.0


class Timeline:
    """Turns the stamps of successive frames into stream time: from 0, strictly growing, true where stamps
    are.

    A stamp that fits (later than the last one, by `MAX_GAP_S` at most) is believed, so frames of variable
    rate keep their times. One that does not (missing, repeated, backward, far ahead, a wrapped 33-bit MPEG
    counter) is replaced by the last time plus the nominal duration. If the next stamp fits the old reckoning,
    it was one bad stamp and nothing shifts; if it fits the odd one, the stream has jumped and time goes on
    from there.

    Args:
        nominal_s: Duration of a frame in seconds where the stamps do not tell; kept within 1 ms to 10 s.
    """

    def __init__(self, nominal_s: float) -> None:
        self._nominal_s = min(max(nominal_s, _SHORTEST_S), _LONGEST_S)
        self._time_s: float | None = None
        self._origin_s: float | None = None
        self._other_origin_s: float | None = None

    @property
    def state(self) -> State:
        """What it remembers now."""
        return self._time_s, self._origin_s, self._other_origin_s

    def restore(self, state: State) -> None:
        """Go on from where another timeline with the same nominal duration was."""
        self._time_s, self._origin_s, self._other_origin_s = state

    def next(self, stamp_s: float | None) -> float:
        """Stream time in seconds of the next frame, given its stamp in seconds (None if it has none)."""
        if self._time_s is None:
            self._time_s, self._origin_s = 0.0, stamp_s
            return 0.0
        time_s = None if stamp_s is None else self._believable(stamp_s)
        if time_s is None:
            time_s = self._time_s + self._nominal_s
            self._other_origin_s = None if stamp_s is None else stamp_s - time_s
        self._time_s = time_s
        return time_s

    def _believable(self, stamp_s: float) -> float | None:
        assert self._time_s is not None
        for origin_s in (self._origin_s, self._other_origin_s):
            if origin_s is not None and 0 < stamp_s - origin_s - self._time_s <= MAX_GAP_S:
                time_s = stamp_s - origin_s
                if time_s > self._time_s:  # at huge stamps the subtraction above can round differently
                    self._origin_s, self._other_origin_s = origin_s, None
                    return time_s
        return None
