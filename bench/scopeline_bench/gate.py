"""`scopeline bench gate BASE`: has a stage become slower than in BASE, by more than the noise of this very run?

Both engines run at the same time in processes of their own; each stage is timed now in one and now in the other, within
a tenth of a second, so that what slows the machine slows both. The figure is the median of the rounds' ratios, its
uncertainty comes from their own spread, and rounds are added while that is too large to see what should be seen.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import Progress

from scopeline.errors import ConfigError
from scopeline_bench.machine import load, this_machine
from scopeline_bench.report import Rows, describe, publish
from scopeline_bench.stage import progress_bar
from scopeline_bench.stages import Stages

TOLERATED: Final = 0.05
"""A stage may become slower by so much: other commits lie in other places of memory."""
SEEN: Final = 0.20
"""What must be seen; rounds are added until it would be."""
_SURE: Final = 3.0
"""Standard errors by which a slow-down must lie above what is tolerated."""
_MOST_ROUNDS_FACTOR: Final = 4
_CHECKOUT: Final = Path(__file__).parents[2]
_NEEDED: Final = ("engine", "pipelines", "calibration")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One stage."""

    name: str
    base_s: float
    ratio: float
    """Median over the rounds of the working tree's time over the base's."""
    error: float
    """Standard error of that median, by the spread of the rounds."""
    rounds: int

    @property
    def is_slower(self) -> bool:
        return self.ratio - _SURE * self.error > 1 + TOLERATED

    @property
    def is_too_noisy(self) -> bool:
        """A slow-down of `SEEN` would not be noticed."""
        return 1 + SEEN - _SURE * self.error <= 1 + TOLERATED


def judge(name: str, base_s: Sequence[float], tree_s: Sequence[float]) -> Verdict:
    """The verdict on one stage from its rounds.

    The standard error of a median is 1.253 sigma / sqrt(n); sigma is 1.483 times the median absolute deviation, which
    a few disturbed rounds do not move (Huber, Robust Statistics, 1981).
    """
    logs = [math.log(tree / base) for tree, base in zip(tree_s, base_s, strict=True)]
    middle = statistics.median(logs)
    sigma = 1.483 * statistics.median(abs(each - middle) for each in logs)
    return Verdict(
        name=name,
        base_s=statistics.median(base_s),
        ratio=math.exp(middle),
        error=1.253 * sigma / math.sqrt(len(logs)) * math.exp(middle),
        rounds=len(logs),
    )


class Side:
    """One engine, ready to time its stages."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said:
            raise ConfigError("an engine to be timed ended at once; its last words are above")
        self.stages = msgspec.json.decode(said, type=Stages)

    def seconds(self, name: str) -> float:
        """Of one stage, now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


@contextmanager
def side(root: Path, only: str, plant: str) -> Iterator[Side]:
    """The engine of a checkout, with this checkout's stages."""
    paths = os.pathsep.join([str(root / "engine"), str(_CHECKOUT / "bench")])
    words = [sys.executable, "-m", "scopeline_bench.stages", only, plant]
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield Side(process)
        finally:
            process.kill()


def main(base: str, *, rounds: int, only: str, plant: str | None, out: Path | None) -> bool:
    """Measure, print, save; whether no stage has become slower."""
    console, machine = Console(), this_machine()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scopeline-gate-")))
        unpack(base, folder)
        ours = stack.enter_context(side(_CHECKOUT, only, plant or ""))
        theirs = stack.enter_context(side(folder, only, ""))
        with progress_bar(console) as progress:
            verdicts = measure(ours, theirs, rounds, progress)
        failed = theirs.stages.failed
    notes = _notes(base, verdicts, failed, plant)
    publish(
        "gate",
        console,
        out,
        machine,
        [verdict_table(verdicts)],
        [*notes, describe(machine, load())],
        verdicts,
    )
    return not any(verdict.is_slower for verdict in verdicts)


def measure(ours: Side, theirs: Side, rounds: int, progress: Progress) -> list[Verdict]:
    """So many rounds of every stage that both sides have, and more of those that are too noisy."""
    names = [name for name in ours.stages.names if name in theirs.stages.names]
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in names}
    task = progress.add_task("rounds", total=rounds)
    for turn in range(rounds * _MOST_ROUNDS_FACTOR):
        wanted = (
            names if turn < rounds else [name for name in names if judge(name, *times[name]).is_too_noisy]
        )
        if not wanted:
            break
        for name in wanted:
            one_round(ours, theirs, name, times[name], turn)
        progress.advance(task)
    return [judge(name, *times[name]) for name in names]


def one_round(ours: Side, theirs: Side, name: str, times: tuple[list[float], list[float]], turn: int) -> None:
    """Each side once; who comes first changes from round to round."""
    order = [(theirs, times[0]), (ours, times[1])]
    for each, kept in order if turn % 2 else order[::-1]:
        kept.append(each.seconds(name))


def unpack(base: str, folder: Path) -> None:
    """The engine of a commit, without touching the checkout.

    Raises:
        ConfigError: there is no such commit.
    """
    done = subprocess.run(["git", "archive", base, *_NEEDED], cwd=_CHECKOUT, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ConfigError(f"wanted a commit to compare with, got {base!r}: {said}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


def verdict_table(verdicts: Sequence[Verdict]) -> Rows:
    rows = []
    for each in verdicts:
        says = "SLOWER" if each.is_slower else "too noisy to tell" if each.is_too_noisy else "no slower"
        change = f"{each.ratio - 1:+.1%} +- {each.error:.1%}"
        rows.append((each.name, f"{each.base_s * 1e6:,.1f}", change, f"{each.rounds}", says))
    return Rows(
        title="processor time of each stage: base, and the change with its standard error",
        columns=("stage", "base, us", "now", "rounds", ""),
        rows=tuple(rows),
    )


def _notes(base: str, verdicts: Sequence[Verdict], failed: dict[str, str], plant: str | None) -> list[str]:
    slower = [verdict.name for verdict in verdicts if verdict.is_slower]
    return [
        f"SLOWER than {base}: {', '.join(slower)}." if slower else f"No stage is slower than in {base}.",
        f"Slower is {TOLERATED:.0%} and {_SURE:g} standard errors above the base.",
        *([f"Planted: {plant}."] if plant else []),
        *(f"{name}: the base cannot do it ({why})" for name, why in failed.items()),
    ]
