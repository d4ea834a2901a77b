"""What was missed is got again: exactly that, as it was published, while the engine goes on writing."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messages import ANY_PORT, PATIENCE_S, Script
from scopeline.crew import Crew
from scopeline.desk import Desk
from scopeline.journal import Journal
from scopeline.journal_files import file_name, numbered_files
from scopeline.notices import Notices
from scopeline.replay import MOST_MESSAGES, Replayer
from scopeline.sinks.journal import JournalSink
from scopeline.sinks.zeromq import ZmqSink
from scopeline.subscriber import Subscriber
from scopeline.wire import Decoder, Encoder, Encoding, FrameMessage, Message, StatusMessage, topic_of


def request(
    session: str = "5e55101", topic: str = "frame", first: int = 0, last: int = 0, **more: Any
) -> bytes:
    wanted = {"session": session, "topic": topic, "from_seq": first, "to_seq": last}
    return json.dumps(wanted | more).encode()


def filled(folder: Path, messages: list[Message], **options: int) -> Journal:
    journal = Journal(folder, version="0", **options)
    sink = JournalSink(journal, Notices())
    for message in messages:
        sink.publish(message)
    return journal


def long_run(count: int = 3000, seed: int = 1, session: str = "5e55101") -> list[Message]:
    script, chance = Script(session), random.Random(seed)
    kinds: dict[str, Callable[[], Message]] = {
        "frame": script.frame,
        "segment": lambda: script.segment(1),
        "field": script.field,
    }
    names = chance.choices(list(kinds), [0.99, 0.007, 0.003], k=count)
    return [script.status(), *(kinds[name]() for name in names), script.status("ended")]


def asked(replayer: Replayer, wanted: bytes) -> tuple[list[bytes], dict[str, Any]]:
    """The payloads, and the end."""
    *messages, (kind, end) = replayer.answer(wanted)
    assert kind == b"end"
    assert all(topic == json.loads(wanted)["topic"].encode() for topic, _ in messages)
    return [payload for _, payload in messages], json.loads(end)


def refused(replayer: Replayer, wanted: bytes) -> str:
    ((kind, content),) = replayer.answer(wanted)
    assert kind == b"error"
    return str(json.loads(content)["error"])


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Replayer, Replayer, dict[str, list[bytes]]]]:
    """One journal of many files: as its own engine answers from it, as a later engine does, and what is in it."""
    folder, messages = tmp_path_factory.mktemp("run"), long_run()
    journal = filled(folder, messages, segment_bytes=200_000)
    truth: dict[str, list[bytes]] = {"frame": [], "segment": [], "field": [], "status": []}
    for message in messages:
        truth[topic_of(message)].append(Encoder().encode(message)[1])
    yield Replayer(journal), Replayer(Journal(folder, version="0")), truth
    journal.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["frame", "segment", "field", "status"]), st.integers(0, 3100), st.integers(0, 999))
def test_exactly_what_was_asked_for_comes_back_byte_for_byte(
    run: tuple[Replayer, Replayer, dict[str, list[bytes]]], topic: str, first: int, more: int
) -> None:
    live, later, truth = run
    wanted = truth[topic][first : first + more + 1]
    missing = [[first + len(wanted), first + more]] if len(wanted) <= more else []
    for replayer in (live, later):
        payloads, end = asked(replayer, request(topic=topic, first=first, last=first + more))
        assert payloads == wanted
        assert (end["count"], end["complete"], end["missing"]) == (len(wanted), not missing, missing)


def test_numbers_the_disk_did_not_take_are_named(tmp_path: Path) -> None:
    script, journal = Script(), Journal(tmp_path, version="0")
    for number in range(20):
        message = script.frame()
        if number in (3, 4, 5, 9):
            journal.skip("frame", message.seq, "disk full")
        else:
            journal.append(script.session, "frame", message.seq, Encoder().encode(message)[1])
    payloads, end = asked(Replayer(journal), request(first=2, last=25))
    assert [json.loads(payload)["seq"] for payload in payloads] == [2, 6, 7, 8, *range(10, 20)]
    assert end["missing"] == [[3, 5], [9, 9], [20, 25]]
    journal.close()


def test_numbers_whose_file_was_dropped_are_named(tmp_path: Path) -> None:
    script, journal = Script(), Journal(tmp_path, version="0", segment_bytes=20_000, keep_bytes=60_000)
    for _ in range(200):
        message = script.frame()
        journal.append(script.session, "frame", message.seq, Encoder().encode(message)[1])
        journal.make_room()
    first_file = numbered_files(tmp_path / script.session)
    kept = json.loads(first_file[min(first_file)].read_bytes().splitlines()[1].split(b" ", 3)[3])["seq"]
    for replayer in (Replayer(journal), Replayer(Journal(tmp_path, version="0"))):
        payloads, end = asked(replayer, request(first=0, last=199))
        assert json.loads(payloads[0])["seq"] == kept
        assert end["missing"] == [[0, kept - 1]]
    journal.close()


def test_a_damaged_record_is_not_replayed(tmp_path: Path) -> None:
    messages = long_run(20)
    filled(tmp_path, messages).close()
    path = tmp_path / "5e55101" / file_name(1)
    path.write_bytes(path.read_bytes().replace(b'"time_s":0.2,', b'"time_s":0.7,'))
    _, end = asked(Replayer(Journal(tmp_path, version="0")), request(first=0, last=19))
    assert end["missing"] == [[10, 10]]


def test_messages_are_replayed_while_others_are_written(tmp_path: Path) -> None:
    script, journal = Script(), Journal(tmp_path, version="0", segment_bytes=100_000)
    sink, replayer = JournalSink(journal, Notices()), Replayer(journal)
    sink.publish(script.frame())
    wrong: list[object] = []
    done = threading.Event()

    def ask() -> None:
        chance = random.Random(5)
        while not done.is_set():
            newest = script.sent["frame"] - 2
            first = chance.randint(0, max(0, newest - 50))
            payloads, end = asked(replayer, request(first=first, last=min(first + 50, max(first, newest))))
            seqs = [json.loads(payload)["seq"] for payload in payloads]
            if not end["complete"] or seqs != list(range(first, end["to_seq"] + 1)):
                wrong.append((end, seqs))

    with Crew(on_failure=done.set) as crew:
        crew.start("ask", ask)
        for _ in range(3000):
            sink.publish(script.frame())
        done.set()
    sink.close()
    assert not wrong


def test_an_unknown_session_is_refused(tmp_path: Path) -> None:
    journal = filled(tmp_path, long_run(5))
    assert "no journal of a session 'other'" in refused(Replayer(journal), request("other"))
    journal.close()


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        b"{}",
        b"[" * 1000,
        request("../../etc"),
        request(""),
        request("a" * 65),
        request(topic="frames"),
        request(first=-1),
        request(first=5, last=4),
        request(last=MOST_MESSAGES),
        request(first=2**60, last=2**60),
        request(first=True),
        request(unknown=1),
        request() + b" " * 2000,
    ],
)
def test_what_is_no_request_is_answered_with_what_was_wanted(tmp_path: Path, wrong: bytes) -> None:
    assert '"from_seq": 42' in refused(Replayer(Journal(tmp_path, version="0")), wrong)


@given(st.binary(max_size=300))
def test_any_bytes_get_one_answer(wrong: bytes) -> None:
    answers = list(Replayer(Journal(Path("nowhere"), version="0")).answer(wrong))
    assert len(answers) == 1


class Engine:
    """What publishes, keeps and replays of an engine; what is `lost` does not reach subscribers."""

    def __init__(self, folder: Path, encoding: Encoding) -> None:
        self.script = Script()
        self.journal = Journal(folder, version="0")
        self.kept = JournalSink(self.journal, Notices())
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.bus = ZmqSink(ANY_PORT, encoding=encoding)
        self.desk = Desk(self.context, replay=(ANY_PORT, Replayer(self.journal)))
        self.replay = self.desk.replay_address

    def say(self, *messages: Message, lost: bool = False) -> None:
        for message in messages:
            self.kept.publish(message)
            if not lost:
                self.bus.publish(message)

    def frames(self, count: int, *, lost: bool = False) -> None:
        self.say(*(self.script.frame() for _ in range(count)), lost=lost)

    def status(self, event: str = "running") -> None:
        self.say(self.script.status(event, replay=self.replay))


@contextmanager
def engine(folder: Path, encoding: Encoding = "json", *, replaying: bool = True) -> Iterator[Engine]:
    made = Engine(folder, encoding)
    with ExitStack() as stack:
        stack.callback(made.context.term)
        stack.callback(made.desk.close)
        stack.callback(made.bus.close)
        stack.callback(made.kept.close)
        crew = stack.enter_context(Crew(on_failure=made.desk.stop))
        stack.callback(made.desk.stop)
        if replaying:
            crew.start("desk", made.desk.work)
        yield made


@contextmanager
def following(source: Engine, *topics: str, **options: Any) -> Iterator[Subscriber]:
    with Subscriber(source.bus.address, topics or ("frame", "segment", "field"), **options) as subscriber:
        assert source.bus.wait_for_subscriber(PATIENCE_S)
        yield subscriber


def numbers(messages: list[Message], topic: str = "frame") -> list[int]:
    return [message.seq for message in messages if topic_of(message) == topic]


def test_a_subscriber_that_missed_messages_gets_them_in_order(tmp_path: Path) -> None:
    with engine(tmp_path) as source, following(source) as subscriber:
        source.status("started")
        source.frames(10)
        source.frames(25, lost=True)
        source.frames(10)
        source.status("ended")
        messages = list(subscriber)
        assert numbers(messages) == list(range(45))
        assert (subscriber.account.healed, subscriber.account.missed) == (25, 0)
        assert subscriber.account.topics["frame"].received == 20


def test_healed_messages_are_the_ones_that_were_published(tmp_path: Path) -> None:
    with engine(tmp_path, "msgpack") as source, following(source) as subscriber:
        source.status("started")
        lost: list[Message] = [source.script.frame(), source.script.segment(3), source.script.frame()]
        source.say(*lost, lost=True)
        source.frames(1)
        source.status("ended")
        messages = list(subscriber)
        for message in lost:
            assert message in messages


def test_more_than_a_page_is_healed_page_by_page(tmp_path: Path) -> None:
    with engine(tmp_path) as source, following(source) as subscriber:
        source.status("started")
        source.frames(2 * MOST_MESSAGES + 7, lost=True)
        source.status("ended")
        assert numbers(list(subscriber)) == list(range(2 * MOST_MESSAGES + 7))


def test_losses_that_only_the_counts_show_are_healed_in_all_topics(tmp_path: Path) -> None:
    with engine(tmp_path) as source, following(source) as subscriber:
        source.status("started")
        source.say(source.script.segment(1), source.script.frame(), source.script.field(), lost=True)
        source.say(source.script.status("running", replay=source.replay), lost=True)
        source.say(source.script.frame(), lost=True)
        source.status("ended")
        messages = list(subscriber)
        assert {topic: numbers(messages, topic) for topic in ("frame", "segment", "field", "status")} == {
            "frame": [0, 1],
            "segment": [0],
            "field": [0],
            "status": [0, 1, 2],
        }
        assert subscriber.healed == {"frame": 2, "segment": 1, "field": 1, "status": 1}
        assert subscriber.account.missed == 0


def test_what_the_journal_has_not_stays_missed(tmp_path: Path) -> None:
    with engine(tmp_path) as source, following(source) as subscriber:
        source.status("started")
        source.frames(3, lost=True)
        for _ in range(4):
            source.journal.skip("frame", source.script.frame().seq, "disk full")
        source.frames(2)
        source.status("ended")
        assert numbers(list(subscriber)) == [0, 1, 2, 7, 8]
        assert (subscriber.account.healed, subscriber.account.missed) == (3, 4)


def test_a_subscriber_that_only_wants_the_present_does_not_ask(tmp_path: Path) -> None:
    with engine(tmp_path) as source, following(source, heal=False) as subscriber:
        source.status("started")
        source.frames(3, lost=True)
        source.frames(1)
        source.status("ended")
        assert numbers(list(subscriber)) == [3]
        assert (subscriber.account.healed, subscriber.account.missed) == (0, 3)


def test_an_engine_without_a_journal_is_not_asked(tmp_path: Path) -> None:
    with engine(tmp_path) as source, following(source) as subscriber:
        source.replay = None
        source.status("started")
        source.frames(3, lost=True)
        source.frames(1)
        source.status("ended")
        assert numbers(list(subscriber)) == [3]
        assert subscriber.account.missed == 3


def test_an_engine_that_does_not_answer_is_waited_for_once_and_the_stream_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scopeline.healer.PATIENCE_S", 0.05)
    with engine(tmp_path, replaying=False) as source, following(source) as subscriber:
        source.status("started")
        for _ in range(20):
            source.frames(3, lost=True)
            source.frames(1)
        source.status("ended")
        assert numbers(list(subscriber)) == list(range(3, 80, 4))
        assert (subscriber.account.healed, subscriber.account.missed) == (0, 60)
        assert "no answer" in subscriber.heal_trouble


def test_a_reader_that_does_not_wait_is_not_held_up_by_asking(tmp_path: Path) -> None:
    with engine(tmp_path, replaying=False) as source, following(source) as subscriber:
        source.status("started")
        source.frames(3, lost=True)
        source.frames(1)
        assert isinstance(subscriber.take(PATIENCE_S), StatusMessage)
        assert [subscriber.take(0.001) for _ in range(5)] == [None] * 5


@pytest.mark.parametrize(
    "answer",
    [
        [[b"error", b'{"error": "go away"}']],
        [[b"nonsense"]],
        [[b"end", b"{"]],
        [
            [
                b"end",
                b'{"session":"x","topic":"frame","from_seq":0,"to_seq":1,"count":0,"complete":true,"missing":[]}',
            ]
        ],
        [[b"frame", b'{"type":"frame"}']] * 10,
    ],
)
def test_a_stranger_on_the_replay_address_does_no_harm(answer: list[list[bytes]], tmp_path: Path) -> None:
    with (
        engine(tmp_path) as source,
        following(source) as subscriber,
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as stranger,
    ):
        stranger.linger = 0
        source.replay = f"tcp://127.0.0.1:{stranger.bind_to_random_port('tcp://127.0.0.1')}"
        source.status("started")
        source.frames(3, lost=True)
        source.frames(1)
        source.status("ended")
        assert subscriber.take(PATIENCE_S) is not None
        assert subscriber.take(0) is None  # that asks
        assert stranger.poll(PATIENCE_S * 1000)
        peer, *_ = stranger.recv_multipart()
        for parts in answer:
            stranger.send_multipart([peer, *parts])
        assert numbers(list(subscriber)) == [3]
        assert subscriber.account.missed == 3
        assert subscriber.heal_trouble


def test_one_who_comes_late_can_have_everything_from_the_start(tmp_path: Path) -> None:
    with engine(tmp_path) as source:
        source.status("started")
        source.frames(1500)
        source.say(source.script.segment(1))
        with following(source, from_start=True) as subscriber:
            source.frames(5)
            source.status()
            source.frames(5)
            source.status("ended")
            messages = list(subscriber)
    assert numbers(messages) == list(range(1510))
    assert numbers(messages, "segment") == [0]
    assert numbers(messages, "status") == [0, 1, 2]
    assert subscriber.account.missed == 0


def test_where_to_ask_can_be_said(tmp_path: Path) -> None:
    """Through a tunnel the engine's own address leads nowhere."""
    with engine(tmp_path) as source, following(source, replay=source.replay) as subscriber:
        source.replay = "tcp://127.0.0.1:9"
        source.status("started")
        source.frames(3, lost=True)
        source.status("ended")
        assert numbers(list(subscriber)) == [0, 1, 2]


@pytest.mark.parametrize("address", ["nowhere", "tcp://", "http://127.0.0.1:80"])
def test_a_replay_address_that_is_none_costs_nothing_but_the_healing(address: str, tmp_path: Path) -> None:
    with engine(tmp_path) as source, following(source) as subscriber:
        source.replay = address
        source.status("started")
        source.frames(3, lost=True)
        source.status("ended")
        assert numbers(list(subscriber)) == []
        assert subscriber.account.missed == 3
        assert address in subscriber.heal_trouble


def test_a_display_has_the_newest_of_each_topic_and_its_age(tmp_path: Path) -> None:
    with engine(tmp_path) as source, following(source, heal=False) as subscriber:
        assert subscriber.latest().stale
        source.status("started")
        source.say(source.script.segment(1), source.script.segment(2), source.script.field())
        source.frames(30)
        source.status("ended")
        while not subscriber.account.ended:
            latest = subscriber.latest(PATIENCE_S)
        assert latest.frame is not None
        assert latest.segment is not None
        assert latest.status is not None
        assert (latest.frame.seq, latest.segment.seq, latest.status.event) == (29, 1, "ended")
        assert latest.ages_ms.keys() == {"frame", "segment", "field", "status"}
        assert latest.ages_ms["frame"] < latest.ages_ms["segment"]


def test_a_healed_frame_does_not_take_the_place_of_a_newer_one(tmp_path: Path) -> None:
    with engine(tmp_path) as source, following(source) as subscriber:
        source.status("started")
        source.frames(3, lost=True)
        source.frames(1)
        source.status("ended")
        for _ in subscriber:
            pass
        newest = subscriber.latest().frame
        assert isinstance(newest, FrameMessage)
        assert newest.seq == 3
        assert subscriber.stale.captured_ns == newest.captured_ns


def test_replayed_payloads_are_json_also_where_messagepack_is_published(tmp_path: Path) -> None:
    with engine(tmp_path, "msgpack") as source:
        source.frames(2)
        payloads, _ = asked(Replayer(source.journal), request(first=0, last=1))
    assert all(payload.startswith(b"{") for payload in payloads)
    assert [Decoder().decode(payload).seq for payload in payloads] == [0, 1]
