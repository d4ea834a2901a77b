"""The smoothing curve as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from scopeline.smoothing import SmoothingSettings
from scopeline_calibration.smoothing_curve import SmoothingCurve
from scopeline_calibration.smoothing_point import SmoothingPoint
from scopeline_calibration.smoothing_suite import TEST_SEEDS, Row

VARIED = ("method", "tau_s", "allowance", "young", "confirm_s", "evidence_per_s")
RULE = (
    "on the curve, within the bounds: the best mean of edit score and F1@50; of those within a point of it, the "
    "quickest to a stable tag"
)


class SmoothingReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run of `scopeline calibrate smoothing` found."""

    role: str
    chosen_on: str
    rule: str = RULE
    curve: SmoothingCurve
    checked_on: str | None = None
    """None when there were too few sequences to keep any back."""
    chosen_check: SmoothingPoint | None = None
    default_check: SmoothingPoint | None = None
    acceptance: dict[str, list[str]] = {}
    """H1 to H3 on sequences that nothing was chosen on, by setting; simulated location heads only."""


def settings_words(settings: SmoothingSettings) -> str:
    """The varied values, in one line."""
    words = [
        f"confirm {settings.confirm_s:g} s",
        f"allowance {settings.allowance:g}",
        f"young {settings.young:g}",
    ]
    own = f"{settings.evidence_per_s:g}/s" if settings.method == "hmm" else f"tau {settings.tau_s:g} s"
    return f"{settings.method} {own}, " + ", ".join(words)


def rows_as_text(rows: Sequence[Row]) -> list[str]:
    """One line per acceptance figure."""
    return [
        f"{row.name} {row.what}: {row.measured:.3g} ({'<=' if row.at_most else '>='} {row.wanted:g}) "
        f"{'met' if row.passed else 'MISSED'}"
        for row in rows
    ]


def print_report(report: SmoothingReport, console: Console) -> None:
    """The table, the chosen point and what it costs."""
    curve = report.curve
    console.print(_table(curve, f"{report.role} head, chosen on {report.chosen_on}"))
    if not curve.within_bounds:
        console.print("no setting on the curve keeps the bounds: chosen among those that miss fewest")
    chosen, default = curve.points[curve.chosen], curve.points[curve.default]
    console.print(f"rule: {report.rule} (bounds: {curve.bounds})", highlight=False)
    console.print(f"chosen: {settings_words(chosen.settings)}; {_gain_and_cost(chosen)}", highlight=False)
    where = "on the curve" if curve.default_is_on_curve else "BESIDE the curve"
    is_chosen = " and the chosen one" if curve.chosen == curve.default else ""
    console.print(f"default: {where}{is_chosen}; {_gain_and_cost(default)}", highlight=False)
    for name, point in (("chosen", report.chosen_check), ("default", report.default_check)):
        if point is not None:
            console.print(f"{name} on {report.checked_on}: {_gain_and_cost(point)}", highlight=False)
    for name, lines in report.acceptance.items():
        console.print(f"{name}, on procedures {TEST_SEEDS.start}-{TEST_SEEDS.stop - 1}:", highlight=False)
        for line in lines:
            console.print(f"  {line}", highlight=False)


def _gain_and_cost(point: SmoothingPoint) -> str:
    """Never one without the other."""
    p50, p90 = (
        "missed" if value is None else f"{value:.1f} s" for value in (point.delay_p50_s, point.delay_p90_s)
    )
    return (
        f"{point.flips_per_1000:.2f} flips per 1000 frames (truth {point.true_flips_per_1000:.2f}), "
        f"edit {point.edit:.0f}, F1@50 {point.f1_50:.0f} for {point.missed} of {point.episodes} episodes missed, "
        f"p50 {p50}, p90 {p90} to a stable tag, {point.false_s_per_minute:.1f} s of false tag per minute"
    )


def _compact(settings: SmoothingSettings) -> str:
    """Four numbers that fit beside nine figures in a terminal of 80 columns."""
    own = settings.evidence_per_s if settings.method == "hmm" else settings.tau_s
    return f"{settings.method} {own:g}, {settings.confirm_s:g} {settings.allowance:g} {settings.young:g}"


def _table(curve: SmoothingCurve, title: str) -> Table:
    table = Table(title=title, box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("tau s or hmm's g,\nconfirm allow young", no_wrap=True)
    for heading in (
        "flips\n/1k",
        "F1@\n10/25/50",
        "edit",
        "mean\ns",
        "p50\ns",
        "p90\ns",
        "missed",
        "false\ns/min",
        "",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    order = sorted(range(len(curve.points)), key=lambda index: curve.points[index].delay_s)
    for index in order:
        point = curve.points[index]
        notes = [
            word
            for word, holds in (
                ("curve", curve.on_curve[index]), ("default", index == curve.default), ("chosen", index == curve.chosen)
            )
            if holds
        ]  # fmt: skip
        table.add_row(
            _compact(point.settings),
            f"{point.flips_per_1000:.2f}",
            f"{point.f1_10:.0f}/{point.f1_25:.0f}/{point.f1_50:.0f}",
            f"{point.edit:.0f}",
            f"{point.delay_s:.1f}",
            "-" if point.delay_p50_s is None else f"{point.delay_p50_s:.1f}",
            "-" if point.delay_p90_s is None else f"{point.delay_p90_s:.1f}",
            f"{point.missed}/{point.episodes}",
            f"{point.false_s_per_minute:.1f}",
            " ".join(notes),
            style="bold" if index in (curve.default, curve.chosen) else None,
        )
    return table
