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
from contextlib import ExitStack, contextmanager, suppress
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

_QUIET_S: Final = 8.0
_TURNS: Final = 10
"""How often garbage and quiet take turns: what else the machine does then disturbs both alike."""
_WARM_UP_S: Final = 10.0
_SETTLE_S: Final = 5.0
_PATIENCE_S: Final = 60.0
_BATCH: Final = 200
"""Messages on one connection; then a sensible request on the same one proves that all were read."""
_SHARES: Final = {"control": 0.6, "replay": 0.15, "publish": 0.15, "raw": 0.1}
_MOST_GROWTH_MB: Final = 2.0
"""In the second half of the garbage: 40 bytes per message. At first libzmq and the allocator take buffers for so many
connections at once, which they keep and use again."""
_LEAST_RATE: Final = 0.95
_NICENESS: Final = 10
"""Of the strangers: on two cores they would take the engine's processor, which those on other machines do not."""
_PARTS: Final = 200_000


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of the engine over a while, and what it took."""

    seconds: float
    published: int
    lost: int
    processor_s: float
    memory_mb: float
    """Resident, at the end."""


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """Windows of one kind together."""

    seconds: float
    rate_hz: float
    """Frames published per second."""
    lost: int
    processor: float
    """Cores that the engine kept busy."""
    memory_mb: list[float]


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
    memory_before_mb: float
    quiet: list[Window]
    attack: list[Window]
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
    def late_growth_mb(self) -> float:
        """What memory grew by in the second half of the garbage."""
        return self.attack[-1].memory_mb - self.attack[len(self.attack) // 2 - 1].memory_mb

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
            "memory grew": self.late_growth_mb > _MOST_GROWTH_MB,
            "fewer frames came out": total(self.attack).rate_hz < _LEAST_RATE * total(self.quiet).rate_hz,
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
        os.nice(_NICENESS)
        memory_mb = engine.memory_mb
        reader.segments.clear()
        sent: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        quiet: list[Window] = []
        attack: list[Window] = []
        task = progress.add_task("garbage, and quiet between", total=_TURNS)
        share = messages // _TURNS
        for _ in range(_TURNS):
            quiet.append(_window(engine, reader, lambda: time.sleep(_QUIET_S)))
            attack.append(_window(engine, reader, lambda: _attack(addresses, garbage, share, sent, answered)))
            progress.advance(task)
        progress.remove_task(task)
        segments = sorted(reader.segments)
        probes = [
            _probe(engine, reader, "subscriptions of one peer, all different", _subscribe_without_end),
            _probe(engine, reader, "the same by another peer", _subscribe_without_end),
            _probe(engine, reader, "parts of one message that does not end", _send_without_end),
            _probe(engine, reader, "the same by another peer", _send_without_end),
        ]
        there = pedal.status(addresses.control, timeout_s=_PATIENCE_S)
        works = _works(addresses, there, reader)
        code = engine.end()
    return Siege(
        seed=seed,
        sent=dict(sent),
        answered=dict(answered),
        memory_before_mb=round(memory_mb, 1),
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
    published, lost, spent_s, start_s = reader.published, reader.lost, engine.processor_s, time.monotonic()
    work()
    return Window(
        seconds=round(time.monotonic() - start_s, 2),
        published=reader.published - published,
        lost=reader.lost - lost,
        processor_s=round(engine.processor_s - spent_s, 2),
        memory_mb=round(engine.memory_mb, 1),
    )


def total(windows: list[Window]) -> Total:
    """The windows as one."""
    seconds = sum(window.seconds for window in windows)
    return Total(
        seconds=seconds,
        rate_hz=sum(window.published for window in windows) / seconds,
        lost=sum(window.lost for window in windows),
        processor=sum(window.processor_s for window in windows) / seconds,
        memory_mb=[window.memory_mb for window in windows],
    )


def _attack(
    addresses: Addresses, garbage: Garbage, messages: int, sent: Counter[str], answered: Counter[str]
) -> None:
    """Batches at all sockets in turns until every socket had its share."""
    left = {name: round(messages * share) for name, share in _SHARES.items()}
    with zmq.Context() as context, ExitStack() as held:
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


@contextmanager
def _connected(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, address: str
) -> Iterator[zmq.Socket[bytes]]:
    """A peer that waits for answers, but not for ever."""
    with context.socket(kind) as peer:
        peer.linger = 1000
        peer.rcvtimeo = round(_PATIENCE_S * 1000)
        peer.connect(address)
        yield peer


def _besiege_control(
    context: zmq.Context[zmq.Socket[bytes]], address: str, garbage: Garbage, batch: int
) -> int:
    """Send a batch; returns how many errors came back before the answer to the sensible question behind it."""
    with _connected(context, zmq.DEALER, address) as peer:
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
    with _connected(context, zmq.DEALER, address) as peer:
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
    with _connected(context, zmq.XSUB, address) as peer:
        for _ in range(batch):
            peer.send_multipart(garbage.subscription())
        peer.send(b"\1frame")
        while peer.recv_multipart()[0] != b"frame":
            pass
        peer.send(b"\2" + garbage.too_long())


def _besiege_raw(addresses: Addresses, garbage: Garbage, batch: int, held: ExitStack) -> None:
    """Connections of their own; one in ten stays open until the end of the turn."""
    places = [addresses.publish, addresses.control, addresses.replay]
    for number in range(batch):
        raw = _plain_connection(places[number % 3])
        with suppress(OSError):  # cut off while it spoke
            raw.sendall(garbage.raw())
        if number % 10:
            raw.close()
        else:
            held.callback(raw.close)


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
        heard = sent = 0
        while heard < len(
            PLAIN_HANDSHAKE
        ):  # messages that come before the handshake is over end the connection
            heard += len(raw.recv(4096))
        with suppress(OSError):  # cut off
            while sent < _PARTS:
                raw.sendall((b"\1\x14" + b"x" * 20) * _BATCH)
                sent += _BATCH
        time.sleep(_SETTLE_S)
        yield sent


def _plain_connection(address: str) -> socket.socket:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=_PATIENCE_S)


def _siege_table(siege: Siege) -> Rows:
    def row(name: str, all_of: Total) -> tuple[str, ...]:
        memory = f"{min(all_of.memory_mb):.1f}-{max(all_of.memory_mb):.1f}"
        return (
            name,
            f"{all_of.seconds:.0f}",
            f"{all_of.rate_hz:.2f}",
            str(all_of.lost),
            f"{all_of.processor:.2f}",
            memory,
        )

    return Rows(
        title="an engine left alone and under garbage, taking turns",
        columns=("", "seconds", "frames/s", "given up", "cores busy", "MB"),
        rows=(row("alone", total(siege.quiet)), row("garbage", total(siege.attack))),
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
        f"memory {siege.memory_before_mb:.0f} MB before, after every tenth of the garbage "
        f"{', '.join(f'{each.memory_mb:.0f}' for each in siege.attack)} MB",
        findings.skipped or _verdict(findings.visits),
        describe(machine, load()),
    ]


def _verdict(visits: list[Visit]) -> str:
    if all(visit.is_right for visit in visits):
        return "without an allowed key nothing came through a non-loopback address"
    return "SOMEBODY GOT WHAT THEY SHOULD NOT, OR DID NOT GET WHAT THEY SHOULD"
