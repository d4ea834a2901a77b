"""Schedules: how the learning rate goes on, as factors of the rate that a recipe names. Parts of a recipe."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

Per = Literal["epoch", "step"]
"""When a schedule moves on: after each epoch, or after each batch."""


class Constant(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="constant"
):
    """The rate stays."""


class Cosine(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="cosine"
):
    """Half a cosine from the rate down to the floor, and up again the same way if the fit lasts longer.

    Study S2: period 10, floor 1e-5, 30 epochs, so down, up and down. (Its notebooks meant that, and moved the schedule
    on once, after the last epoch.)
    """

    floor: float = 0.0
    """Lowest rate."""
    period: int | None = None
    """Epochs or steps from top to floor; the whole fit if None."""
    per: Per = "epoch"


class WarmRestarts(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="warm_restarts",
):
    """Up in a straight line from the floor to the rate, half a cosine down to the floor, and again (Loshchilov and
    Hutter 2017, SGDR, with the warm-up of study S2's MobileNetV2: floor 1e-5, rate 1e-2)."""

    floor: float = 1e-5
    period: int = 10
    """Epochs or steps of the first cycle, its warm-up included."""
    warm_up: int = 1
    """Epochs or steps from floor to top, in every cycle."""
    growth: int = 1
    """The falling part of each cycle is so many times as long as that before."""
    decay: float = 1.0
    """The top of each cycle is so many times as high as that before."""
    per: Per = "epoch"


class Plateau(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="plateau"
):
    """The rate falls when the validation loss no longer does (LIMUC's recipe: factor 0.2, patience 15)."""

    factor: float = 0.2
    patience: int = 15
    """Epochs without a better loss before the rate falls."""
    floor: float = 0.0


Schedule = Constant | Cosine | WarmRestarts | Plateau
"""The `[fit.schedule]` table, told apart by `kind`."""


def rate_at(schedule: Constant | Cosine | WarmRestarts, position: int, *, top: float, total: int) -> float:
    """The rate after so many epochs or steps.

    Args:
        schedule: Which curve.
        position: Epochs or steps done, from 0.
        top: The rate that the recipe names.
        total: Epochs or steps of the whole fit.
    """
    if isinstance(schedule, Constant):
        return top
    if isinstance(schedule, Cosine):
        return _fall(position / (schedule.period or max(total, 1)), top, schedule.floor)
    length, begun = schedule.period, 0
    while position - begun >= length:
        begun += length
        length = (length - schedule.warm_up) * schedule.growth + schedule.warm_up
        top *= schedule.decay
    into = position - begun
    if into < schedule.warm_up:
        return schedule.floor + (top - schedule.floor) * into / schedule.warm_up
    return _fall((into - schedule.warm_up) / (length - schedule.warm_up), top, schedule.floor)


def _fall(share: float, top: float, floor: float) -> float:
    return floor + (top - floor) * (1 + math.cos(math.pi * share)) / 2
