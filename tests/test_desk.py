"""Desk: control, replay and keys on real loopback sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import zmq

from messages import ANY_PORT, PATIENCE_S, Script
from scopeline.control import Control
from scopeline.desk import MOST_ANSWERS, MOST_BYTES, Desk
from scopeline.endpoint import ZmqContext, ZmqSocket
from scopeline.errors import SinkError
from scopeline.keys import ENGINE, ClientKeys, EngineKeys, KeyFolder
from scopeline.live_marks import LiveMarks
from scopeline.marks import Mark
from scopeline.notices import Notices
from scopeline.sinks.zeromq import ZmqSink

MARK = b'{"do": "mark", "label": "rectum"}'
STATUS = b'{"do": "status"}'


class Numbers:
    """Replays the numbers up to the one asked for, each in a kilobyte. `made` tells how far it came."""

    def __init__(self) -> None:
        self.made = 0

    def answer(self, request: bytes) -> Iterator[tuple[bytes, bytes]]:
        for number in range(int(request)):
            self.made += 1
            yield b"frame", b"%1000d" % number
        if int(request) == 13:
            raise OSError("the disk is gone")


class Office:
    """A desk at work in a thread, and clients for it."""

    def __init__(self, context: ZmqContext, opened: ExitStack, keys: EngineKeys | None = None) -> None:
        self.context, self.marks, self.numbers = context, LiveMarks(), Numbers()
        self.control = Control(
            self.marks, Notices(), session="5e55101", version="0.1.0", locations=("rectum", "sigmoid")
        )
        self.desk = Desk(
            context, control=(ANY_PORT, self.control), replay=(ANY_PORT, self.numbers), keys=keys
        )
        self._opened = opened
        self._thread = threading.Thread(target=self.desk.work)
        self._thread.start()

    def leave(self) -> None:
        self.desk.stop()
        self._thread.join(PATIENCE_S)
        self.desk.close()

    def client(
        self, address: str | None, keys: ClientKeys | None = None, kind: int = zmq.DEALER
    ) -> ZmqSocket:
        assert address is not None
        client = self._opened.enter_context(self.context.socket(kind))
        client.linger = 0
        client.rcvtimeo = PATIENCE_S * 1000
        if keys is not None:
            keys.unlock(client)
        client.connect(address)
        return client

    def operator(self, keys: ClientKeys | None = None) -> ZmqSocket:
        return self.client(self.desk.control_address, keys)

    def reader(self, keys: ClientKeys | None = None) -> ZmqSocket:
        return self.client(self.desk.replay_address, keys)

    def heard(self) -> list[Mark]:
        return self.marks.rest(0.0, 0)


@contextmanager
def at_work(keys: EngineKeys | None = None) -> Iterator[Office]:
    with zmq.Context() as context, ExitStack() as opened:
        office = Office(context, opened, keys)
        try:
            yield office
        finally:
            office.leave()


def ask(client: ZmqSocket, *parts: bytes) -> dict[str, Any]:
    client.send_multipart(parts)
    answer: dict[str, Any] = json.loads(client.recv())
    return answer


def test_a_mark_that_is_sent_is_heard_and_answered() -> None:
    with at_work() as office:
        assert ask(office.operator(), MARK)["ok"] is True
        assert [(mark.kind, mark.label) for mark in office.heard()] == [("segment", "rectum")]


def test_a_plain_req_socket_is_answered_too() -> None:
    with at_work() as office:
        req = office.client(office.desk.control_address, kind=zmq.REQ)
        assert ask(req, STATUS)["session"] == "5e55101"


def test_several_parts_are_refused_and_counted() -> None:
    with at_work() as office:
        client = office.operator()
        assert ask(client, MARK, MARK)["error"] == "a request is one part"
        assert ask(client, MARK, b"", MARK, b"")["ok"] is False
        assert ask(client, STATUS)["refused"] == 2
        assert office.heard() == []


def test_a_message_beyond_the_limit_costs_the_sender_its_connection_and_nobody_else_anything() -> None:
    with at_work() as office:
        flood, client = office.operator(), office.operator()
        flood.send(b"x" * (MOST_BYTES + 1))
        assert ask(client, STATUS)["refused"] == 0
        assert ask(flood, STATUS)["ok"] is True  # libzmq has connected it again


def test_bytes_that_are_not_zeromq_do_no_harm() -> None:
    with at_work() as office:
        address = str(office.desk.control_address).removeprefix("tcp://")
        host, port = address.split(":")
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100, b"\xff" * 65, bytes(range(256))):
            with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as raw:
                raw.sendall(garbage)
        assert ask(office.operator(), STATUS)["ok"] is True


def test_bytes_that_pass_for_the_oldest_zeromq_leave_no_connection_open() -> None:
    """libzmq keeps one for every peer but the first, if it lets them in: all have the same name, and flood."""
    old = b"\xff" + b"\0" * 8 + b"\x7f\0\0" + b"CURVE".ljust(52, b"\0")
    with at_work() as office:
        host, _, port = str(office.desk.control_address).removeprefix("tcp://").rpartition(":")
        client = office.operator()
        assert ask(client, STATUS)["ok"] is True
        before = psutil.Process().num_fds()
        for _ in range(20):
            with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as raw, suppress(OSError):
                raw.sendall(old + b"x" * 500_000)
        for _ in range(PATIENCE_S * 10):
            if psutil.Process().num_fds() <= before:
                break
            client.poll(100)
        assert psutil.Process().num_fds() <= before
        assert ask(client, STATUS)["refused"] == 0


def test_a_peer_that_never_reads_its_answers_does_not_hold_up_the_others() -> None:
    with at_work() as office:
        deaf, client = office.operator(), office.operator()
        deaf.rcvhwm = 1
        for _ in range(20_000):
            deaf.send(STATUS)
        assert ask(client, STATUS)["ok"] is True


def test_a_flood_of_one_peer_does_not_keep_another_waiting() -> None:
    with at_work() as office:
        flood, client = office.operator(), office.operator()
        for _ in range(5000):
            flood.send(b"?")
        assert not ask(flood, b"?")["ok"]  # the flood has begun
        assert ask(client, STATUS)["refused"] < 5000


def test_a_replay_comes_whole_and_in_order_however_long_it_is() -> None:
    with at_work() as office:
        reader = office.reader()
        reader.send(b"20000")
        numbers = [int(reader.recv_multipart()[1]) for _ in range(20_000)]
        assert numbers == list(range(20_000))
        assert office.desk.replays_dropped == 0


def test_a_replay_to_a_req_socket_begins_with_its_first_message() -> None:
    with at_work() as office:
        req = office.client(office.desk.replay_address, kind=zmq.REQ)
        req.send(b"1")
        assert [int(part) for part in req.recv_multipart()[1:]] == [0]


def test_a_replay_that_nobody_reads_holds_up_neither_control_nor_another_replay() -> None:
    with at_work() as office:
        sleeper, reader, client = office.reader(), office.reader(), office.operator()
        sleeper.send(b"10000000")
        for _ in range(20):
            assert ask(client, STATUS)["ok"] is True
        reader.send(b"5000")
        assert [int(reader.recv_multipart()[1]) for _ in range(5000)] == list(range(5000))
        assert ask(client, STATUS)["ok"] is True
    # What libzmq and the kernel keep for one peer, a few MB; the other ten million were never made.
    assert office.numbers.made < 100_000


def test_a_replay_to_a_peer_that_has_gone_is_dropped() -> None:
    with at_work() as office:
        leaver, client = office.reader(), office.operator()
        leaver.send(b"10000000")
        leaver.recv_multipart()
        leaver.close()
        for _ in range(200_000):
            ask(client, STATUS)
            if office.desk.replays_dropped:
                break
        assert office.desk.replays_dropped == 1


def test_replays_that_are_asked_for_together_come_one_after_the_other() -> None:
    with at_work() as office:
        reader = office.reader()
        for count in (b"3", b"2000", b"2"):
            reader.send(count)
        numbers = [int(reader.recv_multipart()[1]) for _ in range(2005)]
        assert numbers == [*range(3), *range(2000), *range(2)]


def test_too_many_replays_at_once_are_refused_and_the_others_come() -> None:
    with at_work() as office:
        sleeper, reader = office.reader(), office.reader()
        for _ in range(2 * MOST_ANSWERS):
            sleeper.send(b"10000000")
        topic, answer = b"", b""
        while topic != b"error":  # until the sleeper's have arrived
            reader.send(b"1")
            topic, answer = reader.recv_multipart()
        assert "ask again" in json.loads(answer)["error"]


def test_a_replay_that_fails_in_the_middle_says_so_and_costs_no_other() -> None:
    with at_work() as office:
        reader = office.reader()
        for request in (b"13", b"x", b"2"):
            reader.send(request)
        answers = [reader.recv_multipart() for _ in range(13 + 1 + 1 + 2)]
        assert [topic for topic, _ in answers] == [b"frame"] * 13 + [b"error"] * 2 + [b"frame"] * 2
        assert "the disk is gone" in json.loads(answers[13][1])["error"]


# Beginning and end.


def test_a_desk_that_was_stopped_before_it_worked_returns_at_once() -> None:
    with zmq.Context() as context, Desk(context) as desk:
        desk.stop()
        desk.stop()
        desk.work()


def test_a_desk_without_sockets_still_ends() -> None:
    with zmq.Context() as context, Desk(context) as desk:
        thread = threading.Thread(target=desk.work)
        thread.start()
        desk.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_stopping_after_the_end_is_harmless() -> None:
    with zmq.Context() as context:
        desk = Desk(context)
        desk.close()
        desk.stop()
        desk.close()


def test_requests_that_come_before_the_desk_works_are_answered_when_it_does() -> None:
    control = Control(LiveMarks(), Notices(), session="5e55101", version="0")
    with (
        zmq.Context() as context,
        Desk(context, control=(ANY_PORT, control)) as desk,
        context.socket(zmq.DEALER) as client,
    ):
        client.linger = 0
        client.connect(str(desk.control_address))
        client.send(STATUS)
        thread = threading.Thread(target=desk.work)
        thread.start()
        assert client.poll(PATIENCE_S * 1000)
        desk.stop()
        thread.join(PATIENCE_S)


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:*", "tcp://*:5559", "tcp://192.168.1.20:5559"])
def test_an_address_that_others_can_reach_is_refused_without_keys(address: str) -> None:
    control = Control(LiveMarks(), Notices(), session="5e55101", version="0")
    with zmq.Context() as context, pytest.raises(SinkError, match=r"without keys.*scopeline keys new"):
        Desk(context, control=(address, control))


def test_an_address_in_use_is_told_at_the_start_and_leaves_nothing_open() -> None:
    control = Control(LiveMarks(), Notices(), session="5e55101", version="0")
    with zmq.Context() as context, Desk(context, control=(ANY_PORT, control)) as desk:
        taken = str(desk.control_address)
        with pytest.raises(SinkError, match=r"cannot offer replay.*somebody else"):
            Desk(context, control=(ANY_PORT, control), replay=(taken, Numbers()))


# Keys.


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys")
    folder.create(ENGINE)
    return folder


@pytest.fixture
def new_client(folder: KeyFolder) -> Callable[[str], ClientKeys]:
    def new(name: str) -> ClientKeys:
        return ClientKeys(folder.create(name), folder.engine_pair().public)

    return new


def is_answered(client: ZmqSocket, request: bytes, wait_s: float) -> bool:
    client.send(request)
    return bool(client.poll(round(wait_s * 1000)))


def wait_until_turned_away(office: Office, times: int) -> None:
    """Until the doorkeeper has refused so many handshakes: then a client had its chance."""
    probe = office.context.socket(zmq.PAIR)
    for _ in range(PATIENCE_S * 100):
        if office.desk.turned_away >= times:
            break
        probe.poll(10)
    probe.close()
    assert office.desk.turned_away >= times


def test_an_operator_with_an_allowed_key_is_heard(
    folder: KeyFolder, new_client: Callable[[str], ClientKeys]
) -> None:
    pedal = new_client("pedal")
    folder.allow("pedal", pedal.pair.public, "operators")
    with at_work(EngineKeys(folder)) as office:
        assert ask(office.operator(pedal), MARK)["ok"] is True


def test_a_subscribers_key_opens_replay_and_not_control(
    folder: KeyFolder, new_client: Callable[[str], ClientKeys]
) -> None:
    viewer = new_client("viewer")
    folder.allow("viewer", viewer.pair.public, "subscribers")
    with at_work(EngineKeys(folder)) as office:
        intruder = office.operator(viewer)
        intruder.send(MARK)
        wait_until_turned_away(office, 1)
        reader = office.reader(viewer)
        reader.send(b"1")
        assert int(reader.recv_multipart()[1]) == 0
        assert not intruder.poll(0)
        assert office.heard() == []


def test_without_a_key_or_with_an_unknown_one_nobody_is_heard(
    new_client: Callable[[str], ClientKeys], folder: KeyFolder
) -> None:
    stranger = new_client("stranger")
    with at_work(EngineKeys(folder)) as office:
        known_nothing, unknown = office.operator(), office.operator(stranger)
        known_nothing.send(MARK)
        unknown.send(MARK)
        wait_until_turned_away(office, 1)
        assert not known_nothing.poll(0)
        assert not unknown.poll(0)
        assert office.control.refused == 0
        assert office.heard() == []


def test_a_key_that_is_allowed_while_the_engine_runs_opens_the_next_connection(
    folder: KeyFolder, new_client: Callable[[str], ClientKeys]
) -> None:
    pedal = new_client("pedal")
    with at_work(EngineKeys(folder)) as office:
        office.operator(pedal).send(MARK)
        wait_until_turned_away(office, 1)
        folder.allow("pedal", pedal.pair.public, "operators")
        assert ask(office.operator(pedal), STATUS)["ok"] is True


def test_a_key_that_is_revoked_is_silenced_at_once_and_not_let_in_again(
    folder: KeyFolder, new_client: Callable[[str], ClientKeys]
) -> None:
    pedal = new_client("pedal")
    folder.allow("pedal", pedal.pair.public, "operators")
    with at_work(EngineKeys(folder)) as office:
        client = office.operator(pedal)
        assert ask(client, STATUS)["ok"] is True
        folder.revoke("pedal")
        assert ask(client, MARK)["error"] == "this key is not allowed here any more"
        again = office.operator(pedal)
        again.send(MARK)
        wait_until_turned_away(office, 1)
        assert not again.poll(0)
        assert office.heard() == []


def test_a_publisher_with_keys_gives_nothing_to_who_has_none(
    folder: KeyFolder, new_client: Callable[[str], ClientKeys]
) -> None:
    viewer, stranger = new_client("viewer"), new_client("stranger")
    folder.allow("viewer", viewer.pair.public, "subscribers")
    keys = EngineKeys(folder)
    with at_work(keys) as office:
        sink = ZmqSink(ANY_PORT, context=office.context, keys=keys)
        outside = [office.client(sink.address, each, zmq.SUB) for each in (None, stranger)]
        inside = office.client(sink.address, viewer, zmq.SUB)
        for sub in (*outside, inside):
            sub.subscribe(b"")
        assert sink.wait_for_subscriber(PATIENCE_S)
        wait_until_turned_away(office, 1)
        assert sink.subscribers() == 1
        sink.publish(Script().status())
        assert inside.recv_multipart()[0] == b"status"
        assert not any(sub.poll(0) for sub in outside)
        sink.close()


def test_without_a_doorkeeper_a_locked_socket_lets_nobody_in(
    folder: KeyFolder, new_client: Callable[[str], ClientKeys]
) -> None:
    """libzmq's own default is the opposite: no handler, everybody comes in."""
    viewer = new_client("viewer")
    folder.allow("viewer", viewer.pair.public, "subscribers")
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sink = ZmqSink(ANY_PORT, context=context, keys=EngineKeys(folder))
        monitor = sub.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        viewer.unlock(sub)
        sub.linger = 0
        sub.subscribe(b"")
        sub.connect(sink.address)
        assert monitor.poll(PATIENCE_S * 1000)
        event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
        assert event == zmq.EVENT_DISCONNECTED
        assert sink.subscribers() == 0
        monitor.close()
        sub.disable_monitor()
        sink.close()
