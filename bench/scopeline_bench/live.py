"""`scopeline bench live`: capture stamp to result received in another process, at the rates scopes deliver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import TaskID

from scopeline_bench.company import WHAT
from scopeline_bench.live_page import live_filed
from scopeline_bench.live_run import WARM_UP_S, LivePlan, LiveRun, is_right, measure_live
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.report import Rows, describe
from scopeline_bench.stage import progress_bar

FULL_FRAMES = 10_000
"""Of one full run; a twentieth more is waited for, because a sender on a busy machine leaves some out."""
QUICK_S = 20.0


def main(plans: Sequence[LivePlan], *, page: Path | None, out: Path | None) -> bool:
    """Measure one plan after the other, print, save; whether every frame is accounted for."""
    console, machine = Console(), this_machine()
    runs: list[LiveRun] = []
    try:
        with progress_bar(console) as progress:
            for plan in plans:
                task = progress.add_task(plan.name, total=round(plan.seconds))

                def measured(seconds: float, task: TaskID = task) -> None:
                    progress.update(task, completed=round(seconds))

                runs.append(measure_live(plan, measured))
                progress.remove_task(task)
    finally:  # a Ctrl-C keeps what was measured
        if runs:
            tables = [
                age_table(runs),
                rate_table(runs),
                stage_table(runs),
                depth_table(runs),
                ledger_table(runs),
            ]
            notes = _notes(runs, machine)
            live_filed(results_name(runs), runs, tables, notes, machine).file(console, out, page)
    return is_right(runs)


def results_name(runs: Sequence[LiveRun]) -> str:
    """Of the files of results, so that runs at other rates or in other company lie beside each other."""
    rates = dict.fromkeys("source" if run.plan.source else f"{run.plan.fps}" for run in runs)
    company = dict.fromkeys(kind for run in runs for kind in run.plan.company)
    return "-".join(["live", *rates, *company])


def age_table(runs: Sequence[LiveRun]) -> Rows:
    rows = []
    for run in runs:
        found = run.ages
        figures = (
            *map(str, found.figures.values()),
            f"{found.max:.1f}",
            f"{found.jitter:.1f}",
            f"{found.count}",
        )
        rows.append((run.plan.name, *figures))
    return Rows(
        title="captured to received, ms (95 % interval, blocks of one second resampled)",
        columns=("feed", *runs[0].ages.figures, "max", "jitter", "results"),
        rows=tuple(rows),
    )


def rate_table(runs: Sequence[LiveRun]) -> Rows:
    rows = []
    for run in runs:
        whole = f"{run.whole.p50:.1f} / {run.whole.p99:.1f}" if run.whole else ""
        rows.append(
            (
                run.plan.name,
                f"{run.period_s * 1e3:.1f}",
                f"{run.missed:.2%}",
                f"{run.given_up}",
                f"{run.results_s:.2f}",
                f"{run.ages.interval_p99:.1f}",
                whole,
                f"{_cpu_ms(run):.1f}",
            )
        )
    return Rows(
        title="deadline of one period; a picture that was given up has missed it",
        columns=(
            "feed",
            "deadline, ms",
            "missed",
            "given up",
            "results/s",
            "p99 off the period, ms",
            "made to received p50 / p99",
            "CPU ms per frame",
        ),
        rows=tuple(rows),
    )


def stage_table(runs: Sequence[LiveRun]) -> Rows:
    names = list(dict.fromkeys(name for run in runs for name in run.stages))
    rows = []
    for run in runs:
        cells = [run.stages.get(name) for name in names]
        rows.append((run.plan.name, *(f"{each.p50:.1f} / {each.p99:.1f}" if each else "" for each in cells)))
    return Rows(
        title="where the time goes, p50 / p99, ms, each stage with the wait for it; source is before capture",
        columns=("feed", *names),
        rows=tuple(rows),
    )


def depth_table(runs: Sequence[LiveRun]) -> Rows:
    rows = []
    for run in runs:
        cells = [f"{depth.mean:.2f} / {depth.max} / {depth.busy:.1%}" for depth in run.depths.values()]
        rows.append((run.plan.name, *cells))
    return Rows(
        title="what waited when a picture was captured: mean / most / share that found something",
        columns=("feed", *runs[0].depths),
        rows=tuple(rows),
    )


def ledger_table(runs: Sequence[LiveRun]) -> Rows:
    rows = []
    for run in runs:
        ledger = run.ledger
        lost = ", ".join(f"{reason} {count}" for reason, count in ledger.lost.items()) or "0"
        counts = (ledger.captured, ledger.published, run.received)
        counted = run.account
        before = f"{counted.left_out} / {counted.never_captured}" if counted else ""
        rows.append((run.plan.name, *map(str, counts), lost, f"{run.unaccounted}", before))
    return Rows(
        title="every frame of the whole run",
        columns=(
            "feed",
            "captured",
            "published",
            "received",
            "lost",
            "unaccounted",
            "never made / never captured",
        ),
        rows=tuple(rows),
    )


def _cpu_ms(run: LiveRun) -> float:
    """Of the engine's processes, start included."""
    return (run.report.cpu_s + run.report.children_cpu_s) / max(1, run.ledger.captured) * 1e3


def _notes(runs: Sequence[LiveRun], machine: Machine) -> list[str]:
    company = {kind: WHAT[kind] for run in runs for kind in run.plan.company}
    notes = [
        f"{WARM_UP_S:g} s of warm-up after the first result are left out of all but the ledger. The feed is a raw "
        "yuyv422 pipe from a process that burns a number into each picture; engine and reader are two more.",
        f"Reading that number took {runs[0].tap_ms.p50:.2f} ms of each picture, included in every age.",
        *(f"{kind}: {what}." for kind, what in company.items()),
        *(
            f"{run.plan.name}: {sum(run.reasons.values())} of {run.received} frames were set aside "
            f"({', '.join(f'{reason} {count}' for reason, count in run.reasons.items()) or 'none'}); load average "
            f"{run.load}; network {', '.join(f'{name} {value}' for name, value in run.identity.items())}."
            for run in runs
        ),
    ]
    notes += [f"{run.plan.name}: LEFT OPEN {run.report.left_over}" for run in runs if run.report.left_over]
    return [*notes, describe(machine, load())]
