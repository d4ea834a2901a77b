"""Whether a subscriber that sleeps slows the engine, costs others messages, or goes unnoticed."""

from __future__ import annotations

import socket
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from scopeline.assemble import assemble
from scopeline.sinks.zeromq import ZmqSink
from scopeline.sources.media import MediaSource
from scopeline.subscriber import Subscriber
from scopeline.wire import FrameMessage, LedgerReport
from scopeline_bench.clip import SMALL
from scopeline_bench.contenders import Job, pipeline
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.own_process import beside, measured
from scopeline_bench.report import Rows, describe, publish, spread
from scopeline_bench.stage import bundle_folder, drawn_clip, progress_bar

_AWAKE_S = 4.0
"""A live run lasts this much longer than the sleep: half before, half after."""
_PATIENCE_S = 60.0
_FEW = 100
"""High-water mark of the run in which the sleeper is meant to lose messages."""

READER, SLEEPER = "reader", "sleeper"


class Nap(msgspec.Struct, frozen=True, kw_only=True):
    """When a subscriber sleeps."""

    after_frames: int
    seconds: float


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A subscriber's own account of the topic `frame`, when the session had ended."""

    received: int
    missed: int
    before_joining: int
    ended: bool
    """It heard the end of the session; without it the account is open."""
    oldest_ms: float
    """Greatest age of a frame's result when it was read."""


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the engine and what its subscribers say of it."""

    live: bool
    slept: bool
    latency_ms: dict[str, float]
    """Capture to publish: p50, p95, p99, max."""
    ledger: LedgerReport
    heard: dict[str, Heard]

    @property
    def sent(self) -> int:
        """Frame messages: one for every frame that was not lost before."""
        return self.ledger.published

    def adds_up(self, name: str) -> bool:
        """Whether a subscriber's account is complete: it knows of every message that was sent."""
        heard = self.heard[name]
        return heard.ended and heard.before_joining + heard.received + heard.missed == self.sent

    @property
    def is_right(self) -> bool:
        """Who kept up has everything; who slept knows what it has not."""
        awake = [heard for name, heard in self.heard.items() if not (self.slept and name == SLEEPER)]
        return all(map(self.adds_up, self.heard)) and not any(
            each.missed + each.before_joining for each in awake
        )


class Runs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured."""

    sleep_s: float
    live: list[Ran]
    counted: Ran
    """A recording at full speed, to a reader that keeps up and to a sleeper with little room."""


def main(bundle: str, *, sleep_s: float, rounds: int, messages: int, out: Path | None) -> bool:
    """Measure, print, save; whether every account was right."""
    console, machine = Console(), this_machine()
    with progress_bar(console) as progress:
        runs = measure_runs(bundle_folder(bundle), sleep_s, rounds, messages, progress)
    tables = [_latency_table(runs), _account_table(runs)]
    publish("sleeper", console, out, machine, tables, _notes(runs, machine), runs)
    return runs.counted.is_right and all(ran.is_right for ran in runs.live)


def measure_runs(bundle: Path, sleep_s: float, rounds: int, messages: int, progress: Progress) -> Runs:
    """Live rounds with and without the sleeper, taking turns; then one recording at full speed."""
    live_clip = drawn_clip(replace(SMALL, frames=round((sleep_s + _AWAKE_S) * SMALL.fps)), progress)
    long_clip = drawn_clip(replace(SMALL, frames=messages), progress)
    task = progress.add_task("live, and a recording", total=2 * rounds + 1)
    live: list[Ran] = []
    for turn in range(2 * rounds):
        nap = Nap(after_frames=round(_AWAKE_S / 2 * SMALL.fps), seconds=sleep_s if turn % 2 else 0)
        live.append(run_with_subscribers(live_clip, bundle, _free_address(), nap, live=True))
        progress.advance(task)
    with tempfile.TemporaryDirectory() as folder:
        # A local socket holds 0.2 MB by itself; over TCP the kernel's own 4 MB would hide most of the loss.
        nap = Nap(after_frames=messages // 10, seconds=sleep_s)
        address = f"ipc://{folder}/bus"
        counted = run_with_subscribers(long_clip, bundle, address, nap, live=False, sleeper_room=_FEW)
    progress.advance(task)
    return Runs(sleep_s=sleep_s, live=live, counted=counted)


def run_with_subscribers(
    clip: Path, bundle: Path, address: str, nap: Nap, *, live: bool, sleeper_room: int | None = None
) -> Ran:
    """One run of the engine with a reader and a sleeper, three processes.

    Args:
        nap: The sleeper's; of no seconds for a sleeper that stays awake.
        sleeper_room: High-water mark of the sleeper's connection; the usual one if None.
    """
    with ExitStack() as stack:
        accounts = {
            READER: stack.enter_context(beside(listen, address)),
            SLEEPER: stack.enter_context(beside(listen, address, nap, room=sleeper_room)),
        }
        latency_ms, ledger = measured(run_engine, clip, bundle, address, live=live, room=sleeper_room)
        heard = {name: account.result() for name, account in accounts.items()}
    return Ran(live=live, slept=nap.seconds > 0, latency_ms=latency_ms, ledger=ledger, heard=heard)


def run_engine(
    clip: Path, bundle: Path, address: str, *, live: bool, room: int | None
) -> tuple[dict[str, float], LedgerReport]:
    """The engine as a user runs it; its first frame waits for both subscribers."""

    def make_sink() -> ZmqSink:
        sink = ZmqSink(address) if room is None else ZmqSink(address, high_water_mark=room)
        sink.wait_for_subscriber(_PATIENCE_S, count=2)
        return sink

    job = Job(clip=str(clip), bundle=str(bundle), box=(0, 0, 1, 1))
    engine = assemble(pipeline(job), MediaSource(clip, live=live, threads=1), [make_sink], live=live)
    report = engine.run()
    return report.latency_ms, report.ledger


def listen(address: str, nap: Nap | None = None, *, room: int | None = None) -> Heard:
    """Read until the session ends, sleeping once on the way."""
    oldest_ms, frames = 0.0, 0
    reader = Subscriber(address) if room is None else Subscriber(address, high_water_mark=room)
    with reader:
        while not reader.account.ended and (message := reader.take(_PATIENCE_S)) is not None:
            if isinstance(message, FrameMessage):
                oldest_ms = max(oldest_ms, (time.monotonic_ns() - message.captured_ns) / 1e6)
                frames += 1
                if nap is not None and frames == nap.after_frames:
                    time.sleep(nap.seconds)
        tally = reader.account.topics["frame"]
        return Heard(
            received=tally.received,
            missed=tally.missed,
            before_joining=tally.before_joining,
            ended=reader.account.ended,
            oldest_ms=round(oldest_ms, 1),
        )


def _latency_table(runs: Runs) -> Rows:
    rows = []
    for slept, name in ((False, "both subscribers awake"), (True, f"one sleeps {runs.sleep_s:g} s")):
        chosen = [ran for ran in runs.live if ran.slept == slept]
        figures = [str(spread([ran.latency_ms[share] for ran in chosen])) for share in ("p50", "p99", "max")]
        late = sum(ran.ledger.lost.get("late", 0) for ran in chosen)
        captured = sum(ran.ledger.captured for ran in chosen)
        rows.append((name, *figures, f"{late} of {captured}"))
    return Rows(
        title="live: capture to publish, ms, median of the rounds (lowest-highest)",
        columns=("subscribers", "p50", "p99", "max", "frames given up"),
        rows=tuple(rows),
    )


def _account_table(runs: Runs) -> Rows:
    rows = []
    for ran in [*runs.live, runs.counted]:
        for name, heard in ran.heard.items():
            kind = "live" if ran.live else "recording"
            asleep = f"{name}, slept" if ran.slept and name == SLEEPER else name
            answer = "yes" if ran.adds_up(name) else "NO"
            rows.append(
                (
                    kind,
                    asleep,
                    *map(str, (ran.sent, heard.received, heard.missed)),
                    answer,
                    f"{heard.oldest_ms:.0f}",
                )
            )
    return Rows(
        title="frame messages, as each subscriber counts them",
        columns=("run", "subscriber", "sent", "received", "missed", "account complete", "oldest read, ms"),
        rows=tuple(rows),
    )


def _notes(runs: Runs, machine: Machine) -> list[str]:
    right = all(ran.is_right for ran in [*runs.live, runs.counted])
    return [
        "every account is complete and nobody who kept up missed a message"
        if right
        else "AN ACCOUNT IS WRONG",
        f"In the recording the sleeper had room for {_FEW} messages and lost {runs.counted.heard[SLEEPER].missed}.",
        describe(machine, load()),
    ]


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"
