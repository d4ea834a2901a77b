"""What a feed's death costs: how soon it is told, how soon there are results again, whether anything stays behind."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress

from scopeline.errors import ScopelineError
from scopeline.notices import Signal
from scopeline_bench.engine_process import Change, EngineProcess, Weight, typical
from scopeline_bench.journeys import Times, times
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.memory import GROWTH_MB, GROWTH_SHARE
from scopeline_bench.report import Rows, describe, publish
from scopeline_bench.stage import progress_bar
from scopeline_bench.tapped_engine import EngineReport
from scopeline_bench.transmission import WHAT, FeedKind
from scopeline_bench.watched_feed import PictureSize, WatchedFeed, watched_feed

TOLD_WITHIN_MS = 500.0
_PATIENCE_S = 30.0
_FIRST_LIFE_S = 10.0
_LIFE_S, _PAUSE_S = (3.0, 6.0), (0.2, 5.0)
"""How long a sender lives and stays away, drawn evenly. A capture child gives a silent stream up after 3 s: some pauses
are shorter than that, some longer."""
SETTLED_S = 1.0
"""Of each life left out of its times: the field of view is looked for again, buffers run empty."""
_SETTLED_END_S = 2.5
"""What the engine holds is read in the last seconds of a life: two or three times."""
_QUARTERS = 4


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """One death of the sender and what followed."""

    pause_s: float
    """Between its death and its next start."""
    told_ms: float | None
    """From the death to the message that names it; None when none came before the next picture."""
    told_as: str
    started_ms: float | None
    """From the new start to its first picture: a program's start, no part of the recovery."""
    recovered_ms: float | None
    """From the new life's first picture to the first published result of one of its pictures; None when none came
    within half a minute."""
    after: Times
    """Made to received in the new life, without its first second."""
    weight: Weight
    """What the engine held at the end of that life."""


class ChurnRun(msgspec.Struct, frozen=True, kw_only=True):
    """One feed that was cut off again and again."""

    kind: FeedKind
    seed: int
    before: Times
    """Made to received before the first death."""
    weight_before: Weight
    recoveries: list[Recovery]
    report: EngineReport
    changes: list[Change]

    @property
    def recovered_ms(self) -> list[float]:
        return [each.recovered_ms for each in self.recoveries if each.recovered_ms is not None]

    @property
    def told_ms(self) -> list[float]:
        return [each.told_ms for each in self.recoveries if each.told_ms is not None]

    @property
    def growth_mb(self) -> float:
        """Median resident memory of the last quarter of lives, less that of the second quarter."""
        held = [each.weight.rss_mb for each in self.recoveries]
        quarter = max(1, len(held) // _QUARTERS)
        return statistics.median(held[-quarter:]) - statistics.median(held[quarter : 2 * quarter] or held[:1])

    @property
    def is_flat(self) -> bool:
        return self.growth_mb <= max(GROWTH_MB, GROWTH_SHARE * self.weight_before.rss_mb)

    @property
    def is_clean(self) -> bool:
        """The last lives ended with no more threads, descriptors and processes than the first one."""
        first = self.weight_before
        last = typical(
            [each.weight for each in self.recoveries[-max(1, len(self.recoveries) // _QUARTERS) :]]
        )
        more = last.threads > first.threads or last.files > first.files or last.children > first.children
        return not more and not self.report.left_over

    @property
    def is_right(self) -> bool:
        """It always came back, every death was told in time, nothing grew, the ledger balances."""
        all_back = len(self.recovered_ms) == len(self.recoveries)
        all_told = (
            len(self.told_ms) == len(self.recoveries) and max(self.told_ms, default=0) <= TOLD_WITHIN_MS
        )
        return all_back and all_told and self.is_flat and self.is_clean and self.report.balances


def main(
    kinds: Sequence[FeedKind], *, deaths: int, seed: int, size: PictureSize, pipeline: str, out: Path | None
) -> bool:
    """Measure, print, save; whether every feed always came back and nothing stayed behind."""
    console, machine = Console(), this_machine()
    runs: list[ChurnRun] = []
    failed: dict[str, str] = {}
    try:
        with progress_bar(console) as progress:
            for kind in kinds:
                try:
                    runs.append(
                        measure_churn(
                            kind, deaths=deaths, seed=seed, size=size, pipeline=pipeline, progress=progress
                        )
                    )
                except ScopelineError as error:
                    failed[kind] = str(error)
    finally:  # a Ctrl-C keeps the feeds that were measured
        tables = [_recovery_table(runs), _latency_table(runs), _weight_table(runs)]
        notes = _notes(runs, failed, size, machine)
        publish("churn", console, out, machine, tables, notes, {"runs": runs, "failed": failed})
    return not failed and all(run.is_right for run in runs)


def measure_churn(
    kind: FeedKind,
    *,
    deaths: int,
    seed: int,
    size: PictureSize,
    pipeline: str,
    progress: Progress | None = None,
    first_life_s: float = _FIRST_LIFE_S,
    life_s: tuple[float, float] = _LIFE_S,
    pause_s: tuple[float, float] = _PAUSE_S,
) -> ChurnRun:
    """Kill the sender of a feed again and again, at moments drawn from `seed`, and watch the engine come back.

    Raises:
        SourceError: the machine cannot send the feed, no result came at all, or the engine failed.
    """
    rng = np.random.default_rng(seed)
    task = progress.add_task(f"{kind}: deaths", total=deaths) if progress else None
    recoveries: list[Recovery] = []
    with watched_feed(kind, size, pipeline) as feed:
        feed.engine.listen_for(first_life_s)
        before = _settled(feed, feed.began_ns, time.monotonic_ns())
        weight_before = feed.engine.weight_since(time.monotonic_ns() - round(_SETTLED_END_S * 1e9))
        for _ in range(deaths):
            recoveries.append(_one_death(feed, float(rng.uniform(*pause_s)), float(rng.uniform(*life_s))))
            if progress and task is not None:
                progress.advance(task)
        report = feed.engine.finish()
        changes = feed.engine.changes
    if progress and task is not None:
        progress.remove_task(task)
    return ChurnRun(
        kind=kind,
        seed=seed,
        before=before,
        weight_before=weight_before,
        recoveries=recoveries,
        report=report,
        changes=changes,
    )


def _one_death(feed: WatchedFeed, pause_s: float, life_s: float) -> Recovery:
    engine, sender = feed.engine, feed.sender
    killed_ns = sender.kill()
    engine.listen_for(pause_s)
    started_ns = time.monotonic_ns()
    first = sender.start()
    published_ns = _first_result_ns(engine, first)
    first_ns = sender.first_made_ns(first)
    back_ns = time.monotonic_ns()
    engine.listen_for(life_s)
    told = _told(engine.changes, killed_ns, published_ns or back_ns)
    return Recovery(
        pause_s=round(pause_s, 2),
        told_ms=None if told is None else (told.received_ns - killed_ns) / 1e6,
        told_as="" if told is None else told.what,
        started_ms=None if first_ns is None else (first_ns - started_ns) / 1e6,
        recovered_ms=None if published_ns is None or first_ns is None else (published_ns - first_ns) / 1e6,
        after=_settled(feed, back_ns, time.monotonic_ns()),
        weight=engine.weight_since(time.monotonic_ns() - round(_SETTLED_END_S * 1e9)),
    )


def _first_result_ns(engine: EngineProcess, first: int) -> int | None:
    """When the first result of a picture numbered `first` or higher was published; None when none came."""
    frame, heard, captured = None, len(engine.heard), engine.captured_reader()
    end_ns = time.monotonic_ns() + round(_PATIENCE_S * 1e9)
    while time.monotonic_ns() < end_ns and not engine.has_ended:
        engine.listen(0.1)
        rows = captured.new()
        born = rows[rows[:, 1] >= first, 0]
        if frame is None and len(born):
            frame = int(born[0])
        news = engine.heard[heard:]
        if frame is not None and len(found := news[news[:, 0] >= frame]):
            return int(found[0, 2])
    return None


def _told(changes: Sequence[Change], from_ns: int, to_ns: int) -> Change | None:
    """The first message in a stretch of time that said that the picture is gone."""
    for change in changes:
        gone = change.event == "signal" and change.what != Signal.RUNNING
        if gone and from_ns <= change.received_ns < to_ns:
            return change
    return None


def _settled(feed: WatchedFeed, from_ns: int, to_ns: int) -> Times:
    return times(feed.journeys().between(from_ns + round(SETTLED_S * 1e9), to_ns).made_to_received_ms)


def _recovery_table(runs: Sequence[ChurnRun]) -> Rows:
    rows = []
    for run in runs:
        back, told = times(np.array(run.recovered_ms)), times(np.array(run.told_ms))
        named = sorted({each.told_as for each in run.recoveries if each.told_as})
        rows.append(
            (
                run.kind,
                f"{len(run.recovered_ms)} of {len(run.recoveries)}",
                f"{back.p50:.0f}",
                f"{back.max:.0f}",
                f"{told.count} of {len(run.recoveries)}",
                f"{told.p50:.0f}",
                f"{told.max:.0f}",
                ", ".join(named),
            )
        )
    return Rows(
        title="recovery: first picture of the new life to its first published result; told: death to the message, ms",
        columns=("feed", "recovered", "p50", "max", "told", "p50", "max", "as"),
        rows=tuple(rows),
    )


def _latency_table(runs: Sequence[ChurnRun]) -> Rows:
    rows = []
    for run in runs:
        lives = [each.after for each in run.recoveries if each.after.count]
        p50, p99 = sorted(life.p50 for life in lives), sorted(life.p99 for life in lives)
        last = lives[-1] if lives else times(np.empty(0))
        rows.append(
            (
                run.kind,
                f"{run.before.p50:.1f} / {run.before.p99:.1f}",
                f"{_middle(p50)} / {_middle(p99)}",
                f"{last.p50:.1f} / {last.p99:.1f}",
            )
        )
    return Rows(
        title="picture made to result received, p50 / p99, ms",
        columns=("feed", "before the first death", "lives after, median (lowest-highest)", "last life"),
        rows=tuple(rows),
    )


def _middle(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({values[0]:.1f}-{values[-1]:.1f})" if values else "none"


def _weight_table(runs: Sequence[ChurnRun]) -> Rows:
    rows = []
    for run in runs:
        for name, weight in (
            (f"{run.kind}, first life", run.weight_before),
            *((f"{run.kind}, last life", each.weight) for each in run.recoveries[-1:]),
        ):
            rows.append(
                (
                    name,
                    f"{weight.rss_mb:.1f}",
                    *map(str, (weight.threads, weight.files, weight.children)),
                    f"{weight.children_rss_mb:.1f}",
                )
            )
    return Rows(
        title="what the engine holds at the end of a life",
        columns=("feed", "MB", "threads", "descriptors", "children", "MB of the children"),
        rows=tuple(rows),
    )


def _notes(
    runs: Sequence[ChurnRun], failed: dict[str, str], size: PictureSize, machine: Machine
) -> list[str]:
    notes = [f"{kind}: NOT MEASURED, {why}" for kind, why in failed.items()]
    for run in runs:
        ledger = run.report.ledger
        notes.append(
            f"{run.kind} ({WHAT[run.kind]}): {'right' if run.is_right else 'NOT RIGHT'}; "
            f"memory {'flat' if run.is_flat else 'NOT FLAT'}, {run.growth_mb:+.1f} MB from second to last quarter; "
            f"{'nothing' if run.is_clean else 'SOMETHING'} left behind {run.report.left_over or ''}; "
            f"ledger {'balances' if run.report.balances else 'DOES NOT BALANCE'}: captured {ledger.captured}, "
            f"published {ledger.published}, lost {ledger.lost}, damaged {ledger.damaged}; seed {run.seed}."
        )
    return [
        *notes,
        f"{size}. Painter and transmitter die by SIGKILL, stay away for {_PAUSE_S[0]:g} to {_PAUSE_S[1]:g} s, "
        f"live {_LIFE_S[0]:g} to {_LIFE_S[1]:g} s. Times of a life leave out its first {SETTLED_S:g} s.",
        describe(machine, load()),
    ]
