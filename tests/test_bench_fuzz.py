"""The fuzz bench: its garbage means nothing, does nothing to a desk, and every way of having an effect is noticed."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from rich.progress import Progress

from messages import ANY_PORT, PATIENCE_S, Script
from scopeline.control import Control
from scopeline.desk import MOST_BYTES, Desk
from scopeline.live_marks import LiveMarks
from scopeline.notices import Notices
from scopeline.sinks.zeromq import ZmqSink
from scopeline_bench.fuzz import Siege, Window
from scopeline_bench.garbage import LIMIT_BYTES, Garbage
from scopeline_bench.outsider import Found
from scopeline_bench.rooms import Visit, measure_visits


class Silent:
    """A replayer that has nothing."""

    def answer(self, request: bytes) -> Iterator[tuple[bytes, bytes]]:
        yield b"end", b"{}"


def test_garbage_fits_the_engines_limit() -> None:
    """Else whole batches would be lost with the connection, and nothing would be tested."""
    assert LIMIT_BYTES == MOST_BYTES
    garbage = Garbage(1)
    parts = [part for _ in range(1000) for part in (*garbage.request(), *garbage.replay_request())]
    assert max(map(len, parts)) <= LIMIT_BYTES
    assert len(garbage.too_long()) > LIMIT_BYTES


def test_the_same_seed_sends_the_same() -> None:
    first, second, other = Garbage(5), Garbage(5), Garbage(6)
    drawn = [[each.request(), each.raw(), each.subscription()] for each in (first, second, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_five_thousand_requests_of_garbage_are_refused_and_mark_nothing() -> None:
    marks = LiveMarks()
    control = Control(marks, Notices(), session="5e55101", version="0", locations=("rectum", "sigmoid"))
    garbage, single = Garbage(2), 0
    for number in range(5_000):
        parts = garbage.request()
        if len(parts) == 1:
            single += 1
            assert json.loads(control.answer(parts[0], number))["ok"] is False, parts
    assert control.refused == single > 4_000
    assert marks.rest(0.0, 0) == []


def test_a_desk_and_a_publisher_survive_garbage_on_every_socket() -> None:
    marks, garbage = LiveMarks(), Garbage(3)
    control = Control(marks, Notices(), session="5e55101", version="0", locations=("rectum", "sigmoid"))
    with (
        zmq.Context() as context,
        zmq.Context() as clients,
        Desk(context, control=(ANY_PORT, control), replay=(ANY_PORT, Silent())) as desk,
        clients.socket(zmq.DEALER) as asker,
        clients.socket(zmq.XSUB) as subscriber,
        clients.socket(zmq.DEALER) as reader,
    ):
        sink = ZmqSink(ANY_PORT, context=context)
        thread = threading.Thread(target=desk.work)
        thread.start()
        places = {asker: desk.control_address, subscriber: sink.address, reader: desk.replay_address}
        for client, address in places.items():
            client.linger = 0
            client.rcvtimeo = PATIENCE_S * 1000
            client.connect(str(address))
        for _ in range(500):
            asker.send_multipart(garbage.request())
            subscriber.send_multipart(garbage.subscription())
            reader.send_multipart(garbage.replay_request())
        for number in range(60):
            host, _, port = str(list(places.values())[number % 3]).removeprefix("tcp://").rpartition(":")
            with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as raw:
                raw.sendall(garbage.raw()[:10_000])
        answers = [json.loads(asker.recv_multipart()[-1])["ok"] for _ in range(500)]
        topics = [reader.recv_multipart()[-2] for _ in range(500)]
        asker.send(b'{"do": "status"}')
        there = json.loads(asker.recv())
        subscriber.send(b"\1status")
        while not sink.subscribers():
            sink.wait_for_subscriber(PATIENCE_S)
        sink.publish(Script().status())
        assert subscriber.recv_multipart()[0] == b"status"
        sink.close()
        desk.stop()
        thread.join(PATIENCE_S)
    assert not any(answers)
    assert set(topics) <= {b"end", b"error"}
    assert there["marks"] == 0
    assert there["refused"] >= 500  # some of the raw bytes spoke ZeroMQ
    assert marks.rest(0.0, 0) == []


def test_where_there_are_no_network_namespaces_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    visits, why = measure_visits(tmp_path / "none.mp4", tmp_path, Progress())
    assert visits == []
    assert why is not None
    assert "there is no `ip` command" in why


def window(**changes: Any) -> Window:
    plain: dict[str, Any] = {
        "seconds": 20.0,
        "published": 500,
        "lost": 0,
        "processor_s": 10.0,
        "memory_mb": 150.0,
    }
    return Window(**(plain | changes))


def siege(**changes: Any) -> Siege:
    plain: dict[str, Any] = {
        "seed": 0,
        "sent": {"control": 60, "replay": 15, "publish": 15, "raw": 10},
        "answered": {"control": 60, "replay": 15},
        "memory_before_mb": 140.0,
        "quiet": [window()] * 4,
        "attack": [window()] * 4,
        "marks_heard": 1,
        "marks_published": ["segment rectum at 1.00 s", "freeze at 60.00 s"],
        "segments": [(2, "rectum")],
        "refused": 60,
        "works_after": {"control": True, "replay": True, "publish": True},
        "missed": 0,
        "exit_code": 130,
        "probes": [],
    }
    return Siege(**(plain | changes))


def test_an_engine_that_takes_no_notice_has_no_problems() -> None:
    assert siege().problems == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"exit_code": -11}, "end in order"),
        ({"marks_heard": 2}, "mark was taken"),
        ({"marks_published": ["segment rectum", "end", "freeze"]}, "mark was taken"),
        ({"segments": [(2, "rectum"), (3, "sigmoid")]}, "segment changed"),
        ({"answered": {"control": 59, "replay": 15}}, "not answered"),
        ({"works_after": {"control": True, "replay": False, "publish": True}}, "dead"),
        ({"attack": [window(memory_mb=150.0 + 2 * turn) for turn in range(4)]}, "memory"),
        ({"attack": [window(published=450)] * 4}, "fewer frames"),
        ({"missed": 1}, "missed"),
    ],
)
def test_every_effect_is_noticed(changes: dict[str, Any], problem: str) -> None:
    (found,) = siege(**changes).problems
    assert problem in found


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, True),
        ({"publish": 0}, False),
        ({"replay": 0}, False),
        ({"control": 1}, False),
        ({"raw_bytes": 900}, False),
    ],
)
def test_a_visit_is_right_when_it_got_what_it_should_and_no_more(
    changes: dict[str, Any], right: bool
) -> None:
    found = msgspec.structs.replace(
        Found(publish=70, replay=11, control=0, raw_bytes=64, session=""), **changes
    )
    assert Visit(who="a reader", reads=True, speaks=False, found=found).is_right is right
