"""Whether strangers can do anything to a live engine: garbage at its sockets, and other machines without keys."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import zmq
from rich.console import Console
from rich.progress import Progress

from scopeline import pedal
from scopeline.control import MarkRequest, StatusAnswer
from scopeline.errors import WireError
from scopeline.subscriber import Subscriber
from scopeline.wire import FrameMessage, SegmentMessage, StatusMessage
from scopeline_bench.clip import SMALL
from scopeline_bench.garbage import PLAIN_HANDSHAKE, Garbage
from scopeline_bench.live_engine import Addresses, LiveEngine, live_engine
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.report import Rows, describe, publish
from scopeline_bench.rooms import Visit, measure_visits
from scopeline_bench.stage import drawn_clip, progress_bar

_QUIET_S: Final = 20.0
_WARM_UP_S: Final = 10.0
_SETTLE_S: Final = 5.0
_PATIENCE_S: Final = 60.0
_BATCH: Final = 200
"""Messages on one connection; then a sensible request on the same one proves that all were read."""
_SHARES: Final = {"control": 0.6, "replay": 0.15, "publish": 0.15, "raw": 0.1}
_MOST_GROWTH_MB: Final = 8.0
_LEAST_RATE: Final = 0.95
_NICENESS: Final = 10
"""Of the strangers: on two cores they would take the engine's processor, which those on other machines do not."""
_HELD_OPEN: Final = 50
_PARTS: Final = 200_000


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of the engine over a while."""

    seconds: float
    published: int
    lost: int
    memory_before_mb: float
    memory_after_mb: float
    memory_mb: list[float] = []
    """After every tenth of the garbage."""

    @property
    def rate_hz(self) -> float:
        return self.published / self.seconds

    @property
    def growth_mb(self) -> float:
        return self.memory_after_mb - self.memory_before_mb


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One peer that sends without end on purpose, and what that costs while it stays and after it has gone."""

    name: str
    sent: int
    growth_mb: float
    left_mb: float
    rate_hz: float
    """Frames published per second meanwhile."""


class Siege(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured with garbage."""

    seed: int
    sent: dict[str, int]
    """By socket, in messages; raw ones are connections."""
    answered: dict[str, int]
    """By socket, errors that came back."""
    quiet: Window
    attack: Window
    marks_heard: int
    """Marks that the engine took; one was ours."""
    marks_published: list[str]
    segments: list[tuple[int, str | None]]
    """Number and location of every segment that was open during the attack."""
    refused: int
    works_after: dict[str, bool]
    """By socket, whether a sensible request was answered afterwards."""
    missed: int
    """Messages that our reader missed."""
    exit_code: int
    probes: list[Probe]

    @property
    def problems(self) -> list[str]:
        """What should not be; empty when all is well."""
        found = {
            "the engine did not end in order": self.exit_code != 130,
            "a mark was taken that nobody set": self.marks_heard != 1 or len(self.marks_published) != 2,
            "a segment changed": len(self.segments) != 1 or self.segments[0][1] != "rectum",
            "a message was not answered": any(
                self.answered[name] != self.sent[name] for name in ("control", "replay")
            ),
            "a socket was dead afterwards": not all(self.works_after.values()),
            "memory grew": self.attack.growth_mb - max(0.0, self.quiet.growth_mb) > _MOST_GROWTH_MB,
            "fewer frames came out": self.attack.rate_hz < _LEAST_RATE * self.quiet.rate_hz,
            "our reader missed messages": self.missed > 0,
        }
        return [name for name, is_so in found.items() if is_so]


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole bench."""

    siege: Siege
    visits: list[Visit]
    skipped: str | None
    """Why there are no visits."""


def main(*, messages: int, seed: int, out: Path | None) -> bool:
    """Measure, print, save; whether nobody did anything."""
    console, machine = Console(), this_machine()
    with progress_bar(console) as progress, tempfile.TemporaryDirectory() as folder:
        source = drawn_clip(replace(SMALL, frames=20_000), progress)
        siege = measure_siege(source, Path(folder), messages, seed, progress)
        visits, skipped = measure_visits(source, Path(folder), progress)
    findings = Findings(siege=siege, visits=visits, skipped=skipped)
    tables = [_siege_table(siege), _probe_table(siege)] + ([_visit_table(visits)] if visits else [])
    publish("fuzz", console, out, machine, tables, _notes(findings, machine), findings)
    return not siege.problems and all(visit.is_right for visit in visits)


def measure_siege(source: Path, folder: Path, messages: int, seed: int, progress: Progress) -> Siege:
    """One engine, one reader that keeps up, and strangers."""
    addresses, garbage = Addresses.on("127.0.0.1"), Garbage(seed)
    with live_engine(source, folder, addresses) as engine, reading(addresses.publish) as reader:
        ready(engine, reader)
        pedal.mark(addresses.control, MarkRequest(label="rectum"), timeout_s=_PATIENCE_S)
        time.sleep(_WARM_UP_S)
        quiet = _window(engine, reader, lambda: time.sleep(_QUIET_S))
        reader.segments.clear()
        sent: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        os.nice(_NICENESS)
        tenths: list[float] = []
        attack = _window(
            engine,
            reader,
            lambda: _attack(engine, garbage, messages, sent, answered, tenths, progress),
        )
        attack = msgspec.structs.replace(attack, memory_mb=tenths)
        segments = sorted(reader.segments)
        there = pedal.status(addresses.control, timeout_s=_PATIENCE_S)
        works = _works(addresses, there, reader)
        probes = [
            _probe(engine, reader, "subscriptions of one peer, all different", _subscribe_without_end),
            _probe(engine, reader, "the same by another peer", _subscribe_without_end),
            _probe(engine, reader, "parts of one message that does not end", _send_without_end),
            _probe(engine, reader, "the same by another peer", _send_without_end),
        ]
        code = engine.end()
    return Siege(
        seed=seed,
        sent=dict(sent),
        answered=dict(answered),
        quiet=quiet,
        attack=attack,
        marks_heard=there.marks,
        marks_published=reader.marks,
        segments=segments,
        refused=there.refused,
        works_after=works,
        missed=reader.missed,
        exit_code=code,
        probes=probes,
    )


class Reader:
    """A subscriber that keeps up, and what it saw. Filled by its own thread."""

    def __init__(self) -> None:
        self.published = 0
        self.lost = 0
        self.marks: list[str] = []
        self.segments: set[tuple[int, str | None]] = set()
        self.missed = 0
        self.leave = threading.Event()

    def work(self, address: str) -> None:
        with Subscriber(address) as subscriber:
            while not self.leave.is_set() and not subscriber.account.ended:
                message = subscriber.take(0.2)
                if isinstance(message, FrameMessage):
                    self.published, self.lost = message.ledger.published, sum(message.ledger.lost.values())
                    if message.segment is not None:
                        self.segments.add((message.segment.number, message.segment.location))
                elif isinstance(message, SegmentMessage):
                    self.segments.add((message.number, message.location))
                elif isinstance(message, StatusMessage) and message.event == "mark":
                    self.marks.append(message.text)
            self.missed = subscriber.account.missed


@contextmanager
def reading(address: str) -> Iterator[Reader]:
    """A reader at work."""
    reader = Reader()
    thread = threading.Thread(target=reader.work, args=(address,))
    thread.start()
    try:
        yield reader
    finally:
        reader.leave.set()
        thread.join()


def ready(engine: LiveEngine, reader: Reader) -> None:
    """Wait until the engine answers and frames come.

    Raises:
        WireError: it ended, or took too long; with what it said.
    """
    end_s = time.monotonic() + _PATIENCE_S
    while engine.is_running and time.monotonic() < end_s:
        with suppress(WireError):
            pedal.status(engine.addresses.control, timeout_s=0.5)
            if reader.published:
                return
    raise WireError(f"the engine did not begin: {engine.said[-2000:]}")


def _window(engine: LiveEngine, reader: Reader, work: Callable[[], object]) -> Window:
    memory_mb, published, lost, start_s = engine.memory_mb, reader.published, reader.lost, time.monotonic()
    work()
    seconds = time.monotonic() - start_s
    published, lost = reader.published - published, reader.lost - lost
    time.sleep(_SETTLE_S)
    return Window(
        seconds=round(seconds, 2),
        published=published,
        lost=lost,
        memory_before_mb=round(memory_mb, 1),
        memory_after_mb=round(engine.memory_mb, 1),
    )


def _attack(
    engine: LiveEngine,
    garbage: Garbage,
    messages: int,
    sent: Counter[str],
    answered: Counter[str],
    tenths: list[float],
    progress: Progress,
) -> None:
    """Batches at all sockets in turns until every socket had its share."""
    addresses = engine.addresses
    task = progress.add_task("garbage", total=messages)
    left = {name: round(messages * share) for name, share in _SHARES.items()}
    held: list[socket.socket] = []
    with zmq.Context() as context:
        while any(left.values()):
            for name, count in left.items():
                batch = min(count, _BATCH)
                if not batch:
                    continue
                if name == "control":
                    answered[name] += _besiege_control(context, addresses.control, garbage, batch)
                elif name == "replay":
                    answered[name] += _besiege_replay(context, addresses.replay, garbage, batch)
                elif name == "publish":
                    _besiege_publish(context, addresses.publish, garbage, batch)
                else:
                    _besiege_raw(addresses, garbage, batch, held)
                left[name] -= batch
                sent[name] += batch
                progress.advance(task, batch)
            if sent.total() * 10 >= messages * (len(tenths) + 1):
                tenths.append(round(engine.memory_mb, 1))
    for each in held:
        each.close()
    progress.remove_task(task)


def _besiege_control(
    context: zmq.Context[zmq.Socket[bytes]], address: str, garbage: Garbage, batch: int
) -> int:
    """Send a batch; returns how many errors came back before the answer to the sensible question behind it."""
    with context.socket(zmq.DEALER) as peer:
        peer.linger = 1000
        peer.rcvtimeo = round(_PATIENCE_S * 1000)
        peer.connect(address)
        errors = 0
        for _ in range(batch):
            peer.send_multipart(garbage.request())
        peer.send(b'{"do": "status"}')
        while not json.loads(peer.recv_multipart()[-1])["ok"]:
            errors += 1
        peer.send(garbage.too_long())
        return errors


def _besiege_replay(
    context: zmq.Context[zmq.Socket[bytes]], address: str, garbage: Garbage, batch: int
) -> int:
    with context.socket(zmq.DEALER) as peer:
        peer.linger = 1000
        peer.rcvtimeo = round(_PATIENCE_S * 1000)
        peer.connect(address)
        for _ in range(batch):
            peer.send_multipart(garbage.replay_request())
        answers = 0
        while answers < batch:
            answers += peer.recv_multipart()[-2] in (b"error", b"end")
        peer.send(garbage.too_long())
        return answers


def _besiege_publish(
    context: zmq.Context[zmq.Socket[bytes]], address: str, garbage: Garbage, batch: int
) -> None:
    with context.socket(zmq.XSUB) as peer:
        peer.linger = 1000
        peer.rcvtimeo = round(_PATIENCE_S * 1000)
        peer.connect(address)
        for _ in range(batch):
            peer.send_multipart(garbage.subscription())
        peer.send(b"\1frame")
        while peer.recv_multipart()[0] != b"frame":
            pass
        peer.send(b"\2" + garbage.too_long())


def _besiege_raw(addresses: Addresses, garbage: Garbage, batch: int, held: list[socket.socket]) -> None:
    places = [addresses.publish, addresses.control, addresses.replay]
    for number in range(batch):
        raw = _plain_connection(places[number % 3])
        with suppress(OSError):  # cut off while it spoke
            raw.sendall(garbage.raw())
        held.append(raw)
        if len(held) > _HELD_OPEN:
            held.pop(0).close()


def _works(addresses: Addresses, there: StatusAnswer, reader: Reader) -> dict[str, bool]:
    """Whether each socket still does what it is for."""
    marks = len(reader.marks)
    pedal.mark(addresses.control, MarkRequest(kind="freeze"), timeout_s=_PATIENCE_S)
    request = {"session": there.session, "topic": "frame", "from_seq": 0, "to_seq": 9}
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.linger = 0
        peer.rcvtimeo = round(_PATIENCE_S * 1000)
        peer.connect(addresses.replay)
        peer.send(json.dumps(request).encode())
        topics = [peer.recv_multipart()[-2] for _ in range(11)]
    with Subscriber(addresses.publish) as late:
        frame = late.take(_PATIENCE_S)
    end_s = time.monotonic() + _PATIENCE_S
    while len(reader.marks) == marks and time.monotonic() < end_s:
        time.sleep(0.05)
    return {
        "control": len(reader.marks) == marks + 1,
        "replay": topics == [b"frame"] * 10 + [b"end"],
        "publish": frame is not None,
    }


def _probe(
    engine: LiveEngine, reader: Reader, name: str, flood: Callable[[Addresses], Iterator[int]]
) -> Probe:
    memory_mb, published, start_s = engine.memory_mb, reader.published, time.monotonic()
    for sent in flood(engine.addresses):  # noqa: B007
        most_mb = engine.memory_mb
    seconds = time.monotonic() - start_s
    rate_hz = (reader.published - published) / seconds
    time.sleep(_SETTLE_S)
    return Probe(
        name=name,
        sent=sent,
        growth_mb=round(most_mb - memory_mb, 1),
        left_mb=round(engine.memory_mb - memory_mb, 1),
        rate_hz=round(rate_hz, 1),
    )


def _subscribe_without_end(addresses: Addresses) -> Iterator[int]:
    with zmq.Context() as context, context.socket(zmq.XSUB) as peer:
        peer.linger = 0
        peer.connect(addresses.publish)
        for number in range(_PARTS):
            peer.send(b"\1%d" % number)
        peer.send(b"\1frame")
        peer.poll(round(_PATIENCE_S * 1000))
        yield _PARTS


def _send_without_end(addresses: Addresses) -> Iterator[int]:
    """By hand: a ZeroMQ client keeps a message back until its last part is there."""
    with _plain_connection(addresses.control) as raw:
        raw.sendall(PLAIN_HANDSHAKE)
        raw.sendall((b"\1\x14" + b"x" * 20) * _PARTS)
        time.sleep(_SETTLE_S)
        yield _PARTS


def _plain_connection(address: str) -> socket.socket:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=_PATIENCE_S)


def _siege_table(siege: Siege) -> Rows:
    def row(name: str, window: Window) -> tuple[str, ...]:
        return (
            name,
            f"{window.seconds:.0f}",
            f"{window.rate_hz:.2f}",
            str(window.lost),
            f"{window.memory_before_mb:.1f}",
            f"{window.memory_after_mb:.1f}",
        )

    return Rows(
        title="an engine left alone and under garbage",
        columns=("", "seconds", "frames/s", "given up", "MB before", "MB after"),
        rows=(row("alone", siege.quiet), row("garbage", siege.attack)),
    )


def _probe_table(siege: Siege) -> Rows:
    return Rows(
        title="one peer that sends without end",
        columns=("what", "sent", "MB while there", "MB after", "frames/s"),
        rows=tuple(
            (
                each.name,
                f"{each.sent:,}",
                f"{each.growth_mb:+.1f}",
                f"{each.left_mb:+.1f}",
                f"{each.rate_hz:.1f}",
            )
            for each in siege.probes
        ),
    )


def _visit_table(visits: list[Visit]) -> Rows:
    return Rows(
        title="from another network namespace, messages received in 3 s",
        columns=("who", "publish", "replay", "control", "bytes without ZeroMQ", "as it should be"),
        rows=tuple(
            (
                visit.who,
                str(visit.found.publish),
                str(visit.found.replay),
                str(visit.found.control),
                str(visit.found.raw_bytes),
                "yes" if visit.is_right else "NO",
            )
            for visit in visits
        ),
    )


def _notes(findings: Findings, machine: Machine) -> list[str]:
    siege = findings.siege
    total = sum(siege.sent.values())
    counts = ", ".join(f"{count:,} {name}" for name, count in siege.sent.items())
    return [
        f"{total:,} messages (seed {siege.seed}): {counts}; {siege.refused:,} refused and counted by control.",
        "no effect, no crash, memory flat"
        if not siege.problems
        else f"PROBLEMS: {'; '.join(siege.problems)}",
        f"memory after every tenth: {', '.join(f'{each:.0f}' for each in siege.attack.memory_mb)} MB",
        findings.skipped or _verdict(findings.visits),
        describe(machine, load()),
    ]


def _verdict(visits: list[Visit]) -> str:
    if all(visit.is_right for visit in visits):
        return "without an allowed key nothing came through a non-loopback address"
    return "SOMEBODY GOT WHAT THEY SHOULD NOT, OR DID NOT GET WHAT THEY SHOULD"
