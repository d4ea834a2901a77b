"""Probability report: reliability diagrams, risk-coverage curves, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from scopeline_calibration.head_calibration import BAR, FEWEST, FEWEST_GROUPS, HeadCalibration, Measured
from scopeline_calibration.plot_look import (
    AMBER,
    BLUE,
    GREEN,
    INK,
    ORANGE,
    QUIET,
    calm,
    new_plot,
    save,
)
from scopeline_calibration.risk_coverage import Curve, OperatingPoint


def calibration_table(found: Sequence[HeadCalibration], title: str, caption: str) -> Table:
    """One line per head, strata below."""
    table = Table(title=title, caption=caption)
    for column in (
        "head",
        "pictures (groups)",
        "temperature",
        "ECE before",
        "ECE after",
        "by chance",
        "Brier",
        "outcome",
    ):
        table.add_column(column)
    for each in found:
        old, new = each.measured_before, each.measured_after
        table.add_row(
            each.head,
            f"{each.pictures} ({each.groups})",
            f"{each.before.temperature:.2f} -> {each.after.temperature:.2f}{' + bias' if each.after.bias else ''}",
            str(old.error) if old else "-",
            str(new.error) if new else "-",
            f"{new.floor:.3f}" if new else "-",
            f"{old.brier.value:.3f} -> {new.brier.value:.3f}" if old and new else "-",
            f"[{'green' if each.outcome == 'calibrated' else 'yellow'}]{each.outcome}[/]",
        )
        for part in each.strata:
            stratum = f"  quality {part.low:g} to {part.high:g}"
            table.add_row(stratum, str(part.pictures), "", "", str(part.error))
    return table


def told(each: HeadCalibration) -> str:
    """What the outcome rests on, in a line."""
    if each.balanced_accuracy is None or each.measured_after is None or each.measured_before is None:
        wanted = f"wanted {FEWEST} pictures in {FEWEST_GROUPS} groups, of two labels or more"
        return f"{each.head}: {each.outcome}; {wanted}"
    line = (
        f"{each.head}: {each.outcome}; balanced accuracy {each.balanced_accuracy} (chance {each.chance:.3f}); log loss "
        f"{each.measured_before.log_loss:.3f} -> {each.measured_after.log_loss:.3f}, of the labels' shares alone "
        f"{each.prior_log_loss:.3f}"
    )
    if each.outcome == "kept: too few to tell":
        line += (
            f"; on so few pictures perfect probabilities would show {each.measured_after.floor:.3f}, so the "
            f"bar of {BAR} cannot be shown"
        )
    if absent := [label for label, count in each.counts.items() if not count]:
        line += (
            f"; no picture of {', '.join(absent)}, which the fit left alone: log loss among the others "
            f"{each.log_loss_among:.3f}"
        )
    if each.cumulative:
        parts = ", ".join(f">= {part.label} {part.error:.3f}" for part in each.cumulative)
        line += f"; ECE of P(grade) {parts}; {each.disordered} pictures out of order"
    return line


def draw_reliability(found: Sequence[HeadCalibration], title: str) -> Any:
    """Accuracy over confidence, before and after, one square per head; a bin's size is its pictures."""
    shown = [each for each in found if each.measured_after is not None]
    plot = new_plot(0.6 + 3.4 * max(1, len(shown)), 4.0)
    plot.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    for axes, each in zip(plot.subplots(1, max(1, len(shown)), squeeze=False)[0], shown, strict=False):
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle="--")
        for measured, colour, word in (
            (each.measured_before, AMBER, "before"),
            (each.measured_after, BLUE, "after"),
        ):
            if measured is not None:
                _reliability(axes, measured, colour, word)
        axes.set(xlim=(0.0, 1.02), ylim=(0.0, 1.02), aspect="equal")
        calm(axes, title=f"{each.head}: {each.outcome}", across="confidence", up="share that is right")
        axes.legend(loc="lower right", fontsize=8, frameon=False)
    if not shown:
        plot.text(
            0.5, 0.5, "nothing measured: too few pictures or groups", ha="center", fontsize=9, color=INK
        )
    return plot


def _reliability(axes: Any, measured: Measured, colour: str, word: str) -> None:
    axes.plot(
        [each.confidence for each in measured.bins],
        [each.right for each in measured.bins],
        marker="o", markersize=4, linewidth=1.4, color=colour,
        label=f"{word}: ECE {measured.error.value:.3f}",
    )  # fmt: skip


def draw_curves(
    curves: Mapping[str, Curve], points: Mapping[str, OperatingPoint | None], risk: float, title: str
) -> Any:
    """Risk over coverage per head and for the quality gate, with the stated risk and the chosen point."""
    plot = new_plot(0.6 + 3.4 * len(curves), 3.8)
    plot.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    for axes, (name, curve) in zip(
        plot.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        axes.plot(curve.coverage, curve.risk, color=BLUE, linewidth=1.6)
        axes.axhline(risk, color=ORANGE, linewidth=0.9, linestyle="--", label=f"stated risk {risk:g}")
        point = points[name]
        if point is not None:
            axes.errorbar(
                point.coverage, point.risk,
                yerr=[[max(0.0, point.risk - point.low)], [max(0.0, point.high - point.risk)]],
                fmt="o", color=GREEN, markersize=5, label=f"at {point.bound:.2f}, on other groups",
            )  # fmt: skip
        axes.set(xlim=(0, 1.02), ylim=(0, max(0.05, float(curve.risk.max()) * 1.15, risk * 1.3)))
        calm(axes, title=name, across="coverage: share answered", up="risk: share wrong of it")
        axes.legend(loc="upper left", fontsize=8, frameon=False)
    return plot


def write(report: object, plot: Any, out: Path, stem: str) -> tuple[Path, Path]:
    """A report as JSON and its picture; returns where they are."""
    out.mkdir(parents=True, exist_ok=True)
    json_path, png_path = out / f"{stem}.json", out / f"{stem}.png"
    json_path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    save(plot, png_path)
    return json_path, png_path


CAPTION = (
    f"95 % intervals from resampling groups. Every picture was measured with a scaling fitted on other groups; the bar "
    f"is an expected calibration error (ECE) of {BAR}; by chance: what perfect probabilities would show for so few."
)
