"""Frame: one picture of the signal, its number and its birth time."""

from __future__ import annotations

from dataclasses import dataclass

from scopeline.picture import Picture


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture as the source delivered it. Read-only for everybody after the source."""

    seq: int
    """Number of the frame in its source, from 0. It grows; a gap is a loss before us."""
    captured_ns: int
    """`time.monotonic_ns()` directly after the driver or decoder returned, before any conversion."""
    time_s: float
    """Stream time in seconds, from 0, strictly growing: what smoothing and segments reckon with.
    Derived from the stream's own time stamps, so that a recording gives the same tags at any speed."""
    picture: Picture
    """The decoded picture in its native pixel format and full size."""

    def __post_init__(self) -> None:
        if self.seq < 0 or self.time_s < 0:
            raise ValueError(f"seq and time_s start at 0, got seq {self.seq}, time_s {self.time_s}")
