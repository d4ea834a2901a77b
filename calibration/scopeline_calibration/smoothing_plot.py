"""The smoothing curve as a picture: what each setting gains, and beside it what that costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scopeline_calibration.plot_look import BLUE, INK, ORANGE, QUIET, calm, new_plot, save
from scopeline_calibration.smoothing_curve import SmoothingCurve
from scopeline_calibration.smoothing_point import SmoothingPoint

_COLOURS = {"ema": BLUE, "hmm": ORANGE}
_ALONE = ((30, 34), (34, -44), (-40, 60))
"""Where the label stands, in points from its own, when default and chosen point are one; by panel, off the curve."""


def draw_curve(curve: SmoothingCurve, path: Path, *, title: str) -> None:
    """Three panels over the time to the first stable tag: flips, segment scores, misses and false tags. As PNG.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    plot = new_plot(12.5, 4.4)
    panels: tuple[tuple[str, str, Callable[[SmoothingPoint], float]], ...] = (
        ("Gain: flips per 1000 frames", "flips per 1000", lambda point: point.flips_per_1000),
        ("Gain: segments", "mean of edit score and F1@50", lambda point: point.score),
        ("Cost: false tags", "seconds per minute", lambda point: point.false_s_per_minute),
    )
    for place, (heading, up, value) in enumerate(panels, start=1):
        axes = plot.add_subplot(1, 3, place)
        calm(axes, title=heading, across="mean time to first stable tag, s (a miss counts whole)", up=up)
        _points(axes, curve, value, _ALONE[place - 1])
        if place == 1:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
            axes.tick_params(axis="y", which="both", labelsize=8, labelcolor=QUIET)
            truth = curve.points[curve.default].true_flips_per_1000
            axes.axhline(truth, color=QUIET, linewidth=0.8, linestyle=":")
            axes.annotate(
                "the truth's own",
                (axes.get_xlim()[1], truth),
                ha="right",
                va="bottom",
                fontsize=7,
                color=QUIET,
            )
            axes.legend(fontsize=8, frameon=False, loc="upper right")
    worst = max(point.missed for point in curve.points)
    plot.suptitle(
        f"{title}; missed episodes {curve.points[curve.chosen].missed} at the chosen point, {worst} at most, of "
        f"{curve.points[curve.default].episodes}",
        fontsize=11, color=INK, x=0.01, ha="left",
    )  # fmt: skip
    save(plot, path)


def _points(
    axes: Any, curve: SmoothingCurve, value: Callable[[SmoothingPoint], float], alone: tuple[int, int]
) -> None:
    for method, colour in _COLOURS.items():
        for stands in (False, True):
            kept = [
                point
                for point, on in zip(curve.points, curve.on_curve, strict=True)
                if on == stands and point.settings.method == method
            ]
            axes.scatter(
                [point.delay_s for point in kept],
                [value(point) for point in kept],
                s=34 if stands else 22,
                facecolors=colour if stands else "none",
                edgecolors=colour,
                linewidths=1.0,
                label=f"{method}, {'on' if stands else 'beside'} the curve" if kept else None,
            )
    line = sorted(
        ((point.delay_s, value(point)) for point, on in zip(curve.points, curve.on_curve, strict=True) if on)
    )
    axes.plot([x for x, _ in line], [y for _, y in line], color=QUIET, linewidth=0.8, zorder=0)
    marks = [(curve.points[curve.default], "default"), (curve.points[curve.chosen], "chosen")]
    if curve.default == curve.chosen:
        marks = [(curve.points[curve.default], "default, chosen")]
    for is_later, (point, label) in enumerate(sorted(marks, key=lambda mark: mark[0].delay_s)):
        axes.annotate(
            label,
            (point.delay_s, value(point)),
            xytext=alone if len(marks) == 1 else (14, 16) if is_later else (-46, -24),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.8},
        )
