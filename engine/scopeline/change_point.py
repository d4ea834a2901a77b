"""Where one tag gave way to another: the maximum-likelihood change point between two known states."""

from __future__ import annotations

from collections.abc import Sequence


def change_point(gains: Sequence[float], *, latest: bool = False) -> int:
    """Index of the first frame of the new state, 0..len(gains).

    `gains` is per frame how much better the new state explains it than the old one, in (weighted) nats. The
    change point is where the running sum is smallest: everything before speaks for the old, everything after
    for the new. Among equals (frames without evidence) the earliest, or the latest if asked.
    """
    best, best_sum, running = 0, 0.0, 0.0
    for index, gain in enumerate(gains, start=1):
        running += gain
        if running < best_sum or (latest and running == best_sum):
            best, best_sum = index, running
    return best
