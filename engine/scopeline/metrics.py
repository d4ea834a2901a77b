"""Metrics: what a run came to so far, as Prometheus reads it.

Only the health of the machine: frames, losses, times, the signal. No finding, no name of a source and no time of
day, so that a page that is scraped and kept for months says nothing about a patient.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from scopeline.notices import Incident, Signal, Trouble
from scopeline.wire import FrameMessage, LedgerReport, Message, StatusMessage

BUCKETS_S: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.033, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
"""Upper edges. 33 ms is one frame at 30 Hz, 100 ms what is promised, 500 ms what is called stale."""
STAGES: Final = ("prepare", "infer", "conclude")
JUDGED: Final = "judged"
"""The `reason` of frames that were judged."""

_NO_FRAMES: Final = LedgerReport(captured=0, published=0, in_flight=0, lost={}, damaged={})
_TROUBLE_BEGINS: Final = Trouble.JOURNAL_FAILED
_TROUBLE_ENDS: Final = Trouble.JOURNAL_WORKS_AGAIN


class Metrics(Collector):
    """Adds up messages in one thread, and tells the sums in another.

    Every engine has its own, with a registry of its own: two engines in a process are two pages.

    Args:
        version: Scopeline's.
        config: Hash of the pipeline.
        waiting: How many frames wait at each hand-off, see `Engine.waiting`. Called by whoever reads the page.
        now_ns: The clock that stamps frames.
    """

    def __init__(
        self,
        *,
        version: str,
        config: str,
        waiting: Callable[[], Mapping[str, int]] = dict,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._build = {"version": version, "config": config}
        self._waiting, self._now_ns = waiting, now_ns
        self._lock = threading.Lock()
        self._ledger = _NO_FRAMES
        self._frames: Counter[str] = Counter()
        self._stale_frames = 0
        self._marks = 0
        self._incidents: Counter[str] = Counter()
        self._troubles: Counter[str] = Counter()
        self._journal_fails = False
        self._signal = Signal.CONNECTING.value
        self._state = ""
        self._newest_ns: int | None = None
        self._subscribers: int | None = None
        self._times = {stage: _Times() for stage in STAGES}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def add(self, message: Message) -> None:
        """Take one message into account. About 5 µs."""
        with self._lock:
            if isinstance(message, FrameMessage):
                self._add_frame(message)
            elif isinstance(message, StatusMessage):
                self._add_status(message)

    def set_subscribers(self, count: int) -> None:
        """How many readers there are now."""
        self._subscribers = count

    def page(self) -> bytes:
        """Everything, in Prometheus' text format 0.0.4. From any thread."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        waiting = self._waiting()
        with self._lock:
            families = [*self._of_frames(), *self._of_feed(), *self._of_service(waiting)]
        yield from families

    def _add_frame(self, message: FrameMessage) -> None:
        self._ledger = message.ledger
        self._frames[message.reason or JUDGED] += 1
        self._stale_frames += message.stale
        self._signal, self._state, self._newest_ns = message.signal, message.state, message.captured_ns
        for stage, taken_ms in message.stages_ms.items():
            if stage in self._times:
                self._times[stage].add(taken_ms / 1e3)

    def _add_status(self, message: StatusMessage) -> None:
        self._ledger, self._signal = message.ledger, message.signal
        what = message.incident or "unknown"
        if message.event == "incident":
            self._incidents[what] += 1
        elif message.event == "trouble":
            self._troubles[what] += 1
            if what in {_TROUBLE_BEGINS, _TROUBLE_ENDS}:
                self._journal_fails = what == _TROUBLE_BEGINS
        elif message.event == "mark":
            self._marks += 1

    def _of_frames(self) -> Iterator[Metric]:
        ledger = self._ledger
        yield _counter(
            "frames", "Frames that were published, by why they were not judged.", "reason", self._frames
        )
        yield CounterMetricFamily("scopeline_captured_frames", "Frames that were taken in.", ledger.captured)
        yield CounterMetricFamily("scopeline_published_frames", "Frames that came out.", ledger.published)
        yield _gauge("in_flight_frames", "Frames between the two.", ledger.in_flight)
        yield _counter("lost_frames", "Frames that were taken in and given up.", "reason", ledger.lost)
        yield _counter("damaged_packets", "Packets that never became a frame.", "reason", ledger.damaged)
        yield CounterMetricFamily(
            "scopeline_stale_frames", "Frames older than 500 ms when published.", self._stale_frames
        )
        times = HistogramMetricFamily(
            "scopeline_latency_seconds", "From capture to the end of each stage.", labels=["stage"]
        )
        for stage, each in self._times.items():
            times.add_metric([stage], each.buckets(), each.sum_s)
        yield times

    def _of_feed(self) -> Iterator[Metric]:
        signal = GaugeMetricFamily(
            "scopeline_signal", "What the feed is like: 1 for what holds.", labels=["signal"]
        )
        for each in Signal:
            signal.add_metric([each.value], each.value == self._signal)
        yield signal
        yield _gauge("assessable", "1 while tags can be held.", self._state == "running" == self._signal)
        incidents = {each.value: self._incidents[each.value] for each in Incident}
        yield _counter(
            "incidents", "What happened to the feed, after which it went on.", "incident", incidents
        )
        if self._newest_ns is not None:
            age_s = (self._now_ns() - self._newest_ns) / 1e9
            yield _gauge("newest_frame_age_seconds", "Since the newest published frame was captured.", age_s)

    def _of_service(self, waiting: Mapping[str, int]) -> Iterator[Metric]:
        yield InfoMetricFamily("scopeline_build", "What runs.", self._build)
        troubles = {each.value: self._troubles[each.value] for each in Trouble}
        yield _counter(
            "troubles", "What did not work on our side while publishing went on.", "trouble", troubles
        )
        yield _gauge("journal_failing", "1 while the journal cannot be written.", self._journal_fails)
        yield CounterMetricFamily("scopeline_marks", "Marks of the operator.", self._marks)
        queue = GaugeMetricFamily("scopeline_waiting", "Frames that wait at a hand-off.", labels=["handoff"])
        for name, count in waiting.items():
            queue.add_metric([name], count)
        yield queue
        if self._subscribers is not None:
            yield _gauge("subscribers", "Readers connected now.", self._subscribers)


class _Times:
    """Seconds, counted in buckets."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, value_s: float) -> None:
        self._counts[bisect_left(BUCKETS_S, value_s)] += 1
        self.sum_s += value_s

    def buckets(self) -> list[tuple[str, float]]:
        """(upper edge, samples up to it), as the text format has it."""
        edges = [*(f"{edge:g}" for edge in BUCKETS_S), "+Inf"]
        running, told = 0, []
        for edge, count in zip(edges, self._counts, strict=True):
            running += count
            told.append((edge, float(running)))
        return told


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"scopeline_{name}", text, labels=[label])
    for key, count in counts.items():
        family.add_metric([key], count)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"scopeline_{name}", text, value)
