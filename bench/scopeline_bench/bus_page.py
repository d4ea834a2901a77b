"""Bus page: what `bench bus` found, its tables, charts and notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from scopeline.wire import STALE_AFTER_NS
from scopeline_bench.bus_ends import RATE_HZ, SLOWER, Kind
from scopeline_bench.chart import Axis, Curve, Mark, above, line_chart
from scopeline_bench.filed import Filed
from scopeline_bench.journeys import Times, times
from scopeline_bench.machine import Machine, load
from scopeline_bench.page import verdict
from scopeline_bench.range_chart import Dot, Row, range_chart
from scopeline_bench.report import Rows, describe

NAMES: Final[dict[Kind, str]] = {
    "latest": "Scopeline, Subscriber.take_newest",
    "ordered": "Scopeline, every message in order",
    "plain": "plain PUB/SUB, JSON",
    "imagezmq": "imagezmq PUB/SUB, 640x480 pictures",
}


_SHORT: Final[dict[Kind, str]] = {
    "latest": "Scopeline, newest",
    "ordered": "Scopeline, in order",
    "plain": "plain PUB/SUB",
    "imagezmq": "imagezmq",
}
_IN_ORDER: Final[tuple[Kind, ...]] = ("ordered", "plain", "imagezmq")
"""These grow old alike: their curves lie on each other and are drawn in turn."""


class BusRun(msgspec.Struct, frozen=True, kw_only=True):
    """One publisher and one subscriber."""

    kind: Kind
    keeps_up_ms: Times
    """Published to received, by a subscriber that keeps up."""
    missed: int
    """Messages that it did not get."""
    slow: list[tuple[float, float]]
    """Second and age in ms of what the slow subscriber was given."""
    skipped: int
    """Frames that the slow one passed over knowingly."""
    messages_s: float | None
    """Received per second, sent as fast as it goes."""

    @property
    def oldest_ms(self) -> float:
        return max((age for _, age in self.slow), default=0.0)


def is_as_wanted(runs: Sequence[BusRun]) -> bool:
    """Who keeps up missed nothing; the slow one that asks for the newest saw nothing stale."""
    ours = {run.kind: run for run in runs}
    is_fresh = ours["latest"].oldest_ms * 1e6 <= STALE_AFTER_NS
    return is_fresh and not ours["latest"].missed and not ours["ordered"].missed


def bus_filed(runs: Sequence[BusRun], seconds: float, version: str | None, machine: Machine) -> Filed:
    """What is shown and kept.

    Args:
        runs: One per bus.
        seconds: How long the slow subscriber read.
        version: Of imagezmq; None when it is not installed.
        machine: Where.
    """
    newest = next(run for run in runs if run.kind == "latest")
    says = (
        f"A subscriber {SLOWER:g} times too slow that asks Scopeline for the newest saw nothing older than "
        f"{newest.oldest_ms:.0f} ms and knew of the {newest.skipped} frames it passed over; subscribers that keep up "
        f"missed {sum(run.missed for run in runs)} messages."
    )
    return Filed(
        name="bus",
        title="Scopeline: the bus",
        lead=f"{RATE_HZ:g} messages/s, publisher and subscriber in processes of their own.",
        machine=machine,
        tables=[bus_table(runs)],
        notes=_notes(runs, seconds, version, machine),
        figures={"runs": runs},
        before=[verdict(says, is_good=is_as_wanted(runs))],
        charts={"A subscriber that is too slow": [age_chart(runs)], "One that keeps up": [delay_chart(runs)]},
    )


def delay_chart(runs: Sequence[BusRun]) -> str:
    """Percentiles of the delay to a subscriber that keeps up."""
    found = [run.keeps_up_ms for run in runs]
    rows = [
        Row(
            name=_SHORT[run.kind],
            dots=[Dot(value, value, value) for value in (each.p50, each.p95, each.p99, each.max)],
        )
        for run, each in zip(runs, found, strict=True)
    ]
    return range_chart(
        "published to received by a subscriber that keeps up",
        rows,
        Axis(
            "ms",
            min(each.p50 for each in found) * 0.7,
            max(each.max for each in found) * 1.3,
            logarithmic=True,
        ),
        legend=("p50", "p95", "p99", "max"),
    )


def bus_table(runs: Sequence[BusRun]) -> Rows:
    rows = []
    for run in runs:
        slow = times_of(run)
        speed = "" if run.messages_s is None else f"{run.messages_s:,.0f}"
        end = run.slow[-1][1] if run.slow else float("nan")
        rows.append(
            (
                NAMES[run.kind],
                f"{run.keeps_up_ms.p50:.2f} / {run.keeps_up_ms.p99:.2f}",
                f"{run.missed}",
                speed,
                f"{slow.p50:.0f} / {slow.max:.0f}",
                f"{end:.0f}",
                f"{run.skipped}",
            )
        )
    return Rows(
        title=f"{RATE_HZ:g} messages/s to a subscriber that keeps up, and to one {SLOWER:g} times too slow",
        columns=(
            "bus",
            "delay p50 / p99, ms",
            "missed",
            "messages/s at most",
            "too slow: age p50 / max, ms",
            "at the end",
            "passed over",
        ),
        rows=tuple(rows),
    )


def times_of(run: BusRun) -> Times:
    """Ages that the slow subscriber saw."""
    return times(np.array([age for _, age in run.slow]))


def age_chart(runs: Sequence[BusRun]) -> str:
    """Age against time: the picture for the README."""
    end_s = max(run.slow[-1][0] for run in runs if run.slow)
    return line_chart(
        f"How old is what a subscriber sees that is {SLOWER:g} times too slow?",
        [
            Curve(
                NAMES[run.kind],
                [(at_s, age / 1e3) for at_s, age in run.slow],
                turn=(_IN_ORDER.index(run.kind), len(_IN_ORDER)) if run.kind in _IN_ORDER else None,
            )
            for run in runs
        ],
        Axis("seconds since the first message", 0, round(end_s)),
        Axis("age, s", 0, above(max(run.oldest_ms for run in runs) / 1e3)),
        [Mark("stale after 0.5 s", STALE_AFTER_NS / 1e9, upright=False)],
    )


def _notes(runs: Sequence[BusRun], seconds: float, version: str | None, machine: Machine) -> list[str]:
    ordered = next(run for run in runs if run.kind == "ordered")
    return [
        f"{seconds:g} s, publisher and subscriber in processes of their own, Unix sockets. Scopeline sends a frame "
        "message like the colon bundle's; plain PUB/SUB sends and decodes the same bytes; imagezmq a raw picture.",
        "What is read in order grows old in every bus: in Scopeline's too, whose messages carry their time of capture, "
        f"so that StaleView tells. It was {ordered.oldest_ms / 1e3:.1f} s behind at most; take_newest passes frames "
        "over and counts them.",
        f"imagezmq {version}."
        if version
        else "imagezmq: NOT RUN, not installed (python bench/peers/make.py FOLDER imagezmq)",
        describe(machine, load()),
    ]
