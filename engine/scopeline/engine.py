"""Engine: capture -> prepare -> infer -> conclude, four threads that start, end and fail as one.

            live                      ready                   done
capture ---(1, drop oldest)--> prepare --(1, wait)--> infer --(n, wait)--> conclude
one device, stamp              field of view, crop,    owns the runtime     smooth, segment,
                               hard reasons                                 publish; owns the sockets

Live, the newest frame wins in the one lossy place; for a recording the same hand-off waits and nothing is lost. Each
stage is a generator over what the one before yields. In bulk, where cores are filled by several recordings, the
generators are simply put into one another and one thread draws every frame through all of them, or all but decoding.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeVar

from scopeline.arrivals import Arrivals
from scopeline.conclude import Concluder, Moment
from scopeline.crew import Crew
from scopeline.frame import Frame
from scopeline.groups import in_groups
from scopeline.handoff import Closed, Handoff
from scopeline.judge import Judge
from scopeline.latency import LatencyHistogram
from scopeline.ledger import Ledger
from scopeline.notices import Notice, Notices
from scopeline.ports import Companion, Sink, Source
from scopeline.prediction import Prediction
from scopeline.prepare import Prepared, Preparer
from scopeline.segments import Segment
from scopeline.wire import LedgerReport, Message

SWITCH_INTERVAL_S = 0.0005
"""How long a busy Python thread may keep the interpreter while another waits for it. The default of 5 ms cut decoding
beside a busy thread to a quarter; 0.5 ms gives three quarters of the speed back (docs/architecture.md, "Cost")."""

TICK_S = 0.1
"""Live, the concluding thread looks up this often when no frame comes: a feed that fell silent is told within half a
second, of which the silence itself must last 0.35 s."""

LOOK_PATIENCE_S = 0.01
"""Live, a look for the field begins when the frame before it is out: it holds the interpreter and a core that inference
needs. 99th percentile of the age 8.6 instead of 9.9 ms at 1080p30. It does not wait for longer than this: after a slow
network it would be in the way of the next frame, which at 60 frames/s comes 17 ms after this one."""

DELIVERY_S = 0.003
"""And a little later still: what is published is on its way to readers, through a thread of ZeroMQ's and their own
processes, which want a core. On two cores the 99th percentile of that way fell from 2.6 to 0.9 ms."""

_DONE_CAPACITY = 8

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run came to."""

    ended: Literal["finished", "stopped"]
    ledger: LedgerReport
    latency_ms: dict[str, float]
    """Capture to publish: p50, p95, p99, max."""
    segments: tuple[Segment, ...]
    seconds: float
    """Wall time of the run."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A prepared frame with its prediction."""

    prepared: Prepared
    prediction: Prediction
    infer_ns: int


class Engine:
    """One source, its stages, its sinks. Runs once.

    Args:
        source: Where frames come from.
        preparer: Field of view, crop, hard reasons.
        judge: The networks.
        concluder: Smoothing, segments, messages.
        sinks: Factories; each sink is made, used and closed in the concluding thread, which owns its sockets.
        ledger: Counts every frame.
        live: The newest frame wins; otherwise no frame is lost.
        bulk: How many frames of a recording the networks are asked about at once, by the one thread that then does
            everything; always exactly so many, fewer only at the end, so that the same recording gives the same last
            digit whatever else the machine does (a runtime adds in another order for other batches). None for a run
            that somebody watches: four threads, and every frame comes out as soon as it can.
        decode_ahead: In bulk, decode in a second thread: sooner done by a quarter at 1080p, and 0.4 ms more processor
            time a frame. For a recording beside which a core is idle.
        on_message: Called in the concluding thread with every message, before the sinks.
        arrivals: Live, watches how frames arrive, before any is given up.
        notices: Where whoever has something to tell leaves it; published by the concluding thread.
        companions: What runs beside the stages, from before the first frame until the last message is out.
    """

    def __init__(
        self,
        source: Source,
        preparer: Preparer,
        judge: Judge,
        concluder: Concluder,
        sinks: Sequence[Callable[[], Sink]],
        *,
        ledger: Ledger,
        live: bool,
        bulk: int | None = None,
        decode_ahead: bool = False,
        on_message: Callable[[Message], None] | None = None,
        arrivals: Arrivals | None = None,
        notices: Notices | None = None,
        companions: Sequence[Companion] = (),
    ) -> None:
        self._source = source
        self._preparer = preparer
        self._judge = judge
        self._concluder = concluder
        self._make_sinks = tuple(sinks)
        self._ledger = ledger
        self._bulk, self._decode_ahead = bulk, decode_ahead
        self._on_message = on_message
        self._arrivals = arrivals
        self._notices = notices or Notices()
        self._companions = tuple(companions)
        self._is_live = live
        room = 1 if live else 2
        self._live: Handoff[Frame] = Handoff(room, when_full="drop_oldest" if live else "wait")
        self._ready: Handoff[Prepared] = Handoff(room)
        self._done: Handoff[Judged] = Handoff(_DONE_CAPACITY)
        self._latency = LatencyHistogram()
        self._stop_asked = threading.Event()
        self._failed = threading.Event()
        self._may_capture = threading.Event()
        self._published = threading.Condition()
        self._published_seq = -1

    def run(self) -> RunReport:
        """Work until the source ends or `stop` is called.

        Raises:
            ScopelineError: the first error of any stage, noted with the stage's name.
            LedgerError: a frame is unaccounted for.
        """
        started_ns = time.monotonic_ns()
        with (
            closing(self._judge),
            closing(self._source),
            _switch_interval(SWITCH_INTERVAL_S),
            _old_objects_set_aside() if self._is_live else nullcontext(),
            Crew(on_failure=self._abandon) as crew,
        ):
            for companion in self._companions:
                crew.start(companion.name, companion.work)
            if self._bulk is None:
                crew.start("conclude", lambda: self._conclude(self._judged()))
                crew.start("infer", lambda: self._hand_on(self._infer(self._ready), self._done))
                crew.start("prepare", lambda: self._hand_on(self._prepare(self._live), self._ready))
                crew.start("capture", lambda: self._hand_on(self._capture(), self._live))
            elif self._decode_ahead:
                crew.start("bulk", lambda: self._work_alone(self._live))
                crew.start("capture", lambda: self._hand_on(self._capture(), self._live))
            else:
                crew.start("bulk", lambda: self._work_alone(self._capture()))
        self._ledger.settle()
        return RunReport(
            ended="stopped" if self._stop_asked.is_set() else "finished",
            ledger=self._ledger.report(self._source.damaged),
            latency_ms=self._latency.summary(),
            segments=tuple(self._concluder.segments),
            seconds=(time.monotonic_ns() - started_ns) / 1e9,
        )

    def stop(self) -> None:
        """End the run early: the source is closed, frames in flight still come out. From any thread, any number
        of times, also from a signal handler."""
        self._stop_asked.set()
        self._source.close()
        self._may_capture.set()

    @property
    def waiting(self) -> dict[str, int]:
        """How many items wait at each hand-off. From any thread."""
        return {"live": len(self._live), "ready": len(self._ready), "done": len(self._done)}

    @property
    def stop_asked(self) -> bool:
        """Whether `stop` was called: what takes long before the first frame can ask."""
        return self._stop_asked.is_set()

    def _abandon(self) -> None:
        """A stage failed: nothing more will be judged, everybody go home."""
        self._failed.set()
        self._may_capture.set()
        for handoff in (self._live, self._ready, self._done):
            self._ledger.lose("failed", len(handoff.close(discard=True)))
        self._dismiss()
        self._source.close()  # last: a source of somebody else's that cannot be closed must not keep the others waiting

    def _hand_on(self, stage: Iterable[_T], handoff: Handoff[_T]) -> None:
        """A stage in a thread of its own: what it yields goes to the next one. The hand-off closes when the stage ends;
        that it failed is known before those behind it see the end, because a run that failed must not be published as
        one that reached the end of its source."""
        try:
            for item in stage:
                if not self._give(handoff, item):
                    return
        except BaseException:
            self._failed.set()
            raise
        finally:
            handoff.close()

    def _work_alone(self, frames: Iterable[Frame]) -> None:
        """All stages in this thread: nobody is woken, and what one stage has touched is still warm for the next."""
        failures: list[Exception] = []
        with closing(self._infer(self._prepare(frames))) as judged:
            try:
                self._conclude(self._until_it_fails(judged, failures))
            finally:
                if failures:
                    raise failures[0]

    def _until_it_fails(self, judged: Iterable[Judged], failures: list[Exception]) -> Iterator[Judged]:
        """The stages before ended here by a failure, so that what was judged can still be concluded and said."""
        try:
            yield from judged
        except Exception as error:
            self._failed.set()
            failures.append(error)

    def _capture(self) -> Generator[Frame, None, None]:
        # Only when every sink stands: a frame taken before would be lost while one waits for its subscriber.
        self._may_capture.wait()
        if self._failed.is_set() or self._stop_asked.is_set():
            return
        for frame in self._source.frames():
            self._ledger.capture()
            self._watch_arrival(frame)
            yield frame

    def _watch_arrival(self, frame: Frame) -> None:
        if self._arrivals is None:
            return
        size = (frame.picture.width, frame.picture.height)
        for notice in self._arrivals.observe(
            frame.seq, frame.captured_ns, frame.time_s, size, frame.picture.format.name
        ):
            self._notices.post(notice.what, notice.text, at_ns=notice.at_ns)

    def _prepare(self, frames: Iterable[Frame]) -> Generator[Prepared, None, None]:
        for frame in frames:
            with self._answers_for(1):
                prepared = self._preparer.prepare(frame)
            yield prepared
            if self._is_live and self._preparer.owes_a_look:
                self._wait_until_out(prepared.seq)
            self._preparer.catch_up()

    def _wait_until_out(self, seq: int) -> None:
        with self._published:
            is_out = self._published.wait_for(lambda: self._published_seq >= seq, LOOK_PATIENCE_S)
        if is_out:
            self._failed.wait(DELIVERY_S)

    def _infer(self, ready: Iterable[Prepared]) -> Generator[Judged, None, None]:
        for batch in in_groups(ready, self._bulk or 1, left_over=self._lose):
            with self._answers_for(len(batch)):
                predictions = self._judge.judge(batch)
            now_ns = time.monotonic_ns()
            told = 0
            try:
                for prepared, prediction in zip(batch, predictions, strict=True):
                    self._preparer.release(prepared.views)
                    told += 1
                    yield Judged(prepared, prediction, now_ns)
            finally:
                self._lose(len(batch) - told)

    def _conclude(self, done: Iterable[Judged | None]) -> None:
        with ExitStack() as open_sinks:
            sinks = [open_sinks.enter_context(closing(make())) for make in self._make_sinks]
            self._publish(sinks, self._concluder.status("started", "", self._moment()))
            self._may_capture.set()
            for judged in done:
                if judged is None:
                    for message in self._concluder.tick(self._moment(self._notices.take())):
                        self._publish(sinks, message)
                else:
                    self._conclude_one(sinks, judged)
            self._say_farewell(sinks)

    def _judged(self) -> Iterator[Judged | None]:
        """What the stages before have finished, to the end; live, None whenever nothing came for a while."""
        if not self._is_live:
            yield from self._done
            return
        while True:
            try:
                yield self._done.take_within(TICK_S)
            except Closed:
                return

    def _conclude_one(self, sinks: Sequence[Sink], judged: Judged) -> None:
        self._ledger.publish()
        moment = self._moment(self._notices.take(), judged.infer_ns)
        for message in self._concluder.conclude(judged.prepared, judged.prediction, moment):
            self._publish(sinks, message)
        if self._is_live:
            with self._published:
                self._published_seq = judged.prepared.seq
                self._published.notify()
        self._latency.add((time.monotonic_ns() - judged.prepared.captured_ns) / 1e6)

    def _say_farewell(self, sinks: Sequence[Sink]) -> None:
        moment = self._moment(self._notices.take())
        for message in self._concluder.finish(moment):
            self._publish(sinks, message)
        event: Literal["ended", "failed"] = "failed" if self._failed.is_set() else "ended"
        text = "stopped on request" if self._stop_asked.is_set() else "end of source"
        if event == "failed":
            text = "a stage failed"
        self._publish(sinks, self._concluder.status(event, text, moment, self._latency.summary()))
        self._dismiss()

    def _dismiss(self) -> None:
        """Nothing more will be said: companions go home, after the last message and before the sinks close."""
        for companion in self._companions:
            companion.stop()

    def _publish(self, sinks: Sequence[Sink], message: Message) -> None:
        if self._on_message is not None:
            self._on_message(message)
        for sink in sinks:
            sink.publish(message)

    def _moment(self, notices: Sequence[Notice] = (), infer_ns: int = 0) -> Moment:
        return Moment(
            time.monotonic_ns(),
            infer_ns,
            self._ledger.report(self._source.damaged),
            self._arrivals.newest_ns if self._arrivals else None,
            self._arrivals.silence_limit_ns if self._arrivals else 0,
            notices,
        )

    def _give(self, handoff: Handoff[_T], item: _T) -> bool:
        """Hand over an item that stands for one frame; False when nobody will take it any more."""
        try:
            dropped = handoff.put(item)
        except Closed:
            self._ledger.lose("failed")
            return False
        if dropped is not None:
            self._ledger.lose("late")
        return True

    def _lose(self, count: int) -> None:
        """Frames that a stage held when the stages before or behind it failed."""
        if count:
            self._ledger.lose("failed", count)

    @contextmanager
    def _answers_for(self, frames: int) -> Iterator[None]:
        """Frames that a failing stage held in its hands are lost, not forgotten."""
        try:
            yield
        except BaseException:
            self._lose(frames)
            raise


@contextmanager
def _switch_interval(seconds: float) -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _old_objects_set_aside() -> Iterator[None]:
    """What is there when a live run begins (modules, networks, tables) is no garbage while it goes on. A collection
    that searched it would stop every thread for 17 to 28 ms, on a busy machine for 220; without it, for 0.1 ms.

    Left alone where somebody set objects aside before: another run, or the program that we run in."""
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
