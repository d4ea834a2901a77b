"""Journeys: for each picture when it was made, captured, published, received; and what that says of a feed.

All four stamps are `time.monotonic_ns()`, which is one clock for all processes of a Linux machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline_bench.stamps import Rows64

Column = NDArray[np.int64]


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds over many pictures."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float

    def __str__(self) -> str:
        return f"{self.p50:.1f} / {self.p95:.1f} / {self.p99:.1f} / {self.max:.1f}"


@dataclass(frozen=True, slots=True)
class Journeys:
    """Pictures whose results were received, in the order of receiving; columns of equal length, nanoseconds."""

    number: Column
    made_ns: Column
    captured_ns: Column
    published_ns: Column
    received_ns: Column

    def between(self, from_ns: int, to_ns: int) -> Journeys:
        """Those that were received in a stretch of time."""
        chosen = (self.received_ns >= from_ns) & (self.received_ns < to_ns)
        return Journeys(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    @property
    def made_to_received_ms(self) -> NDArray[np.float64]:
        return (self.received_ns - self.made_ns) / 1e6

    def legs(self) -> dict[str, Times]:
        """The whole way and its parts."""
        ends = {
            "made to received": (self.made_ns, self.received_ns),
            "made to captured": (self.made_ns, self.captured_ns),
            "captured to published": (self.captured_ns, self.published_ns),
            "published to received": (self.published_ns, self.received_ns),
            "captured to received": (self.captured_ns, self.received_ns),
        }
        return {name: times((end - start) / 1e6) for name, (start, end) in ends.items()}


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Where the pictures are that were made from the first captured one to the last."""

    made: int
    left_out: int
    """Places in time at which none was made, because the sender still took the one before."""
    captured: int
    """Frames; a picture that came twice counts twice."""
    unreadable: int
    """Frames whose number could not be read."""
    repeated: int
    """Frames with a number that had come before."""
    reordered: int
    """Frames with a lower number than one that had come before."""
    never_captured: int
    """Pictures that were made and never became a frame."""
    received: int
    judged: int


def times(values_ms: NDArray[np.float64]) -> Times:
    """Percentiles; nan without values."""
    if not len(values_ms):
        return Times(count=0, p50=np.nan, p95=np.nan, p99=np.nan, max=np.nan)
    p50, p95, p99, most = (round(float(each), 3) for each in np.percentile(values_ms, (50, 95, 99, 100)))
    return Times(count=len(values_ms), p50=p50, p95=p95, p99=p99, max=most)


def journeys(made: Rows64, captured: Rows64, heard: Rows64) -> Journeys:
    """Join what three processes wrote down.

    Args:
        made: (N, 2) number, `made_ns`; from the sender.
        captured: (N, >= 4) frame, number, `captured_ns`, ...; from the tap.
        heard: (N, >= 5) frame, `captured_ns`, `published_ns`, received, ...; from the subscriber.
    """
    frame, captured_ns, published_ns, received_ns = heard[:, :4].T
    number, is_captured = _looked_up(frame, captured)
    made_ns, is_made = _looked_up(number, made)
    known = is_captured & is_made
    return Journeys(*(column[known] for column in (number, made_ns, captured_ns, published_ns, received_ns)))


def _looked_up(keys: Column, rows: Rows64) -> tuple[Column, NDArray[np.bool_]]:
    """By a row's first number its second; and where there is one."""
    if not len(rows):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
    rows = rows[
        np.argsort(rows[:, 0], kind="stable")
    ]  # pictures may come in another order than they were made
    places = np.minimum(np.searchsorted(rows[:, 0], keys), len(rows) - 1)
    return rows[places, 1], rows[places, 0] == keys


def account(made: Rows64, captured: Rows64, heard: Rows64) -> Account:
    """Count over one life of the sender; the arguments are those of `journeys`."""
    numbers = captured[:, 1][captured[:, 1] >= 0]
    sent = made[:, 0]
    within = sent[(sent >= numbers.min()) & (sent <= numbers.max())] if len(numbers) else sent[:0]
    return Account(
        made=len(within),
        left_out=int(within[-1] - within[0]) + 1 - len(within) if len(within) else 0,
        captured=len(captured),
        unreadable=int((captured[:, 1] < 0).sum()),
        repeated=len(numbers) - len(np.unique(numbers)),
        reordered=int((numbers[1:] < np.maximum.accumulate(numbers)[:-1]).sum()) if len(numbers) else 0,
        never_captured=len(np.setdiff1d(within, numbers)),
        received=len(heard),
        judged=int(heard[:, 4].sum()),
    )
