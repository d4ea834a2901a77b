"""A live engine with everything around it: what is said to it, what it says, and what is kept of that."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
import zmq

from fakes import ScriptedSource, scope_pixels
from messages import ANY_PORT, PATIENCE_S
from scopeline.config import Pipeline, load_pipeline
from scopeline.desk import Desk
from scopeline.engine import Engine
from scopeline.errors import SinkError
from scopeline.journal_reader import JournalReader
from scopeline.metrics_page import MetricsPage
from scopeline.notices import Notices
from scopeline.picture import Pixels
from scopeline.sinks.zeromq import ZmqSink
from scopeline.station import StationPlan, station
from scopeline.subscriber import Subscriber
from scopeline.wire import FrameMessage, Message, StatusMessage
from tiny_bundle import write_tiny_pipeline

Step = Pixels | BaseException | Callable[[], object]


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return load_pipeline(write_tiny_pipeline(tmp_path))


class Reader:
    """A subscriber that joins before the first frame and reads to the end."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._open = ExitStack()
        self.subscriber: Subscriber

    def join(self, sink: ZmqSink) -> None:
        self.subscriber = self._open.enter_context(Subscriber(sink.address))
        assert sink.wait_for_subscriber(PATIENCE_S)

    def read_to_the_end(self) -> list[Message]:
        with self._open:
            while not self.subscriber.account.ended:
                message = self.subscriber.take(PATIENCE_S)
                assert message is not None, "the engine fell silent"
                self.messages.append(message)
        return self.messages


@contextmanager
def standing(
    pipeline: Pipeline, script: list[Step], plan: StationPlan, on_publishing: Callable[[ZmqSink], None]
) -> Iterator[tuple[Engine, Desk]]:
    source = ScriptedSource(script, fps=25.0, stamp=time.monotonic_ns)
    with station(pipeline, source, Notices(), plan, on_publishing=on_publishing) as (engine, desk):
        yield engine, desk


def pictures(count: int) -> list[Step]:
    return [scope_pixels(seed=seed) for seed in range(count)]


def test_what_a_reader_has_the_journal_has_too(pipeline: Pipeline, tmp_path: Path) -> None:
    reader = Reader()
    plan = StationPlan(publish=ANY_PORT, replay=ANY_PORT, control=ANY_PORT, journal=tmp_path / "journal")

    with standing(pipeline, pictures(20), plan, reader.join) as (engine, desk):
        engine.run()
        messages = reader.read_to_the_end()

    [folder] = (tmp_path / "journal").iterdir()
    assert list(JournalReader(folder).messages()) == messages
    assert folder.name == messages[0].session
    statuses = [message for message in messages if isinstance(message, StatusMessage)]
    assert {status.replay for status in statuses} == {desk.replay_address}


def test_a_mark_that_is_said_to_the_control_socket_is_published_and_names_the_segment(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    reader = Reader()
    plan = StationPlan(publish=ANY_PORT, control=ANY_PORT)
    answers: list[bytes] = []
    address: list[str] = []

    def press_the_pedal() -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as pedal:
            pedal.linger = 0
            pedal.connect(address[0])
            pedal.send(b'{"do":"mark","label":"sigmoid"}')
            assert pedal.poll(PATIENCE_S * 1000)
            answers.append(pedal.recv())

    script = [*pictures(5), press_the_pedal, *pictures(5)]
    with standing(pipeline, script, plan, reader.join) as (engine, desk):
        assert desk.control_address is not None
        address.append(desk.control_address)
        engine.run()
        messages = reader.read_to_the_end()

    assert b'"ok":true' in answers[0]
    marks = [m for m in messages if isinstance(m, StatusMessage) and m.event == "mark"]
    assert [mark.text.split(" at ")[0] for mark in marks] == ["segment sigmoid"]
    last = [message for message in messages if isinstance(message, FrameMessage)][-1]
    assert last.segment is not None
    assert last.segment.location == "sigmoid"


def test_what_a_reader_learns_from_the_last_message_that_it_missed_it_still_gets(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    plan = StationPlan(publish=ANY_PORT, replay=ANY_PORT, journal=tmp_path / "journal")
    frames: list[int] = []

    def read(subscriber: Subscriber) -> None:
        with subscriber:
            frames.extend(each.seq for each in subscriber if isinstance(each, FrameMessage))

    def join(sink: ZmqSink) -> None:
        """A reader whom no frame reaches: of those it learns by the count in the last message."""
        subscriber = Subscriber(sink.address)
        assert sink.wait_for_subscriber(PATIENCE_S)
        subscriber._socket.unsubscribe(b"frame")
        readers.append(threading.Thread(target=read, args=(subscriber,)))
        readers[0].start()

    readers: list[threading.Thread] = []
    with standing(pipeline, pictures(20), plan, join) as (engine, _):
        report = engine.run()
        readers[0].join(PATIENCE_S)

    assert report.ledger.published > 0
    assert frames == list(range(report.ledger.published))


def test_without_a_journal_nothing_is_kept_and_no_replay_is_offered(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    reader = Reader()

    with standing(pipeline, pictures(3), StationPlan(publish=ANY_PORT), reader.join) as (engine, desk):
        engine.run()
        messages = reader.read_to_the_end()

    assert (desk.control_address, desk.replay_address) == (None, None)
    assert {m.replay for m in messages if isinstance(m, StatusMessage)} == {None}


def test_two_engines_at_one_address_are_told_apart_at_once(pipeline: Pipeline) -> None:
    nothing: Callable[[ZmqSink], None] = lambda sink: None  # noqa: E731
    with standing(pipeline, [], StationPlan(publish=ANY_PORT, control=ANY_PORT), nothing) as (first, desk):
        plan = StationPlan(publish=ANY_PORT, control=desk.control_address)
        with (
            pytest.raises(SinkError, match="somebody else does already"),
            standing(pipeline, [], plan, nothing),
        ):
            pass
        first.run()


def test_an_engine_that_never_runs_leaves_nothing_open(pipeline: Pipeline, tmp_path: Path) -> None:
    plan = StationPlan(publish=ANY_PORT, control=ANY_PORT, replay=ANY_PORT, journal=tmp_path / "journal")

    with standing(pipeline, [], plan, lambda sink: None):
        pass

    assert not (tmp_path / "journal").exists()


def test_metrics_and_the_state_log_tell_of_the_run(pipeline: Pipeline, tmp_path: Path) -> None:
    reader, pages = Reader(), []
    plan = StationPlan(publish=ANY_PORT, metrics="127.0.0.1:0", log=tmp_path / "state.log")
    source = ScriptedSource([*pictures(10), lambda: pages.append(page())], stamp=time.monotonic_ns)

    def page() -> bytes:
        [companion] = [each for each in engine._companions if isinstance(each, MetricsPage)]
        with urlopen(companion.url, timeout=PATIENCE_S) as answer:
            return bytes(answer.read())

    with station(pipeline, source, Notices(), plan, on_publishing=reader.join) as (engine, _):
        engine.run()
        reader.read_to_the_end()

    assert b"scopeline_" in pages[0]
    events = [json.loads(line)["event"] for line in (tmp_path / "state.log").read_text().splitlines()]
    assert (events[0], events[-1]) == ("started", "ended")
