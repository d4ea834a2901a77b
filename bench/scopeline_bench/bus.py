"""`scopeline bench bus`: what is between a publisher and its subscribers, ours beside plain PUB/SUB and imagezmq."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from rich.console import Console

from scopeline.errors import SourceError
from scopeline.wire import STALE_AFTER_NS
from scopeline_bench.bus_ends import RATE_HZ, SLOWER, Heard, Kind, hear, throughput
from scopeline_bench.chart import Axis, Curve, Mark, above, line_chart
from scopeline_bench.journeys import Times, times
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.own_process import beside
from scopeline_bench.peers import python_of, version_of
from scopeline_bench.report import Rows, describe, publish
from scopeline_bench.stage import progress_bar

NAMES: Final[dict[Kind, str]] = {
    "latest": "Scopeline, Subscriber.take_newest",
    "ordered": "Scopeline, every message in order",
    "plain": "plain PUB/SUB, JSON",
    "imagezmq": "imagezmq PUB/SUB, 640x480 pictures",
}


class BusRun(msgspec.Struct, frozen=True, kw_only=True):
    """One publisher and one subscriber."""

    kind: Kind
    keeps_up_ms: Times
    """Published to received, by a subscriber that keeps up."""
    missed: int
    """Messages that it did not get."""
    slow: list[tuple[float, float]]
    """Second and age in ms of what the slow subscriber was given."""
    skipped: int
    """Frames that the slow one passed over knowingly."""
    messages_s: float | None
    """Received per second, sent as fast as it goes."""

    @property
    def oldest_ms(self) -> float:
        return max((age for _, age in self.slow), default=0.0)


def main(*, seconds: float, picture: Path | None, environments: Path | None, out: Path | None) -> bool:
    """Measure, print, save; whether who kept up missed nothing and who asks for the newest saw nothing stale."""
    console, machine, runs = Console(), this_machine(), []
    python = python_of(environments, "imagezmq")
    kinds: list[Kind] = ["latest", "ordered", "plain", *(["imagezmq"] if python else [])]  # type: ignore[list-item]
    with progress_bar(console) as progress:
        task = progress.add_task("buses", total=len(kinds))
        for kind in kinds:
            progress.update(task, description=NAMES[kind])
            runs.append(measure_bus(kind, seconds, python))
            progress.advance(task)
    version = version_of(python, "imagezmq") if python else None
    publish(
        "bus",
        console,
        out,
        machine,
        [bus_table(runs)],
        _notes(runs, seconds, version, machine),
        {"runs": runs},
    )
    if picture is not None:
        picture.write_text(age_chart(runs), encoding="utf-8")
        console.print(f"wrote {picture}")
    ours = {run.kind: run for run in runs}
    is_fresh = ours["latest"].oldest_ms * 1e6 <= STALE_AFTER_NS
    return is_fresh and not ours["latest"].missed and not ours["ordered"].missed


def measure_bus(kind: Kind, seconds: float, python: Path | None) -> BusRun:
    """A subscriber that keeps up, one that is too slow, and one to whom all is sent at once, one after the other."""
    fast = _heard(kind, seconds / 2, python, pause_s=0.0)
    slow = _heard(kind, seconds, python, pause_s=SLOWER / RATE_HZ)
    return BusRun(
        kind=kind,
        keeps_up_ms=times(fast.age_ms),
        missed=fast.missed,
        slow=list(zip(slow.at_s.tolist(), slow.age_ms.round(2).tolist(), strict=True)),
        skipped=slow.skipped,
        messages_s=None if kind == "imagezmq" else throughput(kind),
    )


def _heard(kind: Kind, seconds: float, python: Path | None, *, pause_s: float) -> Heard:
    with tempfile.TemporaryDirectory(prefix="scopeline-") as folder:
        address = f"ipc://{folder}/bus"
        if kind != "imagezmq":
            with beside(hear, kind, address, seconds, pause_s) as account:
                _publisher([sys.executable, "-m", "scopeline_bench.bus_ends", kind, address, str(seconds)])
                return account.result()
        script = Path(__file__).parents[1] / "peers" / "imagezmq_bus.py"
        assert python is not None
        words = [str(python), str(script)]
        reader = subprocess.Popen(
            [*words, "hear", address, str(seconds), str(pause_s)], stdout=subprocess.PIPE
        )
        _publisher([*words, "send", address, str(seconds)])
        said, _ = reader.communicate(timeout=seconds + 60)
        return Heard.from_rows(msgspec.json.decode(said))


def _publisher(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SourceError(f"the publisher failed: {done.stderr.strip().splitlines()[-1:]}")


def bus_table(runs: Sequence[BusRun]) -> Rows:
    rows = []
    for run in runs:
        slow = times_of(run)
        speed = "" if run.messages_s is None else f"{run.messages_s:,.0f}"
        end = run.slow[-1][1] if run.slow else float("nan")
        rows.append(
            (
                NAMES[run.kind],
                f"{run.keeps_up_ms.p50:.2f} / {run.keeps_up_ms.p99:.2f}",
                f"{run.missed}",
                speed,
                f"{slow.p50:.0f} / {slow.max:.0f}",
                f"{end:.0f}",
                f"{run.skipped}",
            )
        )
    return Rows(
        title=f"{RATE_HZ:g} messages/s to a subscriber that keeps up, and to one {SLOWER:g} times too slow",
        columns=(
            "bus",
            "delay p50 / p99, ms",
            "missed",
            "messages/s at most",
            "too slow: age p50 / max, ms",
            "at the end",
            "passed over",
        ),
        rows=tuple(rows),
    )


def times_of(run: BusRun) -> Times:
    """Ages that the slow subscriber saw."""
    return times(np.array([age for _, age in run.slow]))


def age_chart(runs: Sequence[BusRun]) -> str:
    """Age against time: the picture for the README."""
    end_s = max(run.slow[-1][0] for run in runs if run.slow)
    return line_chart(
        f"How old is what a subscriber sees that is {SLOWER:g} times too slow?",
        [
            Curve(NAMES[run.kind], [(at_s, age / 1e3) for at_s, age in run.slow], dashed=run.kind == "plain")
            for run in runs
        ],
        Axis("seconds since the first message", 0, round(end_s)),
        Axis("age, s", 0, above(max(run.oldest_ms for run in runs) / 1e3)),
        [Mark("stale after 0.5 s", STALE_AFTER_NS / 1e9, upright=False)],
    )


def _notes(runs: Sequence[BusRun], seconds: float, version: str | None, machine: Machine) -> list[str]:
    ordered = next(run for run in runs if run.kind == "ordered")
    return [
        f"{seconds:g} s, publisher and subscriber in processes of their own, Unix sockets. Scopeline sends a frame "
        "message like the colon bundle's; plain PUB/SUB sends and decodes the same bytes; imagezmq a raw picture.",
        "What is read in order grows old in every bus: in Scopeline's too, whose messages carry their time of capture, "
        f"so that StaleView tells. It was {ordered.oldest_ms / 1e3:.1f} s behind at most; take_newest passes frames "
        "over and counts them.",
        f"imagezmq {version}."
        if version
        else "imagezmq: NOT RUN, not installed (python bench/peers/make.py FOLDER imagezmq)",
        describe(machine, load()),
    ]
