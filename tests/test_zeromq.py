"""ZmqSink on real loopback sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from messages import PATIENCE_S, Script, publishing
from scopeline.errors import SinkError
from scopeline.sinks.zeromq import HIGH_WATER_MARK, ZmqSink
from scopeline.subscriber import Subscriber
from scopeline.wire import TOPICS, Decoder


@contextmanager
def plain_socket(address: str, *topics: str) -> Iterator[zmq.Socket[bytes]]:
    """A subscriber that is none of ours."""
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sub.linger = 0
        sub.connect(address)
        for topic in topics:
            sub.subscribe(topic)
        yield sub


def test_a_message_is_the_topic_and_the_payload() -> None:
    with publishing() as sink, plain_socket(sink.address, "frame") as sub:
        assert sink.wait_for_subscriber(PATIENCE_S, topic="frame")
        message = Script().frame()
        sink.publish(message)
        topic, payload = sub.recv_multipart()
    assert topic == b"frame"
    assert Decoder().decode(payload) == message


def test_messagepack_is_sent_when_asked_for() -> None:
    with publishing(encoding="msgpack") as sink, plain_socket(sink.address, "") as sub:
        assert sink.wait_for_subscriber(PATIENCE_S)
        message = Script().status()
        sink.publish(message)
        _, payload = sub.recv_multipart()
    assert payload[:1] != b"{"
    assert Decoder().decode(payload) == message


def test_a_subscriber_gets_the_topics_it_asked_for_and_no_others() -> None:
    script = Script()
    with publishing() as sink, plain_socket(sink.address, "segment") as sub:
        assert sink.wait_for_subscriber(PATIENCE_S, topic="segment")
        for message in (
            script.frame(),
            script.status(),
            script.segment(1),
            script.frame(),
            script.segment(2),
        ):
            sink.publish(message)
        assert [sub.recv_multipart()[0] for _ in range(2)] == [b"segment", b"segment"]


def test_ten_thousand_messages_all_arrive_though_the_publisher_closes_at_once() -> None:
    script = Script()
    with publishing() as sink, Subscriber(sink.address) as subscriber:
        assert sink.wait_for_subscriber(PATIENCE_S)
        for message in [script.frame() for _ in range(9_999)] + [script.status("ended")]:
            sink.publish(message)
        sink.close()
        frames = [message.seq for message in subscriber]
        assert subscriber.missed == dict.fromkeys(TOPICS, 0)
    assert frames == [*range(9_999), 0]


def test_a_stuck_subscriber_does_not_take_messages_from_one_that_reads() -> None:
    script, count = Script(), 3 * HIGH_WATER_MARK
    with (
        publishing() as sink,
        plain_socket(sink.address, ""),
        Subscriber(sink.address, ["frame"]) as reader,
    ):
        assert sink.wait_for_subscriber(PATIENCE_S, count=2)
        for _ in range(count // 1000):
            for _ in range(1000):
                sink.publish(script.frame())
            for _ in range(1000):
                assert reader.take(PATIENCE_S) is not None
        assert reader.account.topics["frame"].received == count
        assert reader.account.missed == 0


def test_a_stuck_subscriber_is_given_a_bounded_number_of_messages() -> None:
    """The bound: what the high-water marks of both sides keep, and what the kernel's buffers take."""
    script = Script()
    with (
        publishing(high_water_mark=100) as sink,
        Subscriber(sink.address, high_water_mark=100) as sleeper,
    ):
        assert sink.wait_for_subscriber(PATIENCE_S)
        for _ in range(40_000):
            sink.publish(script.frame())
        sink.close()
        while sleeper.take(0.5) is not None:
            pass
        assert 100 <= sleeper.account.topics["frame"].received < 20_000


def test_a_stopped_process_costs_the_publisher_nothing_but_the_linger() -> None:
    """A subscriber whose whole process stands still, as under a debugger: publishing comes to its end."""
    script = Script()
    program = "import zmq; s = zmq.Context().socket(zmq.SUB); s.subscribe(''); s.connect('{}'); s.poll()"
    with publishing() as sink:
        code = program.format(sink.address)
        with subprocess.Popen([sys.executable, "-c", code]) as process:
            assert sink.wait_for_subscriber(PATIENCE_S)
            os.kill(process.pid, signal.SIGSTOP)
            for _ in range(3 * HIGH_WATER_MARK):
                sink.publish(script.frame())
            sink.close()
            process.kill()


def test_subscribers_are_counted_as_they_come_and_go() -> None:
    with publishing() as sink:
        assert sink.subscribers() == 0
        with Subscriber(sink.address):
            assert sink.wait_for_subscriber(PATIENCE_S)
            with Subscriber(sink.address, ["segment"]):
                assert sink.wait_for_subscriber(PATIENCE_S, count=2)
                assert sink.subscribers("frame") == 1
                assert sink.subscribers("segment") == 2


def test_waiting_for_a_subscriber_that_never_comes_ends() -> None:
    with publishing() as sink:
        assert not sink.wait_for_subscriber(0.05)


@pytest.mark.parametrize(
    "address",
    ["tcp://0.0.0.0:5557", "tcp://*:5557", "tcp://192.168.1.20:5557", "tcp://[::]:5557", "tcp://eth0:5557"],
)
def test_an_address_that_others_can_reach_is_refused_with_the_reason(address: str) -> None:
    with pytest.raises(SinkError, match=r"without keys.*this machine.*scopeline keys new"):
        ZmqSink(address)


@pytest.mark.parametrize(
    "address", ["5557", "udp://127.0.0.1:5557", "tcp://127.0.0.1", "ipc://", "tcp://127.0.0.1:x"]
)
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(SinkError, match=r"must be tcp://127\.0\.0\.1:<port>"):
        ZmqSink(address)


def test_an_address_in_use_is_refused_with_what_to_do() -> None:
    with publishing() as sink, pytest.raises(SinkError, match=r"somebody else.*choose another port"):
        ZmqSink(sink.address)


def test_a_running_publisher_keeps_its_ipc_path(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/scopeline"
    with publishing(address) as first:
        with pytest.raises(SinkError, match="somebody else"):
            ZmqSink(address)
        with Subscriber(address) as subscriber:
            assert first.wait_for_subscriber(PATIENCE_S)
            first.publish(Script().status())
            assert subscriber.take(PATIENCE_S) is not None


def test_an_ipc_path_left_by_a_killed_publisher_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "scopeline"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    assert path.is_socket()
    with publishing(f"ipc://{path}") as sink:
        assert sink.address == f"ipc://{path}"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:0", "tcp://localhost:*"])
def test_any_port_is_told_after_binding(address: str) -> None:
    with publishing(address) as sink:
        port = int(sink.address.removeprefix("tcp://127.0.0.1:"))
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S):
            pass


def test_an_address_is_free_again_after_close() -> None:
    with publishing() as sink:
        address = sink.address
    with publishing(address) as again:
        assert again.address == address


def test_a_peer_that_floods_subscriptions_is_not_waited_for() -> None:
    with publishing() as sink, zmq.Context() as context, context.socket(zmq.XSUB) as flood:
        flood.linger = 0
        flood.connect(sink.address)
        flood.send(b"\1status")
        assert sink.wait_for_subscriber(PATIENCE_S)
        for number in range(500):
            flood.send(b"\1x%d" % number)
        sink.publish(Script().status())
        assert flood.recv_multipart()[0] == b"status"


def test_closing_twice_is_harmless() -> None:
    with publishing() as sink:
        sink.close()


def test_a_port_that_cannot_be_is_refused() -> None:
    with pytest.raises(SinkError, match="at most 65535"), publishing("tcp://127.0.0.1:99999"):
        pass
