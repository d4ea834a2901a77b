"""Precision report: a verdict of the parity gate as a table on the screen, as JSON and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from scopeline.parity import Check, ParityRow, ParityVerdict
from scopeline.proof import Proof
from scopeline_calibration.plot_look import BLUE, INK, ORANGE, QUIET, calm, new_plot, save

_SAID: dict[Check, str] = {
    "not_a_number": "values that are NaN or Inf",
    "max_difference": "largest difference of a probability",
    "p999_difference": "99.9th percentile of differences",
    "same_label": "frames with the same label",
    "same_sure_label": "the same where FP32 leads by 0.02",
    "mask_dice": "Dice of the masks",
    "same_tags": "clips with the same tags, smoothed",
    "qwk_change": "change of quadratic kappa",
    "auroc_change": "change of AUROC",
    "ece_change": "change of calibration error",
    "dice_change": "change of Dice with the truth",
}
_DIFFERENCES = ("max_difference", "p999_difference")
_CHANGES = ("qwk_change", "auroc_change", "ece_change", "dice_change")
_SHARES = ("same_label", "same_sure_label", "mask_dice", "same_tags")


def verdict_table(proof: Proof) -> Table:
    """One line per check and head."""
    verdict = proof.verdict
    said = "[bold green]passed[/]" if verdict.passed else "[bold red]refused[/]"
    table = Table(
        title=f"{verdict.bundle}: {verdict.candidate} against {verdict.reference}: {said}",
        caption=f"{proof.shown}; batches {', '.join(map(str, verdict.batches))}; {proof.runtime} on {proof.processor}",
    )
    for column in ("check", "head", "figure", "bar", "worst at batch", ""):
        table.add_column(column, justify="right" if column in ("figure", "bar", "worst at batch") else "left")
    for row in verdict.rows:
        is_share = row.check in _SHARES
        table.add_row(
            _SAID[row.check],
            row.head,
            _figure(row, row.figure),
            ("≥ " if is_share else "≤ ") + _figure(row, row.bar),
            str(row.batch),
            "[green]ok[/]" if row.passed else "[red]missed[/]",
        )
    return table


def write_report(proof: Proof, out: Path, *, blamed: str | None) -> tuple[Path, Path]:
    """The JSON and the picture of a verdict; returns where they are."""
    verdict = proof.verdict
    stem = f"precision-{verdict.bundle}-{verdict.candidate.replace('/', '-').replace(':', '.')}"
    out.mkdir(parents=True, exist_ok=True)
    report = {"passed": verdict.passed, "blamed": blamed, "proof": proof}
    json_path, png_path = out / f"{stem}.json", out / f"{stem}.png"
    json_path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    save(draw_verdict(verdict), png_path)
    return json_path, png_path


def draw_verdict(verdict: ParityVerdict) -> Any:
    """Differences on a logarithmic axis, disagreements beside them; a tick marks each bar."""
    plot = new_plot(9.0, 1.4 + 0.16 * len(verdict.rows))
    said = "passed" if verdict.passed else "refused"
    plot.suptitle(
        f"{verdict.bundle}: {verdict.candidate} against {verdict.reference}, "
        f"{verdict.frames} frames: {said} (ticks are the bars)",
        x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK,
    )  # fmt: skip
    left, right = plot.subplots(1, 2)
    differences = [row for row in verdict.rows if row.check in _DIFFERENCES + _CHANGES]
    _lollipops(
        left, differences, [max(row.figure, 1e-8) for row in differences], [row.bar for row in differences]
    )
    left.set_xscale("log")
    left.set_xlim(5e-9, 2.0)
    calm(left, title="Difference of probabilities, change of scores", across="absolute difference", up="")
    shares = [row for row in verdict.rows if row.check in _SHARES]
    _lollipops(
        right, shares, [100 * (1 - row.figure) for row in shares], [100 * (1 - row.bar) for row in shares]
    )
    right.set_xlim(-0.02, max(0.6, *(110 * (1 - row.figure) for row in shares)) if shares else 1)
    calm(right, title="Disagreement", across="per cent", up="")
    return plot


def _lollipops(axes: Any, rows: list[ParityRow], values: list[float], bars: list[float]) -> None:
    for place, (row, value, bar) in enumerate(zip(rows, values, bars, strict=True)):
        colour = BLUE if row.passed else ORANGE
        axes.plot(value, place, "o", color=colour, markersize=5)
        axes.plot(bar, place, "|", color=QUIET, markersize=12, markeredgewidth=1.6)
    axes.set_yticks(range(len(rows)), [f"{row.head}: {_short(row.check)}" for row in rows])
    axes.invert_yaxis()


def _short(check: Check) -> str:
    return check.replace("p999", "99.9 %").replace("max", "largest").replace("_", " ")


def _figure(row: ParityRow, value: float) -> str:
    if row.check == "not_a_number":
        return f"{value:.0f}"
    if row.check in _DIFFERENCES + _CHANGES:
        return f"{value:.1e}" if 0 < value < 1e-3 else f"{value:.4f}"
    return f"{100 * value:.2f} %"
