"""Latency: times per stage, kept as a histogram of bounded size, told as percentiles."""

from __future__ import annotations

import math

_STEPS_PER_DOUBLING = 32
"""Neighbouring bins differ by 2.2 %: finer than the noise of any run, and 1000 bins reach from 1 us to an hour."""
_SMALLEST_MS = 1e-3


class LatencyHistogram:
    """Milliseconds, counted in logarithmic bins: any number of samples, constant memory, error below 2.2 %."""

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}
        self.count = 0
        self.max_ms = 0.0

    def add(self, value_ms: float) -> None:
        """Count one sample."""
        place = math.ceil(math.log2(max(value_ms, _SMALLEST_MS) / _SMALLEST_MS) * _STEPS_PER_DOUBLING)
        self._bins[place] = self._bins.get(place, 0) + 1
        self.count += 1
        self.max_ms = max(self.max_ms, value_ms)

    def percentile(self, share: float) -> float:
        """The smallest bin edge below which at least `share` (0..1) of the samples lie; nan without samples."""
        if not self.count:
            return math.nan
        wanted, seen = share * self.count, 0
        for place in sorted(self._bins):
            seen += self._bins[place]
            if seen >= wanted:
                return min(_SMALLEST_MS * 2 ** (place / _STEPS_PER_DOUBLING), self.max_ms)
        return self.max_ms

    def summary(self) -> dict[str, float]:
        """p50, p95, p99 and max in milliseconds; empty without samples."""
        if not self.count:
            return {}
        shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        return {name: round(self.percentile(share), 3) for name, share in shares.items()} | {
            "max": round(self.max_ms, 3)
        }
