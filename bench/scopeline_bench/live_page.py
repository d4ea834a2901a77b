"""Live page: what `bench live` found, as one HTML file: a page of summary first, then everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scopeline_bench.chart import Axis, Bar, Curve, Mark, above, line_chart, waterfall
from scopeline_bench.filed import Filed
from scopeline_bench.live_run import LiveRun
from scopeline_bench.machine import Machine
from scopeline_bench.page import html_table, plain_words, section
from scopeline_bench.report import Rows

MARKER_LIMIT_MS: Final = 120.0
VIDEO_LIMIT_MS: Final = 5.75
"""GI Genius' acceptance limits for the delay of its markers and of its video, from the public summary of DEN200055."""

_NO_CLEARANCE = (
    "This is an engineering measurement of one machine. It is no clearance claim: Scopeline is for research use only, "
    "is not a medical device, and has been reviewed by no authority. The limits below are another device's, shown for "
    "orientation."
)


def live_filed(
    name: str, runs: Sequence[LiveRun], tables: Sequence[Rows], notes: Sequence[str], machine: Machine
) -> Filed:
    """A page of summary first, then everything."""
    return Filed(
        name=name,
        title="Scopeline: latency of a live feed",
        lead=f"{'; '.join(run.plan.name for run in runs)}.",
        machine=machine,
        tables=tables,
        notes=notes,
        figures={"runs": runs},
        before=[plain_words(_NO_CLEARANCE), section("Summary", html_table(summary(runs), of_words=True))],
        charts={
            "Distribution": [cdf(runs)],
            "Stages": [stage_waterfall(run) for run in runs],
            "Over time": [over_time(run) for run in runs],
        },
        identity=runs[0].identity,
    )


def summary(runs: Sequence[LiveRun]) -> Rows:
    """One page, shaped like the non-clinical tests that 21 CFR 876.1520(b)(2) lists for devices of this kind."""
    worst = max(runs, key=lambda run: run.ages["p99.9"])
    found = worst.ages
    within = "within" if found.max <= MARKER_LIMIT_MS else "NOT within"
    unaccounted = sum(run.unaccounted for run in runs)
    captured = sum(run.ledger.captured for run in runs)
    return Rows(
        title="in the order of 21 CFR 876.1520(b)(2); worst of the feeds below",
        columns=("what", "found", "GI Genius' public limit"),
        rows=(
            (
                "standalone performance of the algorithm",
                "not measured here: see the cards of the bundles and scopeline evaluate",
                "",
            ),
            (
                "degradation of the picture, pixel by pixel",
                "none to measure: Scopeline gets a copy of the signal and draws nothing into the doctor's picture",
                "no difference outside markers",
            ),
            (
                "delay of what is marked (captured to result received by another process)",
                f"p50 {found['p50']:.1f}, p99 {found['p99']:.1f}, p99.9 {found['p99.9']:.1f}, max {found.max:.1f} ms "
                f"over {found.count} results ({worst.plan.name}); the highest is {within} the limit",
                f"{MARKER_LIMIT_MS:g} ms",
            ),
            (
                "delay of the real-time video",
                "none added: Scopeline is not in the way of the video",
                f"{VIDEO_LIMIT_MS:g} ms",
            ),
            ("frames for which nobody answers", f"{unaccounted} of {captured} captured", ""),
        ),
    )


def cdf(runs: Sequence[LiveRun]) -> str:
    highest = above(max([MARKER_LIMIT_MS, *(run.ages.max for run in runs)]))
    lowest = max(0.1, min(run.ages.curve[0][0] for run in runs) * 0.9)
    return line_chart(
        "share of results that were no older when they were received",
        [Curve(run.plan.name, run.ages.curve) for run in runs],
        Axis("age, ms", lowest, highest, logarithmic=True),
        Axis("share", 0, 1),
        [Mark(f"{MARKER_LIMIT_MS:g} ms", MARKER_LIMIT_MS)],
    )


def stage_waterfall(run: LiveRun) -> str:
    bars, at = [], 0.0
    for name, spent in run.stages.items():
        bars.append(Bar(name, at, spent.p50, spent.p99, f"{spent.p50:.2f} ms, p99 {spent.p99:.1f}"))
        at += spent.p50
    reach = max(bar.start + bar.reach for bar in bars)
    return waterfall(
        f"{run.plan.name}: medians, thin lines to the 99th percentile", bars, Axis("ms", 0, above(reach))
    )


def over_time(run: LiveRun) -> str:
    seconds = run.ages.seconds
    return line_chart(
        f"{run.plan.name}: age of the results of each second",
        [
            Curve("median", [(each.at_s, each.p50) for each in seconds]),
            Curve("oldest", [(each.at_s, each.max) for each in seconds], dashed=True),
        ],
        Axis("s", 0, max(1.0, seconds[-1].at_s)),
        Axis("age, ms", 0, above(run.ages.max)),
        [Mark("one period", run.period_s * 1e3, upright=False)],
    )
