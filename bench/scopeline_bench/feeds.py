"""How long a picture takes from where it is made to its result, for each kind of live feed, and what is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress

from scopeline.errors import ScopelineError
from scopeline.notices import Signal
from scopeline_bench.engine_process import Change, EngineProcess
from scopeline_bench.journeys import Account, Times, account, times
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.report import Rows, describe, publish
from scopeline_bench.stage import progress_bar
from scopeline_bench.tapped_engine import EngineReport
from scopeline_bench.transmission import WHAT, FeedKind
from scopeline_bench.watched_feed import PictureSize, watched_feed

WARM_UP_S = 2.0
"""After the first result; not in the times, but in the counts. The field of view is looked for five times a second."""


class FeedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One feed that was watched."""

    kind: FeedKind
    seconds: float
    """So long was measured, after the first result and the warm-up."""
    size: str
    legs: dict[str, Times]
    account: Account
    reasons: dict[str, int]
    """Frames that were not judged, by reason."""
    report: EngineReport
    changes: list[Change]
    tap_ms: Times
    """What reading the burnt-in numbers took, which is in every time."""
    sender_complaint: str
    load: float

    @property
    def is_right(self) -> bool:
        """The ledger balances, every frame's result arrived, and no thread or descriptor was left."""
        ledger = self.report.ledger
        heard_all = self.account.received == ledger.published and self.account.captured == ledger.captured
        return self.report.balances and heard_all and not self.report.left_over


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """One feed that could not be watched."""

    kind: FeedKind
    why: str


def main(
    kinds: Sequence[FeedKind], *, seconds: float, size: PictureSize, pipeline: str, out: Path | None
) -> bool:
    """Measure, print, save; whether every feed came and every ledger balances."""
    console, machine = Console(), this_machine()
    runs: list[FeedRun] = []
    missing: list[Missing] = []
    try:
        with progress_bar(console) as progress:
            task = progress.add_task("feeds", total=len(kinds))
            for kind in kinds:
                try:
                    runs.append(
                        measure_feed(kind, seconds=seconds, size=size, pipeline=pipeline, progress=progress)
                    )
                except ScopelineError as error:
                    missing.append(Missing(kind=kind, why=str(error)))
                progress.advance(task)
    finally:  # a Ctrl-C keeps the feeds that were measured
        tables = [_time_table(runs), _leg_table(runs), _ledger_table(runs), _picture_table(runs)]
        notes = _notes(runs, missing, machine)
        publish("feeds", console, out, machine, tables, notes, {"runs": runs, "missing": missing})
    return not missing and all(run.is_right for run in runs)


def measure_feed(
    kind: FeedKind,
    *,
    seconds: float,
    size: PictureSize,
    pipeline: str,
    progress: Progress | None = None,
    warm_up_s: float = WARM_UP_S,
) -> FeedRun:
    """Send one kind of feed, watch it for a while, and join what sender, tap and subscriber wrote down.

    Raises:
        SourceError: the machine cannot send it, or no result came.
    """
    with watched_feed(kind, size, pipeline) as feed:
        _listen(feed.engine, warm_up_s + seconds, kind, progress)
        complaint = feed.sender.complaints()  # later it complains that its reader went
        report = feed.engine.finish()
        feed.sender.kill()
        made, captured, heard = feed.sender.made(), feed.engine.captured(), feed.engine.heard
        from_ns = feed.began_ns + round(warm_up_s * 1e9)
        return FeedRun(
            kind=kind,
            seconds=seconds,
            size=str(size),
            legs=feed.journeys().between(from_ns, from_ns + round(seconds * 1e9)).legs(),
            account=account(made, captured, heard),
            reasons=feed.engine.reasons,
            report=report,
            changes=feed.engine.changes,
            tap_ms=times(captured[:, 3] / 1e6),
            sender_complaint=complaint,
            load=load(),
        )


def _listen(engine: EngineProcess, seconds: float, kind: str, progress: Progress | None) -> None:
    task = progress.add_task(kind, total=round(seconds)) if progress else None
    for second in range(round(seconds + 0.5)):
        engine.listen_for(min(1.0, seconds - second))
        if progress and task is not None:
            progress.update(task, completed=second + 1)
    if progress and task is not None:
        progress.remove_task(task)


def _time_table(runs: Sequence[FeedRun]) -> Rows:
    rows = []
    for run in runs:
        whole, ours = run.legs["made to received"], run.legs["captured to received"]
        rows.append(
            (
                run.kind,
                *(f"{value:.1f}" for value in (whole.p50, whole.p95, whole.p99, whole.max)),
                f"{ours.p50:.1f}",
                f"{ours.p99:.1f}",
                f"{whole.count}",
            )
        )
    return Rows(
        title="picture made to result received; engine: captured to received; ms",
        columns=("feed", "p50", "p95", "p99", "max", "engine p50", "p99", "pictures"),
        rows=tuple(rows),
    )


def _leg_table(runs: Sequence[FeedRun]) -> Rows:
    names = ("made to captured", "captured to published", "published to received")
    rows = [
        (run.kind, *(f"{run.legs[name].p50:.1f} / {run.legs[name].p99:.1f}" for name in names))
        for run in runs
    ]
    return Rows(
        title="where the time goes, p50 / p99, ms: encoder, network and decoder; engine; bus",
        columns=("feed", *names),
        rows=tuple(rows),
    )


def _ledger_table(runs: Sequence[FeedRun]) -> Rows:
    rows = []
    for run in runs:
        ledger = run.report.ledger
        lost = ", ".join(f"{reason} {count}" for reason, count in ledger.lost.items()) or "0"
        balance = "balances" if run.report.balances else "DOES NOT BALANCE"
        counts = (ledger.captured, ledger.published, run.account.received, run.account.judged)
        rows.append((run.kind, *map(str, counts), lost, str(sum(ledger.damaged.values())), balance))
    return Rows(
        title="the engine's ledger, whole run",
        columns=("feed", "captured", "published", "received", "judged", "lost", "damaged", "ledger"),
        rows=tuple(rows),
    )


def _picture_table(runs: Sequence[FeedRun]) -> Rows:
    rows = []
    for run in runs:
        counts = run.account
        told = sum(change.what != Signal.RUNNING for change in run.changes)
        values = (
            counts.made,
            counts.left_out,
            counts.never_captured,
            counts.repeated,
            counts.unreadable,
            told,
        )
        rows.append((run.kind, *map(str, values)))
    return Rows(
        title="pictures from the first captured one to the last",
        columns=(
            "feed",
            "made",
            "sender too slow",
            "never captured",
            "repeated",
            "unreadable",
            "troubles told",
        ),
        rows=tuple(rows),
    )


def _notes(runs: Sequence[FeedRun], missing: Sequence[Missing], machine: Machine) -> list[str]:
    notes = [f"{run.kind}: {WHAT[run.kind]}; load average {run.load}." for run in runs]
    notes += [f"{each.kind}: NOT MEASURED, {each.why}" for each in missing]
    notes += [f"{run.kind}: NOT RIGHT, {_what_is_wrong(run)}" for run in runs if not run.is_right]
    notes += [f"{run.kind}: the sender said {run.sender_complaint}" for run in runs if run.sender_complaint]
    if runs:
        taps = [run.tap_ms.p50 for run in runs]
        notes.append(
            f"{runs[0].size}; {runs[0].seconds:g} s each after {WARM_UP_S:g} s of warm-up (in the counts only). "
            f"Reading the burnt-in number took {np.median(taps):.2f} ms of each picture, included above."
        )
    return [*notes, describe(machine, load())]


def _what_is_wrong(run: FeedRun) -> str:
    ledger, counts = run.report.ledger, run.account
    left_over = ", ".join(run.report.left_over) or "nothing"
    return (
        f"captured {ledger.captured} (tap: {counts.captured}), published {ledger.published} "
        f"(received: {counts.received}), lost {ledger.lost}, in flight {ledger.in_flight}; left over: {left_over}"
    )
