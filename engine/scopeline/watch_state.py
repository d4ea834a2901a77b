"""WatchState: what a person watching a run needs to know, gathered from its messages. Draws nothing.

Memory is bounded however long the run is: a minute of quality, ten seconds of latencies, and the segments.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from scopeline.account import Account
from scopeline.latest import StaleView
from scopeline.wire import CurrentSegment, FrameMessage, LedgerReport, Message, SegmentMessage, StatusMessage

STRIP_S: Final = 60.0
"""How much of the past the quality strip shows."""
BIN_S: Final = 0.5
LATENCY_WINDOW_NS: Final = 10_000_000_000
NEWS_NS: Final = 10_000_000_000
"""How long an incident stays in view."""
_MOST_SAMPLES: Final = 6_000
"""Ten seconds at 600 frames/s: recordings go through faster than they were filmed."""
_DOUBTFUL_BELOW: Final = 0.5

Grade: TypeAlias = Literal["good", "doubtful", "unusable"]


@dataclass(slots=True)
class Bin:
    """Frames of half a second of stream time, by how well they could be judged."""

    number: int
    grades: Counter[Grade] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def copy(self) -> Bin:
        return Bin(self.number, self.grades.copy(), self.reasons.copy())


@dataclass(frozen=True, slots=True)
class HeadView:
    """One head as it is shown."""

    name: str
    tag: str | None
    """What is held now; None is "no assessment"."""
    since_s: float | None
    posterior: Mapping[str, float]
    """Over time, by label in the head's order."""
    now: Mapping[str, float]
    """The newest judged frame's own probabilities; empty when the newest frame was not judged."""
    expected: float | None


@dataclass(frozen=True, slots=True)
class SegmentView:
    """One row of the segment table."""

    number: int
    location: str | None
    start_s: float
    end_s: float
    mes_dominant: int | None
    mes_worst: int | None
    informative_s: float
    state: Literal["provisional", "final"]
    assessable: bool
    marked: bool = False
    confidence: float | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class View:
    """One moment of the run, safe to draw while the next messages arrive."""

    session: str | None
    status: StatusMessage | None
    """The newest status; None for one who joined late and has heard none yet."""
    frame: FrameMessage | None
    age_ms: float | None
    stale: bool
    """Nothing may be shown as the present."""
    location: HeadView | None
    grade: HeadView | None
    finding: HeadView | None
    """The first head that is neither, of a pipeline that has no location head."""
    may_grade: bool
    """False: frames were judged, and no head gave a grade."""
    bins: Mapping[int, Bin]
    """Quality by number of half second of stream time."""
    segments: Sequence[SegmentView]
    latencies_ms: Sequence[float]
    """Capture to publish, ascending, of the last ten seconds."""
    frames_per_s: float | None
    missed: int
    received: int
    before_joining: int
    restarts: int
    signal: str = "running"
    """What the feed is like, see `scopeline.notices.Signal`."""
    signal_text: str = ""
    """What that means and what to do."""
    news: str = ""
    """What happened to the feed or to the engine within the last ten seconds, in words."""

    @property
    def ledger(self) -> LedgerReport | None:
        """The newest ledger that was heard of."""
        newest = max((m for m in (self.status, self.frame) if m is not None), key=_published_ns, default=None)
        return newest.ledger if newest else None

    @property
    def ended(self) -> bool:
        return self.status is not None and self.status.event in ("ended", "failed")

    def latency_ms(self, share: float) -> float:
        """The smallest latency of the last ten seconds that at least `share` (0..1) stayed within; nan
        without any."""
        if not self.latencies_ms:
            return math.nan
        return self.latencies_ms[max(0, math.ceil(share * len(self.latencies_ms)) - 1)]


class _Run:
    """What is kept of one session."""

    def __init__(self) -> None:
        self.stale = StaleView()
        self.status: StatusMessage | None = None
        self.frame: FrameMessage | None = None
        self.heads: dict[str, HeadView] = {}
        self.location: str | None = None
        self.grade: str | None = None
        self.has_judged = False
        self.bins: deque[Bin] = deque(maxlen=math.ceil(STRIP_S / BIN_S) + 1)
        self.samples: deque[tuple[int, float]] = deque(maxlen=_MOST_SAMPLES)
        self.segments: dict[int, SegmentView] = {}
        self.signal, self.signal_text = "running", ""
        self.news, self.news_ns = "", 0

    def apply(self, message: Message) -> None:
        self.stale.see(message)
        if isinstance(message, FrameMessage):
            self.signal = message.signal
            self._apply_frame(message)
        elif isinstance(message, SegmentMessage):
            self.segments[message.number] = _row(message)
        elif isinstance(message, StatusMessage):
            self.status, self.signal = message, message.signal
            self._apply_status(message)

    def _apply_status(self, status: StatusMessage) -> None:
        if status.event == "signal":
            self.signal_text = status.text
        elif status.event in ("incident", "trouble", "mark"):
            name = (status.incident or status.event).replace("_", " ")
            self.news, self.news_ns = f"{name}: {status.text}", status.published_ns

    @property
    def finding(self) -> HeadView | None:
        if self.location is not None or not self.has_judged:
            return None
        return next((head for name, head in self.heads.items() if name != self.grade), None)

    def _apply_frame(self, frame: FrameMessage) -> None:
        self.frame = frame
        self.has_judged = self.has_judged or frame.reason is None
        self.heads = {name: _head(frame, name) for name in frame.smoothed}
        self._tell_heads_apart(frame)
        self._count_quality(frame)
        self.samples.append((frame.published_ns, (frame.published_ns - frame.captured_ns) / 1e6))
        while self.samples[0][0] < frame.published_ns - LATENCY_WINDOW_NS:
            self.samples.popleft()
        if frame.segment is not None:
            self._extend_segment(frame, frame.segment)

    def _tell_heads_apart(self, frame: FrameMessage) -> None:
        """The wire names heads but not their roles: grades alone have an expected value, and the segments'
        location is a label of the location head."""
        if self.grade is None:
            self.grade = next((name for name, head in frame.heads.items() if head.expected is not None), None)
        place = frame.segment.location if frame.segment else None
        if self.location is None and place is not None:
            self.location = next((name for name, head in self.heads.items() if place in head.posterior), None)

    def _count_quality(self, frame: FrameMessage) -> None:
        number = int(frame.time_s / BIN_S)
        if not self.bins or self.bins[-1].number != number:
            self.bins.append(Bin(number))
        newest = self.bins[-1]
        newest.grades[_quality(frame)] += 1
        if frame.reason is not None:
            newest.reasons[frame.reason] += 1

    def _extend_segment(self, frame: FrameMessage, now: CurrentSegment) -> None:
        """Every frame tells how its segment stands; the segment's own messages come only when it changes."""
        known = self.segments.get(now.number)
        if known is not None and known.state == "final":
            return
        self.segments[now.number] = SegmentView(
            number=now.number,
            location=now.location,
            start_s=now.start_s,
            end_s=frame.time_s,
            mes_dominant=now.mes_dominant,
            mes_worst=now.mes_worst,
            informative_s=now.informative_s,
            state=now.state,
            assessable=now.mes_dominant is not None,
            marked=known.marked if known else False,
            confidence=known.confidence if known else None,
            reasons=known.reasons if known else {},
        )


class WatchState:
    """Applies messages, one after the other, and gives views. Both may be called from different threads.

    Args:
        clock: `time.monotonic_ns`, or a test's own.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._account = Account()
        self._run = _Run()

    def apply(self, message: Message) -> None:
        """Take one message in. Of another session than before: forget everything and begin again."""
        with self._lock:
            if self._account.session not in (None, message.session):
                self._run = _Run()
            self._account.count(message)
            self._run.apply(message)

    def view(self) -> View:
        """The moment as it is now. Holds the lock only to copy, so that a slow terminal delays nobody."""
        now_ns = self._clock()
        with self._lock:
            run, samples = self._run, list(self._run.samples)
            tallies = self._account.topics.values()
            return View(
                session=self._account.session,
                status=run.status,
                frame=run.frame,
                age_ms=run.stale.age_ms(now_ns),
                stale=run.stale.is_stale(now_ns),
                location=run.heads.get(run.location or ""),
                grade=run.heads.get(run.grade or ""),
                finding=run.finding,
                may_grade=run.grade is not None or not run.has_judged,
                bins={
                    each.number: Bin(each.number, each.grades.copy(), each.reasons.copy())
                    for each in run.bins
                },
                segments=[run.segments[number] for number in sorted(run.segments)],
                latencies_ms=sorted(latency_ms for _, latency_ms in samples),
                frames_per_s=_rate(samples),
                missed=self._account.missed,
                received=sum(tally.received for tally in tallies),
                before_joining=sum(tally.before_joining for tally in tallies),
                restarts=self._account.restarts,
                signal=run.signal,
                signal_text=run.signal_text,
                news=run.news if now_ns - run.news_ns < NEWS_NS else "",
            )


def _published_ns(message: Message) -> int:
    return message.published_ns


def _row(message: SegmentMessage) -> SegmentView:
    return SegmentView(**{name: getattr(message, name) for name in SegmentView.__dataclass_fields__})


def _head(frame: FrameMessage, name: str) -> HeadView:
    smoothed, result = frame.smoothed[name], frame.heads.get(name)
    return HeadView(
        name=name,
        tag=smoothed.tag,
        since_s=smoothed.since_s,
        posterior=smoothed.posterior,
        now=result.probabilities if result else {},
        expected=result.expected if result else None,
    )


def _quality(frame: FrameMessage) -> Grade:
    if frame.reason is not None:
        return "unusable"
    unsure = any(result.abstain for result in frame.heads.values())
    return "doubtful" if unsure or (frame.quality is not None and frame.quality < _DOUBTFUL_BELOW) else "good"


def _rate(samples: Sequence[tuple[int, float]]) -> float | None:
    if len(samples) < 2 or samples[-1][0] <= samples[0][0]:
        return None
    return (len(samples) - 1) / (samples[-1][0] - samples[0][0]) * 1e9
