"""Arrivals: what the times of arriving frames give away about the feed: losses, bursts, lag, silence, new formats."""

from __future__ import annotations

from collections import deque
from statistics import median

from scopeline.notices import Incident, Notice, Signal

_S = 1_000_000_000


class Arrivals:
    """Looks at every frame's number, stamps and format as it arrives. Belongs to the capturing thread.

    Normal is: jitter of 20 ms, frames in bunches of three (B-frames), uneven rates (VFR), repeated frames of a rate
    conversion. What is told is told once: a lag until it is over, everything else at most once in `TOLD_EVERY_S`, with
    what was kept back counted in. About 11 us a frame.
    """

    SILENT_S = 0.35
    TOLD_EVERY_S = 2.0
    RECENT = 15
    """Intervals from which the nominal one is learnt (their median)."""
    LEARNT = 6
    """Intervals that must be there before gaps in stream time mean anything; as many agreeing ones are a new rate."""
    GAP = 0.6
    """So many nominal intervals too long is a gap, in an even feed; six times the usual unevenness in another."""
    GAPS_IN_A_ROW = 3
    """So many gaps without a usual interval between them are no losses but another rate: a feed that begins with a
    burst (a pipe that was full) teaches too short an interval, against which every later one is a gap."""
    BURST_GAP = 4.0
    """A burst is frames that came together after so many intervals without one; B-frames make gaps of up to three."""
    LAG_WINDOW_S = 0.45
    LAG_STEP_S = 0.02
    """Lagging: the smallest lag grows by so much from each third of the window to the next. One third holds a bunch of
    B-frames, whose last has no lag, and a step in the network's delay grows in one third only."""
    LAG_LEAST_S = 0.08
    LAG_STEPS = 3
    """A reader that takes twice as long and more shows in so many steps, each longer by half an interval and
    `LAG_STEP_S`: its frames are too few for thirds. Jitter of 40 ms cannot grow by 20 three times."""

    def __init__(self) -> None:
        self._seq = self._captured_ns = 0
        self._time_s = 0.0
        self._newest_ns: int | None = None
        self._limit_ns = round(self.SILENT_S * _S)
        self._format: tuple[tuple[int, int], str] | None = None
        self._intervals: deque[float] = deque(maxlen=self.RECENT)
        self._nominal_s = 0.0
        self._uneven_s = 0.0
        self._rate_s = 0.0
        self._held_s = 0.0
        self._quick = 0
        self._lags: deque[tuple[float, float]] = deque()
        self._usual_lag_s = 0.0
        self._longer = 0
        self._is_lagging = False
        self._lag_rests_since_s: float | None = None
        self._told_s: dict[Incident, float] = {}
        self._missing = 0
        self._doubtful: list[int] = []
        """What long steps say is missing, until a usual one comes."""

    @property
    def newest_ns(self) -> int | None:
        """`captured_ns` of the newest frame, None before the first. May be read by another thread."""
        return self._newest_ns

    @property
    def silence_limit_ns(self) -> int:
        """Longest time without a frame that is still normal: 0.35 s, or three intervals of a slow feed."""
        return self._limit_ns

    def observe(
        self, seq: int, captured_ns: int, time_s: float, size: tuple[int, int], pixel_format: str
    ) -> list[Notice]:
        """What this frame's arrival gives away, nearly always nothing.

        `Signal.STALLED` and `Signal.RUNNING` come as a pair, after the silence, with the times at which they were so: a
        watcher that looked at the clock in between knows already and passes them over.

        Args:
            seq: Number of the frame in its source; a gap is a loss.
            captured_ns: `time.monotonic_ns()` of arrival.
            time_s: Stream time, growing.
            size: Width and height in pixels.
            pixel_format: FFmpeg's name.
        """
        told: list[Notice] = []
        now_s = captured_ns / _S
        if self._newest_ns is None:
            self._usual_lag_s = now_s - time_s
        else:
            waited_s, step_s = (captured_ns - self._captured_ns) / _S, time_s - self._time_s
            silent = captured_ns - self._captured_ns > self._limit_ns
            if silent:
                told += self._silence(captured_ns, waited_s)
            self._notice_format(told, captured_ns, size, pixel_format)
            self._notice_gap(told, captured_ns, seq - self._seq, step_s, silent)
            self._notice_burst(told, captured_ns, waited_s, step_s)
            self._learn(told, captured_ns, step_s / max(seq - self._seq, 1))
            self._longer = self._longer + 1 if self._is_longer(waited_s - step_s) else 0
            self._notice_lag(told, captured_ns, now_s - time_s, now_s, waited_s)
        self._format = size, pixel_format
        self._seq, self._captured_ns, self._time_s = seq, captured_ns, time_s
        self._newest_ns = captured_ns
        return told

    def _silence(self, captured_ns: int, waited_s: float) -> list[Notice]:
        return [
            Notice(self._captured_ns + self._limit_ns, Signal.STALLED),
            Notice(captured_ns, Signal.RUNNING, f"frames again after {waited_s:.2f} s without one"),
        ]

    def _notice_format(
        self, told: list[Notice], captured_ns: int, size: tuple[int, int], pixel_format: str
    ) -> None:
        assert self._format is not None
        if self._format == (size, pixel_format):
            return
        was = f"{self._format[0][0]}x{self._format[0][1]} {self._format[1]}"
        text = f"from {was} to {size[0]}x{size[1]} {pixel_format}"
        told.append(Notice(captured_ns, Incident.FORMAT_CHANGED, text))

    def _notice_gap(
        self, told: list[Notice], captured_ns: int, numbers: int, step_s: float, silent: bool
    ) -> None:
        missing = numbers - 1
        if missing == 0 and self._nominal_s and not silent:  # a silence has a name already
            missing = self._believed(step_s)
        if missing <= 0:
            return
        self._missing += missing
        if self._may_tell(Incident.FRAMES_MISSING, captured_ns):
            noun = "frame is" if self._missing == 1 else "frames are"
            text = f"{self._missing} {noun} missing: lost by the sender, the network or the card"
            told.append(Notice(captured_ns, Incident.FRAMES_MISSING, text))
            self._missing = 0

    def _believed(self, step_s: float) -> int:
        """How many frames long steps of stream time say are missing; told with the first usual step after them."""
        doubtful = self._doubtful
        if step_s - self._nominal_s > max(self.GAP * self._nominal_s, 6 * self._uneven_s):
            doubtful.append(max(round(step_s / self._nominal_s) - 1, 1))
            return 0
        missing = sum(doubtful) if len(doubtful) < self.GAPS_IN_A_ROW else 0
        doubtful.clear()
        return missing

    def _notice_burst(self, told: list[Notice], captured_ns: int, waited_s: float, step_s: float) -> None:
        nominal_s = self._nominal_s
        if not nominal_s:
            return
        if waited_s - step_s > (self.BURST_GAP - 1) * nominal_s and waited_s > 0.1:
            self._held_s, self._quick = waited_s, 0
        elif self._held_s and step_s - waited_s > 0.5 * nominal_s:
            self._quick += 1
            if self._quick == 3 and self._may_tell(Incident.BURST, captured_ns):
                text = (
                    f"frames came together after {self._held_s:.2f} s without one; "
                    "the sender or the network held them"
                )
                told.append(Notice(captured_ns, Incident.BURST, text))
        else:
            self._held_s = 0.0

    def _learn(self, told: list[Notice], captured_ns: int, interval_s: float) -> None:
        """The nominal interval, how uneven intervals are, and whether the rate is another."""
        intervals = self._intervals
        if self._nominal_s and interval_s > 4 * self._nominal_s and interval_s > self.SILENT_S:
            return  # a pause says nothing about the rate
        intervals.append(interval_s)
        if len(intervals) < self.LEARNT:
            return
        self._nominal_s = nominal_s = median(intervals)
        self._uneven_s = median(abs(each - nominal_s) for each in intervals)
        self._limit_ns = round(max(self.SILENT_S, 3 * nominal_s) * _S)
        newest = list(intervals)[-self.LEARNT :]
        newest_s = median(newest)
        if max(newest) - min(newest) > 0.12 * newest_s:
            return
        if not self._rate_s:
            self._rate_s = newest_s
        elif abs(newest_s - self._rate_s) > 0.1 * self._rate_s and self._may_tell(
            Incident.FORMAT_CHANGED, captured_ns
        ):
            text = f"from {1 / self._rate_s:.4g} to {1 / newest_s:.4g} frames per second"
            told.append(Notice(captured_ns, Incident.FORMAT_CHANGED, text))
            self._rate_s = newest_s
            intervals.clear()
            intervals.extend(newest)

    def _notice_lag(
        self, told: list[Notice], captured_ns: int, lag_s: float, now_s: float, waited_s: float
    ) -> None:
        # The usual lag may creep: two clocks drift, and a route that became longer is the usual one after a while.
        self._usual_lag_s = min(self._usual_lag_s + 0.005 * waited_s, lag_s)
        window_s = max(self.LAG_WINDOW_S, 9 * self._nominal_s)
        self._lags.append((now_s, lag_s))
        while self._lags[0][0] < now_s - window_s:
            self._lags.popleft()
        behind_s = lag_s - self._usual_lag_s
        if not self._is_lagging and behind_s < self.LAG_LEAST_S:  # nearly always
            return
        least = self._least_lags(now_s, window_s)
        if self._is_lagging:
            if least is not None:
                self._end_lag(now_s, least[0], least[2])
        elif self._longer >= self.LAG_STEPS or (
            least is not None and min(least[1] - least[0], least[2] - least[1]) > self.LAG_STEP_S
        ):
            self._is_lagging, self._lag_rests_since_s = True, None
            if self._may_tell(Incident.LAGGING, captured_ns):
                late_ms = behind_s * 1e3
                text = (
                    f"frames come later and later, {late_ms:.0f} ms by now; "
                    "the sender or the network is too slow"
                )
                told.append(Notice(captured_ns, Incident.LAGGING, text))

    def _is_longer(self, later_s: float) -> bool:
        return self._nominal_s > 0 and later_s > max(0.5 * self._nominal_s, self.LAG_STEP_S)

    def _least_lags(self, now_s: float, window_s: float) -> tuple[float, float, float] | None:
        """The smallest lag in the oldest, middle and newest third of the window; None when one holds too few."""
        thirds: tuple[list[float], ...] = ([], [], [])
        for at_s, lag_s in self._lags:
            age = (now_s - at_s) / window_s
            thirds[0 if age > 2 / 3 else 1 if age > 1 / 3 else 2].append(lag_s)
        if not all(len(third) >= 2 for third in thirds):
            return None
        return min(thirds[0]), min(thirds[1]), min(thirds[2])

    def _end_lag(self, now_s: float, old_s: float, new_s: float) -> None:
        """A lag is over when it is gone, or when it has not grown for two seconds."""
        if new_s - self._usual_lag_s < self.LAG_LEAST_S / 2:
            self._is_lagging = False
        elif new_s - old_s > self.LAG_STEP_S:
            self._lag_rests_since_s = None
        elif self._lag_rests_since_s is None:
            self._lag_rests_since_s = now_s
        elif now_s - self._lag_rests_since_s > 2.0:
            self._is_lagging, self._usual_lag_s = False, new_s

    def _may_tell(self, what: Incident, captured_ns: int) -> bool:
        now_s = captured_ns / _S
        if now_s - self._told_s.get(what, float("-inf")) < self.TOLD_EVERY_S:
            return False
        self._told_s[what] = now_s
        return True
