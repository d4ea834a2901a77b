"""Faults: any source with a scenario of what a procedure room does to feeds."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scopeline.frame import Frame
from scopeline.notices import Incident, Notices, Signal
from scopeline.picture import Picture, Pixels
from scopeline.ports import Source
from scopeline.sources.card_screens import black, colour_bars, no_signal, picture_like
from scopeline.sources.fault_scenario import (
    Bars,
    Black,
    Burst,
    Damage,
    Disconnect,
    Drop,
    Freeze,
    Jump,
    NoSignal,
    Scenario,
    Size,
    Slow,
    Stall,
    Wrap,
)
from scopeline.sources.live_timeline import LiveTimeline
from scopeline.sources.pace import Pace

WRAP_S = 2**33 / 90_000
_DAMAGED = "damaged packet"
_READ_S = 1e-3
"""What reading a frame that is there takes."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    frame: Frame
    picture: Picture
    at_s: float
    stamp_s: float
    missing: int
    """Lost frames right before this one that the numbers shall show."""
    is_new_connection: bool


class FaultSource:
    """Frames of another source as they would arrive over a feed in trouble: a live source for tests.

    Virtual time by default: nothing waits, and a frame's `captured_ns` is when it would have arrived, reckoned from the
    first one. With `live` every frame is waited for.

    Args:
        source: Delivers without waits of its own: a recording, a synthetic procedure.
        scenario: What happens when, in the source's stream time.
        notices: Where lost connections and jumped stamps are told, as a real feed would.
        live: Wait for every frame until it has arrived.
        pace: The clock, and the wait.
    """

    def __init__(
        self,
        source: Source,
        scenario: Scenario,
        notices: Notices,
        *,
        live: bool = False,
        pace: Pace | None = None,
    ) -> None:
        self.name = f"{source.name} with faults"
        self.scenario = scenario
        self._source, self._notices = source, notices
        self._live, self._pace = live, pace or Pace()
        self._damaged = Counter({_DAMAGED: 0})  # the key is there from the start: other threads read it
        self._frozen: Picture | None = None
        self._screens: dict[tuple[object, ...], Picture] = {}
        self.origin_ns = 0
        """`captured_ns` of what is made at stream time 0 and comes at once; known from the first frame on."""

    @property
    def damaged(self) -> Mapping[str, int]:
        """What never became a frame, by reason, the wrapped source's own included."""
        return self._damaged + Counter(self._source.damaged)

    @property
    def duration_s(self) -> float | None:
        """That of the wrapped source."""
        return self._source.duration_s

    def frames(self) -> Iterator[Frame]:
        """What is left of the source's frames, until it ends or `close`."""
        timeline, seq = LiveTimeline(), -1
        for arrival in self._arrivals():
            due_ns = self.origin_ns + round(arrival.at_s * 1e9)
            if self._live and not self._pace.wait_until(due_ns):
                return
            captured_ns = self._pace.now_ns() if self._live else due_ns
            if arrival.is_new_connection:
                timeline.reconnected()
            time_s, jumped = timeline.next(arrival.stamp_s, captured_ns)
            if jumped:
                text = f"the stream's stamps jumped to {arrival.stamp_s:.3f} s; time goes on by the clock"
                self._notices.post(Incident.TIME_JUMPED, text, at_ns=captured_ns)
            seq += 1 + arrival.missing
            yield Frame(seq, captured_ns, time_s, arrival.picture)

    def close(self) -> None:
        """Make `frames` return. From any thread, any number of times."""
        self._pace.stop()
        self._source.close()

    def _arrivals(self) -> Iterator[_Arrival]:
        """What arrives and when: a frame cannot be read before it is there, nor before the one ahead is read."""
        rng = random.Random(self.scenario.seed)
        read_s, before_s, step_s, missing, is_away = float("-inf"), 0.0, 0.0, 0, False
        for frame in self._source.frames():
            if not self.origin_ns:
                self.origin_ns = self._pace.now_ns() - round(frame.time_s * 1e9)
            made_s = frame.time_s
            step_s, before_s = made_s - before_s, made_s
            if self._is_away(made_s):
                is_away = is_away or self._lost_connection(made_s)
                continue
            fate = self._fate(made_s, rng)
            if fate is not None:
                missing += fate
                continue
            there_s = max(made_s, self._released_s(made_s)) + rng.uniform(0, self.scenario.jitter_s)
            read_s = max(there_s, read_s + self._reading_s(made_s, step_s))
            yield _Arrival(
                frame, self._shown(frame.picture, made_s), read_s, self._stamp_s(made_s), missing, is_away
            )
            missing, is_away = 0, False

    def _is_away(self, made_s: float) -> bool:
        return any(isinstance(fault, Disconnect) and fault.is_on(made_s) for fault in self.scenario.faults)

    def _lost_connection(self, made_s: float) -> bool:
        at_ns = self.origin_ns + round(made_s * 1e9)
        if not self._live or self._pace.wait_until(at_ns):
            text = f"{self._source.name}: connection reset by peer; trying again"
            self._notices.post(Signal.RECONNECTING, text, at_ns=at_ns)
        return True

    def _fate(self, made_s: float, rng: random.Random) -> int | None:
        """None for a frame that arrives; else by how much the numbers show that it does not, 0 or 1."""
        for fault in self.scenario.faults:
            match fault:
                case Stall() if fault.is_on(made_s):
                    return 0
                case Drop() if fault.is_on(made_s) and rng.random() < fault.share:
                    return int(fault.numbered)
                case Damage() if fault.is_on(made_s) and rng.random() < fault.share:
                    self._damaged[_DAMAGED] += 1
                    return 0
        return None

    def _released_s(self, made_s: float) -> float:
        held = [fault for fault in self.scenario.faults if isinstance(fault, Burst) and fault.is_on(made_s)]
        return max((fault.end_s for fault in held), default=0.0)

    def _reading_s(self, made_s: float, step_s: float) -> float:
        slow = [fault for fault in self.scenario.faults if isinstance(fault, Slow) and fault.is_on(made_s)]
        return max((fault.slower * step_s for fault in slow), default=_READ_S)

    def _stamp_s(self, made_s: float) -> float:
        """The stream's own stamp. It begins anywhere, and so that it wraps when it shall."""
        stamp_s = made_s + 5000.0
        for fault in self.scenario.faults:
            match fault:
                case Jump() if made_s >= fault.at_s:
                    stamp_s += fault.by_s
                case Wrap():
                    stamp_s += WRAP_S - fault.at_s - 5000.0 - (WRAP_S if made_s >= fault.at_s else 0.0)
                case Disconnect() if made_s >= fault.end_s:
                    stamp_s -= fault.end_s
        return stamp_s

    def _shown(self, picture: Picture, made_s: float) -> Picture:
        is_frozen = False
        for fault in self.scenario.faults:
            match fault:
                case Freeze() if fault.is_on(made_s):
                    is_frozen = True
                    self._frozen = self._frozen or picture
                    picture = self._frozen
                case Black() | Bars() | NoSignal() if fault.is_on(made_s):
                    picture = self._screen(fault, picture)
                case Size() if fault.is_on(made_s):
                    picture = picture.reformat(width=fault.width_px, height=fault.height_px)
        if not is_frozen:
            self._frozen = None
        return picture

    def _screen(self, fault: Black | Bars | NoSignal, picture: Picture) -> Picture:
        key = fault, picture.width, picture.height, picture.format.name
        if key not in self._screens:
            self._screens[key] = picture_like(_pixels(fault, picture.width, picture.height), picture)
        return self._screens[key]


def _pixels(fault: Black | Bars | NoSignal, width_px: int, height_px: int) -> Pixels:
    match fault:
        case Black():
            return black(width_px, height_px)
        case Bars():
            return colour_bars(width_px, height_px)
        case NoSignal():
            return no_signal(width_px, height_px, fault.colour)
