from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from fakes import (
    MES,
    ORGAN,
    QUALITY,
    CollectingSink,
    EndlessSource,
    FakeBackend,
    ScriptedSource,
    fake_bundle,
    scope_pixels,
)
from scopeline.arrivals import Arrivals
from scopeline.conclude import Concluder, Identity
from scopeline.config import BundleChoice, Pipeline
from scopeline.engine import Engine
from scopeline.field_tracker import FieldEvent, FieldTracker
from scopeline.judge import Judge, Model
from scopeline.ledger import Ledger
from scopeline.notices import Incident, Notices, Signal, Trouble
from scopeline.picture import Picture, Pixels
from scopeline.ports import Companion, Source
from scopeline.prepare import Preparer
from scopeline.signal_look import SignalLook
from scopeline.signal_watch import SignalWatch
from scopeline.wire import Message, StatusMessage

Step = Pixels | BaseException | Callable[[], object]
_GOOD_RECTUM = {"quality": (-5.0, 5.0), "organ": (0.0, 9.0, 0.0), "mes": (0.0, 0.0, 9.0, 0.0)}


def _engine(
    source: Source,
    *sinks: Callable[[], CollectingSink],
    backend: FakeBackend | None = None,
    live: bool = False,
    watched: bool = False,
    bulk: int | None = None,
    decode_ahead: bool = False,
    ledger: Ledger | None = None,
    notices: Notices | None = None,
    companions: Sequence[Companion] = (),
    tracker: FieldTracker | None = None,
) -> Engine:
    bundle = fake_bundle(QUALITY, ORGAN, MES)
    judge = Judge([Model(bundle, backend or FakeBackend(lambda picture: _GOOD_RECTUM), 0)], {}, usable_at=0.5)
    identity = Identity("session", source.name, "test", "sha256:0", {"fake": "sha256:0/fake/fp32"}, "0")
    pipeline = Pipeline(name="test", bundles=(BundleChoice(path="nowhere"),))
    return Engine(
        source,
        Preparer([bundle.input], tracker or FieldTracker(), SignalLook() if live or watched else None),
        judge,
        Concluder(identity, pipeline, bundle.heads, watch=SignalWatch() if live or watched else None),
        sinks,
        ledger=ledger or Ledger(),
        live=live,
        bulk=bulk,
        decode_ahead=decode_ahead,
        arrivals=Arrivals() if live else None,
        notices=notices,
        companions=companions,
    )


def _pictures(count: int) -> list[Pixels]:
    return [scope_pixels(seed=seed) for seed in range(count)]


def test_every_frame_of_a_recording_is_published_in_order() -> None:
    sink = CollectingSink()
    report = _engine(ScriptedSource(_pictures(30)), sink).run()
    assert [frame.frame for frame in sink.frames] == list(range(30))
    assert report.ended == "finished"
    assert (report.ledger.captured, report.ledger.published, report.ledger.lost) == (30, 30, {})


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("bulk", [1, 4, 7])
def test_one_thread_in_bulk_says_what_four_threads_say(bulk: int, ahead: bool) -> None:
    watched, alone = CollectingSink(), CollectingSink()
    _engine(ScriptedSource(_pictures(30)), watched).run()
    report = _engine(ScriptedSource(_pictures(30)), alone, bulk=bulk, decode_ahead=ahead).run()
    assert [frame.heads for frame in alone.frames] == [frame.heads for frame in watched.frames]
    assert [frame.smoothed for frame in alone.frames] == [frame.smoothed for frame in watched.frames]
    assert [status.event for status in alone.statuses] == [status.event for status in watched.statuses]
    assert (report.ledger.captured, report.ledger.published, report.ledger.lost) == (30, 30, {})


def test_in_bulk_the_networks_are_asked_about_whole_groups_until_the_end() -> None:
    backend = FakeBackend(lambda picture: _GOOD_RECTUM)
    _engine(ScriptedSource(_pictures(30)), CollectingSink(), backend=backend, bulk=4).run()
    asked = list(backend.batches)
    # Frames before the field is known are part of a group and not shown to the networks.
    assert asked[1:-1] == [4] * len(asked[1:-1])
    assert asked[-1] == 30 % 4


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("where", ["source", "network"])
def test_in_bulk_what_was_judged_before_a_failure_is_published_and_the_rest_counted(
    where: str, ahead: bool
) -> None:
    script: list[Step] = [*_pictures(18)]
    if where == "source":
        script.append(OSError("the share went away"))
    backend = FakeBackend(lambda picture: _GOOD_RECTUM, fail_at=2 if where == "network" else None)
    sink = CollectingSink()
    with pytest.raises((OSError, RuntimeError)):
        _engine(ScriptedSource(script), sink, backend=backend, bulk=4, decode_ahead=ahead).run()
    last = sink.statuses[-1]
    assert last.event == "failed"
    unpublished = last.ledger.captured - len(sink.frames)
    assert last.ledger.lost["failed"] + last.ledger.in_flight == unpublished
    assert ahead or last.ledger.in_flight == 0  # the thread that decodes ahead may still hold some
    assert sink.closed
    assert backend.closed


@pytest.mark.parametrize("ahead", [False, True])
def test_in_bulk_a_sink_that_fails_is_the_error_that_comes_out_and_every_frame_is_counted(
    ahead: bool,
) -> None:
    backend, sink = FakeBackend(lambda picture: _GOOD_RECTUM), CollectingSink(fail_at=5)
    ledger = Ledger()
    with pytest.raises(OSError, match="no space left"):
        _engine(
            ScriptedSource(_pictures(30)), sink, backend=backend, bulk=4, decode_ahead=ahead, ledger=ledger
        ).run()
    assert ledger.report().in_flight == 0
    assert sink.closed
    assert backend.closed


@pytest.mark.parametrize("ahead", [False, True])
def test_in_bulk_a_recording_that_is_stopped_ends_in_order(ahead: bool) -> None:
    sink = CollectingSink()
    script: list[Step] = [*_pictures(10), lambda: engine.stop(), *_pictures(10)]
    engine = _engine(ScriptedSource(script), sink, bulk=4, decode_ahead=ahead)
    assert engine.run().ended == "stopped"
    assert (sink.statuses[-1].event, sink.statuses[-1].text) == ("ended", "stopped on request")


def test_the_ledger_balances_in_every_message() -> None:
    sink = CollectingSink()
    _engine(ScriptedSource(_pictures(30)), sink).run()
    ledgers = [frame.ledger for frame in sink.frames] + [status.ledger for status in sink.statuses]
    for ledger in ledgers:
        assert ledger.captured == ledger.published + ledger.in_flight + sum(ledger.lost.values())


def test_sequence_numbers_have_no_gap_and_the_end_says_how_many_were_sent() -> None:
    sink = CollectingSink()
    _engine(ScriptedSource(_pictures(30)), sink).run()
    for kind in (sink.frames, sink.segments, sink.statuses):
        assert [message.seq for message in kind] == list(range(len(kind)))
    last = sink.statuses[-1]
    assert last.event == "ended"
    assert last.sent["frame"] == len(sink.frames)
    assert last.sent["segment"] == len(sink.segments)


def test_frames_before_the_field_is_known_carry_their_reason() -> None:
    sink = CollectingSink()
    _engine(ScriptedSource(_pictures(30)), sink).run()
    assert sink.frames[0].reason == "no_field"
    assert sink.frames[0].state == "warming_up"
    assert sink.frames[-1].reason is None


def test_a_slow_network_drops_old_frames_and_the_newest_comes_out() -> None:
    gate = threading.Semaphore(0)
    pictures: list[Pixels | Callable[[], object]] = [
        *_pictures(40),
        lambda: gate.release(100),
    ]
    sink = CollectingSink()
    report = _engine(
        ScriptedSource(pictures),
        sink,
        backend=FakeBackend(lambda picture: _GOOD_RECTUM, gate=gate),
        live=True,
    ).run()
    assert sink.frames[-1].frame == 39
    assert report.ledger.lost["late"] > 0
    assert report.ledger.captured == 40 == report.ledger.published + report.ledger.lost["late"]


def test_live_nobody_looks_for_the_field_before_the_frame_at_hand_is_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scopeline.engine.LOOK_PATIENCE_S", 10.0)
    sink, looked, out_by_then = CollectingSink(), threading.Semaphore(0), []

    class NotingTracker(FieldTracker):
        def observe(self, picture: Picture, time_s: float) -> FieldEvent | None:
            out_by_then.append(len(sink.frames))
            event = super().observe(picture, time_s)
            looked.release()
            return event

    script = [step for picture in _pictures(8) for step in (picture, lambda: looked.acquire(timeout=5))]
    _engine(ScriptedSource(script, fps=5), sink, live=True, tracker=NotingTracker()).run()
    assert len(sink.frames) == 8
    # The first picture of a signal is looked at before it is prepared.
    assert out_by_then == [0, *range(2, 9)]


def test_a_slow_sink_loses_frames_in_the_one_lossy_place_only() -> None:
    gate = threading.Semaphore(4)
    pictures: list[Pixels | Callable[[], object]] = [
        *_pictures(60),
        lambda: gate.release(300),
    ]
    sink = CollectingSink(gate=gate)
    report = _engine(ScriptedSource(pictures), sink, live=True).run()
    assert set(report.ledger.lost) <= {"late"}
    assert sink.frames[-1].frame == 59


@pytest.mark.parametrize("where", ["source", "network", "sink"])
def test_the_first_error_of_any_stage_comes_out_with_its_name(where: str) -> None:
    script: Sequence[Pixels | BaseException] = _pictures(12)
    if where == "source":
        script = [*script, OSError("the card was unplugged")]
    backend = FakeBackend(lambda picture: _GOOD_RECTUM, fail_at=3 if where == "network" else None)
    sink = CollectingSink(fail_at=5 if where == "sink" else None)
    with pytest.raises((OSError, RuntimeError)) as caught:
        _engine(ScriptedSource(script), sink, backend=backend).run()
    stage = {"source": "capture", "network": "infer", "sink": "conclude"}[where]
    assert f"in stage '{stage}'" in caught.value.__notes__
    assert sink.closed
    assert backend.closed


def test_a_failed_run_says_so_to_its_subscribers() -> None:
    sink = CollectingSink()
    with pytest.raises(RuntimeError):
        _engine(
            ScriptedSource(_pictures(20)), sink, backend=FakeBackend(lambda picture: _GOOD_RECTUM, fail_at=3)
        ).run()
    assert sink.statuses[-1].event == "failed"


@pytest.mark.parametrize("shown", [0, 12])
def test_a_source_that_fails_is_never_published_as_the_end_of_the_source(shown: int) -> None:
    sink = CollectingSink()
    with pytest.raises(OSError, match="unplugged"):
        _engine(ScriptedSource([*_pictures(shown), OSError("the card was unplugged")]), sink).run()
    assert (sink.statuses[-1].event, sink.statuses[-1].text) == ("failed", "a stage failed")


def test_a_source_that_cannot_be_closed_does_not_keep_the_other_stages_waiting() -> None:
    class Stubborn(ScriptedSource):
        def close(self) -> None:
            super().close()
            raise OSError("the driver hangs")

    backend = FakeBackend(lambda picture: _GOOD_RECTUM, fail_at=3)
    with pytest.raises(OSError, match="the driver hangs"):
        _engine(Stubborn(_pictures(60)), CollectingSink(), backend=backend).run()
    assert backend.closed


def test_a_sink_that_cannot_be_closed_leaves_no_other_sink_open() -> None:
    class Stubborn(CollectingSink):
        def close(self) -> None:
            raise OSError("no space left on device")

    before, after = CollectingSink(), CollectingSink()
    with pytest.raises(OSError, match="no space"):
        _engine(ScriptedSource(_pictures(5)), before, Stubborn(), after).run()
    assert before.closed
    assert after.closed


def test_a_sink_that_cannot_be_made_closes_those_before_it() -> None:
    def refuse() -> CollectingSink:
        raise OSError("address in use")

    sink = CollectingSink()
    with pytest.raises(OSError, match="address in use"):
        _engine(ScriptedSource(_pictures(5)), sink, refuse).run()
    assert sink.closed


def test_no_frame_is_taken_before_every_sink_stands() -> None:
    asked = threading.Event()
    sink = CollectingSink()

    def make_when_frames_could_have_been_lost() -> CollectingSink:
        asked.wait(timeout=0.2)
        return sink

    _engine(
        ScriptedSource([*_pictures(3), asked.set, *_pictures(9)]),
        make_when_frames_could_have_been_lost,
        live=True,
    ).run()
    assert sink.statuses[0].event == "started"
    assert sink.statuses[0].ledger.captured == 0


def test_a_sink_that_cannot_be_made_asks_the_source_for_nothing() -> None:
    asked = threading.Event()

    def refuse() -> CollectingSink:
        asked.wait(timeout=0.2)
        raise OSError("address in use")

    with pytest.raises(OSError, match="address in use"):
        _engine(ScriptedSource([asked.set]), refuse).run()
    assert not asked.is_set()


def test_a_run_that_is_stopped_while_its_sinks_are_made_ends() -> None:
    sink = CollectingSink()

    def make() -> CollectingSink:
        engine.stop()
        assert engine.stop_asked
        return sink

    engine = _engine(EndlessSource(), make, live=True)
    assert engine.run().ended == "stopped"


def test_an_endless_source_ends_when_it_is_stopped() -> None:
    sink = CollectingSink()
    engine = _engine(EndlessSource(), sink, live=True)
    runner = threading.Thread(target=engine.run)
    runner.start()
    engine.stop()
    engine.stop()
    runner.join(timeout=5)
    assert not runner.is_alive()
    assert sink.statuses[-1].event == "ended"


def test_a_source_that_waits_for_a_signal_that_never_comes_can_be_stopped() -> None:
    waiting = threading.Event()

    def wait_for_a_signal() -> None:
        waiting.set()
        source.closed.wait()

    source = ScriptedSource([wait_for_a_signal])
    sink = CollectingSink()
    engine = _engine(source, sink)
    reports: list[str] = []
    runner = threading.Thread(target=lambda: reports.append(engine.run().ended))
    runner.start()
    waiting.wait()
    engine.stop()
    runner.join(timeout=5)
    assert reports == ["stopped"]


def test_a_source_without_a_frame_ends_in_order() -> None:
    sink = CollectingSink()
    report = _engine(ScriptedSource([]), sink).run()
    assert report.ledger.captured == 0
    assert [status.event for status in sink.statuses] == ["started", "ended"]


class WeatherSink(CollectingSink):
    """Tells a test when the engine has published a state of the signal."""

    def __init__(self) -> None:
        super().__init__()
        self.told = {signal: threading.Event() for signal in Signal}

    def publish(self, message: Message) -> None:
        super().publish(message)
        if isinstance(message, StatusMessage):
            self.told[Signal(message.signal)].set()

    def must_tell(self, signal: Signal) -> None:
        assert self.told[signal].wait(timeout=20), f"{signal} was never published"


def _changes(sink: CollectingSink) -> list[str]:
    return [status.signal for status in sink.statuses if status.event == "signal"]


def test_a_live_feed_that_falls_silent_is_told_stalled_and_running_again() -> None:
    sink = WeatherSink()
    script: list[Step] = [*_pictures(5), lambda: sink.must_tell(Signal.STALLED), *_pictures(5)]
    _engine(ScriptedSource(script, stamp=time.monotonic_ns), sink, live=True).run()

    assert _changes(sink) == ["running", "stalled", "running"]
    stalled = next(status for status in sink.statuses if status.signal == "stalled")
    newest = max(frame.captured_ns for frame in sink.frames if frame.captured_ns < stalled.published_ns)
    assert (
        stalled.published_ns - newest < 2_000_000_000
    )  # a bound against hanging, not the promised half second


def test_silence_makes_what_was_published_stale() -> None:
    sink = WeatherSink()
    stale = threading.Event()
    sink_publish = sink.publish

    def publish(message: Message) -> None:
        sink_publish(message)
        if isinstance(message, StatusMessage) and message.stale:
            stale.set()

    sink.publish = publish  # type: ignore[method-assign]
    script: list[Step] = [*_pictures(5), lambda: stale.wait(timeout=20), *_pictures(1)]
    _engine(ScriptedSource(script, stamp=time.monotonic_ns), sink, live=True).run()

    assert stale.is_set()


def test_no_tag_is_published_while_the_feed_is_not_running() -> None:
    sink, notices = WeatherSink(), Notices()
    black = np.zeros((128, 160, 3), np.uint8)
    script: list[Step] = [*_pictures(40), *[black] * 20]
    _engine(
        ScriptedSource(script, fps=25.0, stamp=time.monotonic_ns), sink, notices=notices, watched=True
    ).run()

    blind = [frame for frame in sink.frames if frame.signal != "running"]
    assert {frame.signal for frame in blind[-3:]} == {"black"}
    for frame in blind:
        assert frame.state == "not_assessable"
        assert frame.segment is None
        assert all(head.tag is None for head in frame.smoothed.values())


def test_what_others_have_to_tell_is_published_with_its_kind() -> None:
    sink, notices = CollectingSink(), Notices()
    notices.post(Incident.TIME_JUMPED, "by an hour")
    notices.post(Trouble.JOURNAL_FAILED, "disk full")
    _engine(ScriptedSource(_pictures(3)), sink, notices=notices).run()

    told = [(status.event, status.incident, status.text) for status in sink.statuses if status.incident]
    assert told == [("incident", "time_jumped", "by an hour"), ("trouble", "journal_failed", "disk full")]


class _Waiter:
    """A companion that does nothing until it is sent home."""

    name = "waiter"

    def __init__(self) -> None:
        self.began, self.home = threading.Event(), threading.Event()

    def work(self) -> None:
        self.began.set()
        assert self.home.wait(timeout=20)

    def stop(self) -> None:
        self.home.set()


@pytest.mark.parametrize("fails", [False, True])
def test_companions_work_beside_the_stages_and_go_home_with_them(fails: bool) -> None:
    waiter = _Waiter()
    script: list[Pixels | BaseException | Callable[[], object]] = [
        lambda: waiter.began.wait(20),
        *_pictures(3),
    ]
    engine = _engine(ScriptedSource([*script, *([OSError("gone")] if fails else [])]), companions=[waiter])

    if fails:
        with pytest.raises(OSError, match="gone"):
            engine.run()
    else:
        engine.run()

    assert waiter.home.is_set()


def test_a_companion_that_breaks_ends_the_run_by_its_name() -> None:
    class Broken(_Waiter):
        def work(self) -> None:
            raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect") as caught:
        _engine(EndlessSource(), companions=[Broken()]).run()

    assert "in stage 'waiter'" in caught.value.__notes__


def test_what_was_there_before_a_live_run_is_not_searched_for_garbage_while_it_goes_on() -> None:
    before, during = gc.get_freeze_count(), list[int]()
    script: list[Step] = [*_pictures(3), lambda: during.append(gc.get_freeze_count())]
    _engine(ScriptedSource(script, stamp=time.monotonic_ns), CollectingSink(), live=True).run()
    assert during[0] > before
    assert gc.get_freeze_count() == before
