"""Smoothing check: does a setting hold on sequences that it was not chosen on: acceptance rows H1, H2 and H3."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scopeline.segment_metrics import flips_per_1000
from scopeline.smoothing import SmoothingSettings
from scopeline_calibration.labelled_sequence import simulated_places, still_scenes
from scopeline_calibration.smoothing_point import SmoothingPoint, measure, smoothed_tags
from scopeline_calibration.smoothing_suite import Row


def held_out_rows(
    settings: SmoothingSettings,
    *,
    weak: float,
    strong: float,
    seeds: Sequence[int],
    still_seeds: Sequence[int],
    done: Callable[[], object] = lambda: None,
) -> tuple[tuple[Row, ...], tuple[SmoothingPoint, SmoothingPoint]]:
    """H1 at the weak head's accuracy (0..1), H2 at the strong one's, H3 in still scenes at both.

    Returns:
        The rows, and the figures at the weak and the strong level behind them.
    """
    at_weak = measure(settings, simulated_places((weak,), seeds))
    done()
    at_strong = measure(settings, simulated_places((strong,), seeds))
    done()
    flips = 0
    for scene in still_scenes((weak, strong), still_seeds):
        tags = smoothed_tags(settings, scene)
        flips += round(flips_per_1000(tags) * len(tags) / 1000)
    done()
    inf = float("inf")
    p50_s, p90_s = at_strong.delay_p50_s, at_strong.delay_p90_s
    rows = (
        Row("H1", f"edit score at {weak:.1%}", at_weak.edit, 75.0),
        Row("H1", f"F1@50 at {weak:.1%}", at_weak.f1_50, 55.0),
        Row("H1", f"flips per 1000 at {weak:.1%}", at_weak.flips_per_1000, 2.0, at_most=True),
        Row(
            "H2",
            f"time to stable tag p50 at {strong:.1%}, s",
            inf if p50_s is None else p50_s,
            5.0,
            at_most=True,
        ),
        Row(
            "H2",
            f"time to stable tag p90 at {strong:.1%}, s",
            inf if p90_s is None else p90_s,
            10.0,
            at_most=True,
        ),
        Row("H3", f"flips in {4 * len(still_seeds)} still scenes of 60 s", float(flips), 0.0, at_most=True),
    )
    return rows, (at_weak, at_strong)
