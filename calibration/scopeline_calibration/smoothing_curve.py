"""The smoothing curve: what steadiness costs in time, over settings of both smoothers, and which point is taken.

Every setting trades flips for delay. A setting stands on the curve when no other one has both no more flips and no
longer a time to the first stable tag. Misses are part of the cost: a missed episode counts with its whole length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from scopeline.smoothing import SmoothingSettings
from scopeline_calibration.labelled_sequence import LabelledSequence
from scopeline_calibration.smoothing_point import SmoothingPoint, measure

SCORE_SLACK = 1.0
"""Scores that differ by less are alike: the score of 24 procedures moves by that much from one draw to another."""

_CONFIRM_S = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
_FEWER = (2.0, 4.0, 6.0)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a point has to keep to be taken, whatever its scores."""

    most_missed: float
    """Share of true episodes, 0..1, that may be missed."""
    flips_of_truth: float | None = None
    """Flips at most, as a multiple of the truth's own; None asks nothing."""
    quick_for: str | None = None
    """Group of sequences that has to be quick; None asks none to be."""
    p50_s: float = 5.0
    """That group's time to the first stable tag (acceptance H2)."""
    p90_s: float = 10.0

    def hold(self, point: SmoothingPoint) -> bool:
        """Whether a point keeps within them."""
        if point.missed_share > self.most_missed:
            return False
        most_flips = self.flips_of_truth
        if most_flips is not None and point.flips_per_1000 > most_flips * point.true_flips_per_1000:
            return False
        if self.quick_for is None:
            return True
        delays = point.by_group[self.quick_for]
        return (
            delays.p50_s is not None
            and delays.p90_s is not None
            and delays.p50_s <= self.p50_s
            and delays.p90_s <= self.p90_s
        )

    def __str__(self) -> str:
        missed = f"misses at most {100 * self.most_missed:g} %"
        if self.flips_of_truth is not None:
            missed += f"; flips at most {self.flips_of_truth:g} times the truth's own"
        if self.quick_for is None:
            return missed
        return f"{missed}; at {self.quick_for} a stable tag within {self.p50_s:g} s (p50) and {self.p90_s:g} s (p90)"


class SmoothingCurve(msgspec.Struct, frozen=True, kw_only=True):
    """All points that were measured, and what follows from them."""

    points: tuple[SmoothingPoint, ...]
    on_curve: tuple[bool, ...]
    chosen: int
    """Index of the point taken."""
    default: int
    """Index of the library's default for this role."""
    bounds: Bounds
    within_bounds: bool
    """Whether any point keeps the bounds; if none does, those that miss fewest are chosen from."""

    @property
    def default_is_on_curve(self) -> bool:
        return self.on_curve[self.default]


def settings_grid(base: SmoothingSettings) -> list[SmoothingSettings]:
    """The settings to try around a role's default, which is one of them, for both methods."""
    changes: list[dict[str, str | float]] = [{"confirm_s": confirm_s} for confirm_s in _CONFIRM_S]
    changes += [{"tau_s": 3.0, "confirm_s": c} for c in _FEWER]
    changes += [{"allowance": nats, "confirm_s": c} for nats in (0.35, 1.4) for c in _FEWER]
    changes += [{"young": young, "confirm_s": 4.0} for young in (0.0, 1.0, 2.0, 3.0) if young != base.young]
    changes += [
        {"method": "hmm", "evidence_per_s": per_s, "confirm_s": c} for per_s in (0.25, 0.5) for c in _FEWER
    ]
    ema = msgspec.structs.replace(base, method="ema")
    settings = [msgspec.structs.replace(ema, **change) for change in changes]
    return settings if base in settings else [base, *settings]


def measure_curve(
    base: SmoothingSettings,
    sequences: Sequence[LabelledSequence],
    *,
    bounds: Bounds,
    done: Callable[[], object] = lambda: None,
) -> SmoothingCurve:
    """Measure every setting of the grid and choose one.

    Args:
        base: The default of the head's role.
        sequences: What to choose on.
        bounds: What the chosen setting has to keep.
        done: Called after each setting.
    """
    points: list[SmoothingPoint] = []
    for settings in settings_grid(base):
        points.append(measure(settings, sequences))
        done()
    on_curve = curve_of(points)
    chosen, within = choose(points, on_curve, bounds)
    default = next(index for index, point in enumerate(points) if point.settings == base)
    return SmoothingCurve(
        points=tuple(points),
        on_curve=tuple(on_curve),
        chosen=chosen,
        default=default,
        bounds=bounds,
        within_bounds=within,
    )


def curve_of(points: Sequence[SmoothingPoint]) -> list[bool]:
    """For each point, whether no other is at least as steady and as fast, and better in one of the two."""
    return [not any(_beats(other, point) for other in points) for point in points]


def choose(points: Sequence[SmoothingPoint], on_curve: Sequence[bool], bounds: Bounds) -> tuple[int, bool]:
    """The point to take, and whether it keeps the bounds.

    On the curve, within the bounds: the best mean of edit score and F1@50; of those within a point of the best, the
    one with the shortest time to the first stable tag.
    """
    standing = [index for index, stands in enumerate(on_curve) if stands]
    allowed = [index for index in standing if bounds.hold(points[index])]
    if not allowed:
        fewest = min(points[index].missed for index in standing)
        allowed_anyway = [index for index in standing if points[index].missed == fewest]
        return _best(points, allowed_anyway), False
    return _best(points, allowed), True


def _best(points: Sequence[SmoothingPoint], among: Sequence[int]) -> int:
    best = max(points[index].score for index in among)
    alike = [index for index in among if points[index].score >= best - SCORE_SLACK]
    return min(alike, key=lambda index: points[index].delay_s)


def _beats(one: SmoothingPoint, other: SmoothingPoint) -> bool:
    flips, delay_s = one.flips_per_1000, one.delay_s
    no_worse = flips <= other.flips_per_1000 and delay_s <= other.delay_s
    return no_worse and (flips < other.flips_per_1000 or delay_s < other.delay_s)
