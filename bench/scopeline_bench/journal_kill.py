"""Whether a journal holds what every subscriber had when the engine was killed, and gives back what one missed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import zmq
from rich.console import Console
from rich.progress import Progress

from scopeline.crew import Crew
from scopeline.desk import Desk
from scopeline.healer import Healer
from scopeline.journal import Journal
from scopeline.journal_files import session_folders
from scopeline.journal_reader import JournalReader
from scopeline.replay import Replayer
from scopeline.subscriber import Subscriber
from scopeline.wire import TOPICS, Encoder
from scopeline_bench.clip import ClipPlan
from scopeline_bench.doomed_engine import Order, bus, journals, replay
from scopeline_bench.lossy_relay import LossyRelay
from scopeline_bench.machine import load, this_machine
from scopeline_bench.received import Received
from scopeline_bench.report import Rows, describe, publish, spread
from scopeline_bench.stage import bundle_folder, drawn_clip, progress_bar

CLIP = ClipPlan(640, 480, 200, 8_000, 2.5, screen="sd-octagon")
"""200 frames/s for 40 s."""
_LATEST_S = 3.0
"""Kills come so long after the first frame at most."""
_PATIENCE_S = 60.0


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """One engine that was killed, and what was found afterwards."""

    after_s: float
    """From the first frame to SIGKILL."""
    received: int
    """Messages that a subscriber had, of all topics."""
    absent: int
    """Of these, not in the journal, or with other bytes."""
    in_journal: int
    files: int
    torn_bytes: int
    faults: int
    lost: int
    """Messages that were planted to be lost on the way to a second subscriber."""
    healed: int
    """Of these, got again by that subscriber while the engine lived."""
    wrongly_healed: int
    """Got again, and not lost or not the same bytes; and what came twice or out of order."""
    answered: int
    """Of the lost ones, all asked for after the kill: got with the same bytes."""
    answered_wrongly: int
    """Got and not asked for, or with other bytes."""

    @property
    def is_right(self) -> bool:
        wrong = self.absent + self.faults + self.wrongly_healed + self.answered_wrongly
        return wrong == 0 and self.answered == self.lost and self.received > 0


def main(bundle: str, *, kills: int, seed: int, out: Path | None) -> bool:
    """Measure, print, save; whether nothing was absent and every answer was right."""
    console, machine = Console(), this_machine()
    with progress_bar(console) as progress:
        killed = kill_engines(bundle_folder(bundle), kills, seed, progress)
    notes = [_verdict(killed), describe(machine, load())]
    publish("journal", console, out, machine, [_table(killed)], notes, killed)
    return all(each.is_right for each in killed)


def kill_engines(bundle: Path, kills: int, seed: int, progress: Progress) -> list[Killed]:
    clip, chance = drawn_clip(CLIP, progress), random.Random(seed)
    task = progress.add_task("killing engines", total=kills)
    killed = []
    for number in range(kills):
        with tempfile.TemporaryDirectory() as folder:
            after_s = chance.uniform(0, _LATEST_S)
            killed.append(kill_one(clip, bundle, Path(folder), after_s, seed=seed + number))
        progress.advance(task)
    return killed


def kill_one(clip: Path, bundle: Path, folder: Path, after_s: float, *, seed: int) -> Killed:
    """Start an engine, read it directly and through a lossy line, kill it, and look at what is left."""
    downstream = f"ipc://{folder}/relay"
    relay = LossyRelay(bus(folder), downstream, seed)
    order = msgspec.json.encode(Order(clip=str(clip), bundle=str(bundle.resolve()), folder=str(folder)))
    command = [sys.executable, "-m", "scopeline_bench.doomed_engine", order.decode()]
    with Subscriber(downstream) as subscriber, Crew(on_failure=relay.sender_died) as crew:
        crew.start("relay", relay.work)
        with subprocess.Popen(command) as process:
            try:
                got, disorder = _read_until(subscriber, relay.first, after_s)
            finally:
                process.send_signal(signal.SIGKILL)
        relay.sender_died()
        disorder += _read_rest(subscriber, got)
        healed = subscriber.account.healed
    return _look(folder, after_s, relay, got, healed, disorder)


def _read_until(subscriber: Subscriber, first: threading.Event, after_s: float) -> tuple[Received, int]:
    got, disorder, give_up_s = Received(), 0, time.monotonic() + _PATIENCE_S
    end_s: float | None = None
    while end_s is None or time.monotonic() < end_s:
        if end_s is None and first.is_set():
            end_s = time.monotonic() + after_s
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"the engine published no frame within {_PATIENCE_S:g} s")
        disorder += _take(subscriber, got, 0.002)
    return got, disorder


def _read_rest(subscriber: Subscriber, got: Received) -> int:
    """What is still in the sockets; what is asked for now nobody answers."""
    disorder, quiet_from_s = 0, time.monotonic()
    while time.monotonic() < quiet_from_s + 3.0:
        before = len(got)
        disorder += _take(subscriber, got, 0.2)
        if len(got) > before:
            quiet_from_s = time.monotonic()
    return disorder


def _take(subscriber: Subscriber, got: Received, timeout_s: float) -> int:
    """Take one message; 1 when it is not newer than all of its topic."""
    message = subscriber.take(timeout_s)
    if message is None:
        return 0
    topic, payload = Encoder().encode(message)
    newest = max((seq for name, seq in got.payloads if name == topic.decode()), default=-1)
    got.add(topic, payload)
    return int(message.seq <= newest)


def _look(
    folder: Path, after_s: float, relay: LossyRelay, got: Received, healed: int, disorder: int
) -> Killed:
    (session,) = session_folders(journals(folder))
    reader, kept = JournalReader(session.path), Received()
    verdict = reader.verify()
    for record in reader.records():
        if record.kind.decode() in TOPICS:
            kept.add(record.kind, record.payload)
    answered = ask_again(folder, relay.lost)
    lost_and_got = len(relay.lost) - len(relay.lost.without(got))
    return Killed(
        after_s=round(after_s, 3),
        received=len(relay.received),
        absent=relay.received.not_in(kept),
        in_journal=len(kept),
        files=len(session.files),
        torn_bytes=verdict.torn_bytes,
        faults=verdict.faults_found,
        lost=len(relay.lost),
        healed=lost_and_got,
        wrongly_healed=abs(healed - lost_and_got) + got.not_in(relay.received) + got.twice + disorder,
        answered=len(relay.lost) - relay.lost.not_in(answered),
        answered_wrongly=answered.not_in(relay.lost) + answered.twice,
    )


def ask_again(folder: Path, missing: Received) -> Received:
    """Ask for messages of the dead engine's session, as a subscriber asks an engine that was started again."""
    got = Received()
    with _replaying(folder) as (context, address):
        healer = Healer(context)
        healer.begin(address, missing.session, list(missing.stretches()))
        while healer.busy:
            page = healer.take(_PATIENCE_S)
            for payload in page.payloads if page else ():
                got.add(page.gap.topic.encode() if page else b"", payload)
        healer.close()
    return got


@contextmanager
def _replaying(folder: Path) -> Iterator[tuple[zmq.Context[zmq.Socket[bytes]], str]]:
    """The replay socket of an engine that has the same folder of journals."""
    journal = Journal(journals(folder), version="bench")
    with (
        zmq.Context() as context,
        Desk(context, replay=(replay(folder), Replayer(journal))) as desk,
        Crew(on_failure=desk.stop) as crew,
    ):
        crew.start("desk", desk.work)
        try:
            yield context, desk.replay_address or ""
        finally:
            desk.stop()


def _table(killed: list[Killed]) -> Rows:
    def total(name: str) -> str:
        return str(sum(getattr(each, name) for each in killed))

    rows = (
        ("engines killed", str(len(killed))),
        ("time from first frame to kill, s", str(spread([each.after_s for each in killed]))),
        ("journals that opened", str(len(killed))),
        ("of these whole up to the last complete record", str(sum(each.faults == 0 for each in killed))),
        ("of these with a torn last record", str(sum(each.torn_bytes > 0 for each in killed))),
        ("messages that a subscriber had", total("received")),
        ("of these not in the journal", total("absent")),
        ("messages in the journals", total("in_journal")),
        ("lost on the way to a second subscriber, as planted", total("lost")),
        ("healed while the engine lived", total("healed")),
        ("healed wrongly, twice or out of order", total("wrongly_healed")),
        ("all asked for after the kill, and answered with the same bytes", total("answered")),
        ("answered and not lost, or with other bytes", total("answered_wrongly")),
    )
    return Rows(title="kill -9 at random moments", columns=("", "all runs"), rows=rows)


def _verdict(killed: list[Killed]) -> str:
    wrong = [number for number, each in enumerate(killed) if not each.is_right]
    if wrong:
        return f"WRONG in runs {wrong}"
    return "every journal opened, no received message is absent, replay gave exactly what was missing"
