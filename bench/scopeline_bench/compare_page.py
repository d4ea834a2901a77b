"""Compare page: tables, charts and notes of `bench compare`."""

from __future__ import annotations

from scopeline_bench.chart import Axis, Curve, Mark, above, line_chart
from scopeline_bench.compared import FLOOR, OURS, Compared
from scopeline_bench.filed import Filed
from scopeline_bench.live_run import WARM_UP_S
from scopeline_bench.machine import Machine, load
from scopeline_bench.page import verdict
from scopeline_bench.peers import PEERS
from scopeline_bench.range_chart import Dot, Row, range_chart
from scopeline_bench.report import Rows, Spread, describe, spread

_SHARES = ("p50", "p95", "p99", "max")


def compare_filed(compared: Compared, machine: Machine) -> Filed:
    """What is shown and kept."""
    missed = [target for target in compared.targets() if not target.is_reached]
    says = (
        "Every target was reached."
        if compared.is_as_wanted
        else "Missed: "
        + "; ".join(f"{each.what} {each.found}, wanted at most {each.limit:g}" for each in missed)
    )
    plan = compared.plan
    charts = {}
    if compared.live:
        charts["Live"] = [live_chart(compared), cdf(compared)]
    if compared.recording:
        charts["Recording"] = [recording_chart(compared)]
    return Filed(
        name="compare",
        title="Scopeline beside its peers",
        lead=f"1080p{plan.fps} live and a recording, {plan.rounds} rounds in turn.",
        machine=machine,
        tables=[target_table(compared), live_table(compared), recording_table(compared)],
        notes=_notes(compared, machine),
        figures=compared,
        before=[verdict(says, is_good=compared.is_as_wanted)],
        charts=charts,
    )


def _best_live_first(compared: Compared) -> list[str]:
    return sorted(compared.live, key=lambda name: spread(compared.p99(name)).median)


def _cheapest_first(compared: Compared) -> list[str]:
    return sorted(compared.recording, key=lambda name: spread(compared.cpu(name)).median)


def _ages(compared: Compared, name: str) -> list[Spread]:
    runs = compared.live[name]
    return [spread([getattr(run.made_to_received, share) for run in runs]) for share in _SHARES]


def _dot(found: Spread) -> Dot:
    return Dot(found.median, found.lowest, found.highest)


def live_chart(compared: Compared) -> str:
    """Percentiles of everybody, best first."""
    rows = [
        Row(name=name, dots=[_dot(age) for age in _ages(compared, name)], is_bold=name == OURS)
        for name in _best_live_first(compared)
    ]
    lowest = min(dot.low for row in rows for dot in row.dots)
    highest = max(dot.high for row in rows for dot in row.dots)
    return range_chart(
        "picture made to result received: median of the rounds, lines from the best to the worst round",
        rows,
        Axis("ms", max(0.5, lowest * 0.8), highest * 1.2, logarithmic=True),
        legend=_SHARES,
        marks=[Mark("one period", 1000 / compared.plan.fps)],
    )


def cdf(compared: Compared) -> str:
    """The distribution of everybody's middle round."""
    curves = []
    for name in _best_live_first(compared):
        runs = sorted(compared.live[name], key=lambda run: run.made_to_received.p99)
        curves.append(Curve(name, runs[(len(runs) - 1) // 2].curve, dashed=name != OURS))
    points = [age for curve in curves for age, _ in curve.points]
    return line_chart(
        "share of the results that took no longer, each one's middle round by p99",
        curves,
        Axis("made to received, ms", max(0.5, min(points) * 0.8), max(points) * 1.2, logarithmic=True),
        Axis("share", 0, 1),
        [Mark("one period", 1000 / compared.plan.fps)],
    )


def recording_chart(compared: Compared) -> str:
    """Processor time of everybody, cheapest first."""
    rows = []
    for name in _cheapest_first(compared):
        found = spread(compared.cpu(name))
        rows.append(Row(name=name, dots=[_dot(found)], words=f"{found.median:.1f}", is_bold=name == OURS))
    return range_chart(
        "processor seconds per 1000 frames, median of the rounds and their range",
        rows,
        Axis("CPU s / 1000 frames", 0, above(max(row.dots[0].high for row in rows))),
        marks=[Mark("floor", spread(compared.cpu(FLOOR)).median)] if FLOOR in compared.recording else [],
        bars=True,
    )


def live_table(compared: Compared) -> Rows:
    """Best first by p99."""
    rows = []
    for name in _best_live_first(compared):
        runs, ages = compared.live[name], _ages(compared, name)
        fps = spread([run.results_s for run in runs])
        absent = f"{sum(run.without_result for run in runs)} of {sum(run.made for run in runs)}"
        rows.append(
            (
                name,
                *(f"{age.median:.1f} ({age.lowest:.1f}-{age.highest:.1f})" for age in ages),
                str(fps),
                absent,
            )
        )
    return Rows(
        title=f"live, 1080p{compared.plan.fps} raw pipe: picture made to result received, ms, median of rounds (range)",
        columns=("who", *_SHARES, "results/s", "pictures without result"),
        rows=tuple(rows),
    )


def recording_table(compared: Compared) -> Rows:
    """Cheapest first."""
    rows = []
    for name in _cheapest_first(compared):
        runs = compared.recording[name]
        speed = "" if name == FLOOR else f"{spread([run.frames / run.wall_s for run in runs]).median:.0f}"
        rows.append(
            (name, str(spread(compared.cpu(name))), speed, compared.wrong.get(name, "every picture once"))
        )
    return Rows(
        title="recording, 1080p H.264 at 8 Mbit/s: processor seconds per 1000 frames, median of rounds (range)",
        columns=("who", "CPU s / 1000", "frames/s", "read from the bar codes"),
        rows=tuple(row if row[0] != FLOOR else (*row[:3], "") for row in rows),
    )


def target_table(compared: Compared) -> Rows:
    rows = []
    for target in compared.targets():
        found = target.found
        verdict = "reached" if target.is_reached else f"missed by {found.median - target.limit:.2f}"
        rows.append((target.what, str(found), f"<= {target.limit:g}", verdict))
    rows.append(
        (
            "frames for which nobody answers",
            f"{compared.unaccounted}",
            "0",
            "missed" if compared.unaccounted else "reached",
        )
    )
    return Rows(
        title="Scopeline against each, every round with itself",
        columns=("ratio", "median (lowest-highest)", "target", ""),
        rows=tuple(rows),
    )


def _notes(compared: Compared, machine: Machine) -> list[str]:
    wins = [
        f"{name} is better than Scopeline here."
        for name in compared.live
        if name != OURS
        and OURS in compared.live
        and spread(compared.p99(name)).median < spread(compared.p99(OURS)).median
    ]
    return [
        f"{compared.plan.rounds} rounds in turn; live {compared.plan.seconds:g} s after {WARM_UP_S:g} s of warm-up.",
        "All: one process makes the pictures, one judges, one receives over ZeroMQ; the bundle's own ONNX, ONNX "
        "Runtime with one thread that does not spin, the same cut, shrunk by area; pictures known by their numbers. "
        "Scopeline does all else that it does besides: field of view, quality, smoothing, segments, journal, ledger.",
        "OpenCV's decoder takes one thread where a peer lets us say so (the OpenCV loop), else as many as it likes.",
        *(f"live p99: {win}" for win in wins),
        *(f"{name}: {version}." for name, version in compared.versions.items()),
        *(f"{peer.name}: {peer.note}." for peer in PEERS if peer.note and peer.name not in compared.missing),
        *(f"{name}: NOT RUN, {why}" for name, why in compared.missing.items()),
        f"Load average after each round: {', '.join(f'{each:.1f}' for each in compared.loads)}.",
        describe(machine, load()),
    ]
