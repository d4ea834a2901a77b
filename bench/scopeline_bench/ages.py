"""Ages: how old results were when they were received, as figures that do not flatter.

Age counts from the moment the driver returned the picture, never from the start of the read that waited for it: a
source's own pace cannot leak in. Percentiles go to 99.9 and carry the interval that a moving-block bootstrap gives
(Künsch 1989): neighbouring frames are disturbed by the same thing, and resampling them one by one would promise
intervals that are too narrow.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

SHARES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
_RESAMPLES = 300
_CURVE_POINTS = 240

Milliseconds = NDArray[np.float64]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One percentile and the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1f} ({self.low:.1f}-{self.high:.1f})"


class Second(msgspec.Struct, frozen=True, kw_only=True):
    """The results of one second."""

    at_s: float
    p50: float
    max: float


class Ages(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds over the results of one run."""

    count: int
    figures: dict[str, Figure]
    """By the names of `SHARES`."""
    max: float
    mean: float
    jitter: float
    """Mean difference between the ages of neighbours."""
    interval_p99: float
    """99th percentile of how far the time between two results lies from the feed's period."""
    tail: float
    """p100 - p95, as HoloHub's flow benchmark calls it."""
    flatness: float
    """p90 - p10."""
    curve: list[tuple[float, float]]
    """Points (age, share of results that are no older) of the distribution."""
    seconds: list[Second]

    def __getitem__(self, name: str) -> float:
        return self.figures[name].value


def ages(age_ms: Milliseconds, received_ns: NDArray[np.int64], *, period_s: float, seed: int = 0) -> Ages:
    """The figures of one run's results.

    Args:
        age_ms: In the order of receiving; at least two.
        received_ns: When each was received.
        period_s: Time between two pictures of the feed.
        seed: Of the resampling.
    """
    block = max(1, round(1 / period_s))
    p10, p90, p95 = np.percentile(age_ms, (10, 90, 95))
    gaps_ms = np.diff(received_ns) / 1e6
    return Ages(
        count=len(age_ms),
        figures=_figures(age_ms, block, np.random.default_rng(seed)),
        max=_rounded(age_ms.max()),
        mean=_rounded(age_ms.mean()),
        jitter=_rounded(np.abs(np.diff(age_ms)).mean()),
        interval_p99=_rounded(np.percentile(np.abs(gaps_ms - period_s * 1e3), 99)),
        tail=_rounded(age_ms.max() - p95),
        flatness=_rounded(p90 - p10),
        curve=distribution(age_ms),
        seconds=_seconds(age_ms, received_ns),
    )


def _figures(age_ms: Milliseconds, block: int, rng: np.random.Generator) -> dict[str, Figure]:
    shares = list(SHARES.values())
    values = np.percentile(age_ms, shares)
    blocks = -(-len(age_ms) // block)
    starts = rng.integers(0, max(1, len(age_ms) - block + 1), (_RESAMPLES, blocks))
    places = (starts[..., None] + np.arange(block)).reshape(_RESAMPLES, -1)[:, : len(age_ms)]
    again = np.stack([np.percentile(age_ms[np.minimum(row, len(age_ms) - 1)], shares) for row in places])
    low, high = np.percentile(again, (2.5, 97.5), axis=0)
    return {
        name: Figure(value=_rounded(values[k]), low=_rounded(low[k]), high=_rounded(high[k]))
        for k, name in enumerate(SHARES)
    }


def distribution(age_ms: Milliseconds) -> list[tuple[float, float]]:
    """Points (age, share that is no older), dense where the tail is: half of them lie above the 95th percentile."""
    if not len(age_ms):
        return []
    shares = np.unique(
        np.concatenate(
            [
                np.linspace(0, 0.95, _CURVE_POINTS // 2),
                1 - np.geomspace(0.05, 1 / len(age_ms), _CURVE_POINTS // 2),
                [1],
            ]
        )
    )
    return [
        (_rounded(value), round(float(share), 6))
        for value, share in zip(np.quantile(age_ms, shares), shares, strict=True)
    ]


def _seconds(age_ms: Milliseconds, received_ns: NDArray[np.int64]) -> list[Second]:
    second = (received_ns - received_ns[0]) // 1_000_000_000
    found = []
    for each in np.unique(second):
        chosen = age_ms[second == each]
        found.append(Second(at_s=float(each), p50=_rounded(np.median(chosen)), max=_rounded(chosen.max())))
    return found


def _rounded(value: float) -> float:
    return round(float(value), 3)
