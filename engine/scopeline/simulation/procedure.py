"""Procedure: what happens when in a simulated withdrawal, and the truth of every frame.

Pure and seeded: the same seed gives the same procedure on every machine. The course follows a withdrawal:
outside, ascending colon, down to the rectum, outside. The Mayo sub-score (MES, 0-3) is
constant per segment.
"""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from scopeline.simulation.screen import LAYOUTS, screen_named

ORGANS = ("outside", "rectum", "sigmoid", "descending", "transverse", "ascending")
"""What the scope can be in; the order is the organ head's."""
MES_GRADES = (0, 1, 2, 3)
KINDS = ("blur", "red_out", "bubbles", "glare", "dark", "fog", "freeze", "black")
"""What can spoil the picture for a moment."""

_COURSE = ("outside", "ascending", "transverse", "descending", "sigmoid", "rectum", "outside")
_KIND_WEIGHTS = (0.26, 0.18, 0.16, 0.12, 0.10, 0.10, 0.05, 0.03)
_KINDS_OUTSIDE = ("blur", "glare", "dark", "freeze", "black")
_REFERENCE_S = 180.0
_SEGMENT_MIN_S = 12.0  # of a procedure of 180 s; scaled for others
_STATIC_S = (10.5, 15.0)  # likewise
_BURST_S = (0.3, 2.0)
_BURST_GAP_S = 0.4
_SPOILT_SHARE = (0.17, 0.23)
_SPOILT_MAX = 0.30  # of one segment: a third is never reached
_EXCURSION_CHANCE = 0.5


@dataclass(frozen=True, slots=True)
class TrueSegment:
    """One stretch of the procedure in one place."""

    organ: str
    start_s: float
    end_s: float
    mes: int | None
    """0-3; None outside the body."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A moment in which the picture cannot be judged."""

    kind: str
    """One of KINDS."""
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What one frame really shows."""

    seq: int
    time_s: float
    organ: str
    mes: int | None
    usable: bool
    disturbance: str | None
    static: bool
    """The scope is held still."""


@dataclass(frozen=True, slots=True)
class Procedure:
    """A whole simulated withdrawal, without its pictures."""

    seed: int
    fps: float
    duration_s: float
    width: int
    height: int
    screen: str
    """Name of the processor's screen, see `scopeline.simulation.screen.LAYOUTS`."""
    segments: tuple[TrueSegment, ...]
    """In order, without gaps."""
    disturbances: tuple[Disturbance, ...]
    """In order, apart from each other, each within one segment."""
    static_stretches: tuple[tuple[float, float], ...]
    """Start and end in seconds of the stretches in which the scope is held still; undisturbed."""

    def __post_init__(self) -> None:
        if self.fps <= 0 or self.duration_s <= 0 or not self.segments:
            raise ValueError(
                f"a procedure needs fps, a duration and segments, got {self.fps} fps, {self.duration_s} s, "
                f"{len(self.segments)} segments"
            )

    @property
    def frame_count(self) -> int:
        return int(self.duration_s * self.fps + 1e-6)

    def segment_at(self, time_s: float) -> TrueSegment:
        """The segment that a moment belongs to; the last one from its start on."""
        index = bisect_right(self.segments, time_s, key=lambda segment: segment.start_s) - 1
        return self.segments[max(index, 0)]

    def disturbance_at(self, time_s: float) -> Disturbance | None:
        index = bisect_right(self.disturbances, time_s, key=lambda disturbance: disturbance.start_s) - 1
        if index < 0 or time_s >= self.disturbances[index].end_s:
            return None
        return self.disturbances[index]

    def truth_at(self, index: int) -> FrameTruth:
        """The truth of frame `index`.

        Raises:
            IndexError: there is no such frame.
        """
        if not 0 <= index < self.frame_count:
            raise IndexError(f"the procedure has frames 0..{self.frame_count - 1}, got {index}")
        time_s = index / self.fps
        segment, disturbance = self.segment_at(time_s), self.disturbance_at(time_s)
        return FrameTruth(
            seq=index,
            time_s=time_s,
            organ=segment.organ,
            mes=segment.mes,
            usable=disturbance is None,
            disturbance=disturbance.kind if disturbance else None,
            static=any(start_s <= time_s < end_s for start_s, end_s in self.static_stretches),
        )

    def truths(self) -> Iterator[FrameTruth]:
        return (self.truth_at(index) for index in range(self.frame_count))


def simulate_procedure(
    *,
    seed: int = 0,
    duration_s: float = _REFERENCE_S,
    fps: float = 25.0,
    width: int = 960,
    height: int = 720,
    screen: str | None = None,
) -> Procedure:
    """A withdrawal drawn from a seed.

    At 180 s every segment lasts at least 12 s, and once the scope stands still for at least 10 s; other
    durations scale both. Disturbances of 0.3-2 s spoil 15-25 % of the time, and never a third of a segment.

    Args:
        screen: Name of the processor's screen; drawn from the seed if None.
    """
    rng = np.random.default_rng(seed)
    scale = duration_s / _REFERENCE_S
    name = LAYOUTS[rng.integers(len(LAYOUTS))].name
    segments = _draw_segments(rng, duration_s, _SEGMENT_MIN_S * scale)
    still = _draw_static(rng, segments, scale)
    return Procedure(
        seed=seed, fps=fps, duration_s=duration_s, width=width, height=height, screen=screen or name,
        segments=segments, disturbances=_draw_disturbances(rng, segments, still, duration_s),
        static_stretches=(still,),
    )  # fmt: skip


def write_truth(procedure: Procedure, stem: Path) -> tuple[Path, Path, Path]:
    """Writes `<stem>.frames.csv`, `<stem>.segments.csv` and `<stem>.procedure.json`; returns their paths."""
    frames = stem.with_name(stem.name + ".frames.csv")
    segments = stem.with_name(stem.name + ".segments.csv")
    whole = stem.with_name(stem.name + ".procedure.json")
    _write_rows(frames, [asdict(truth) for truth in procedure.truths()])
    _write_rows(segments, [_segment_row(procedure, segment) for segment in procedure.segments])
    field_box = screen_named(procedure.screen, procedure.width, procedure.height).field_box
    whole.write_text(json.dumps({**asdict(procedure), "field_box": field_box}, indent=1) + "\n", "utf-8")
    return frames, segments, whole


def spoilt_s(segment: TrueSegment, disturbances: tuple[Disturbance, ...] | list[Disturbance]) -> float:
    """Seconds of a segment in which the picture cannot be judged."""
    return sum(d.end_s - d.start_s for d in disturbances if segment.start_s <= d.start_s < segment.end_s)


def _draw_segments(rng: np.random.Generator, duration_s: float, min_s: float) -> tuple[TrueSegment, ...]:
    course = _with_excursion(rng, list(zip(_COURSE, _draw_grades(rng), strict=True)))
    spare_s = duration_s - len(course) * min_s
    lengths_s = min_s + spare_s * rng.dirichlet(np.full(len(course), 2.0))
    ends_s = np.cumsum(lengths_s)
    ends_s[-1] = duration_s
    segments, start_s = [], 0.0
    for (organ, mes), end_s in zip(course, ends_s, strict=True):
        segments.append(TrueSegment(organ, start_s, float(end_s), mes))
        start_s = float(end_s)
    return tuple(segments)


def _draw_grades(rng: np.random.Generator) -> list[int | None]:
    """Grades along the course. Colitis starts in the rectum and fades upwards, so the walk starts there."""
    grades = [int(rng.integers(4))]
    while len(grades) < len(_COURSE) - 2:
        grades.append(int(np.clip(grades[-1] + rng.choice((-1, 0, 1), p=(0.55, 0.15, 0.30)), 0, 3)))
    if len(set(grades)) == 1:
        grades[-1] = abs(grades[-1] - 1)
    return [None, *reversed(grades), None]


def _with_excursion(
    rng: np.random.Generator, course: list[tuple[str, int | None]]
) -> list[tuple[str, int | None]]:
    """Half of the procedures leave the body once and come back to the same place."""
    at = int(rng.integers(2, len(course) - 1))
    if rng.random() >= _EXCURSION_CHANCE:
        return course
    return [*course[: at + 1], ("outside", None), *course[at:]]


def _draw_static(
    rng: np.random.Generator, segments: tuple[TrueSegment, ...], scale: float
) -> tuple[float, float]:
    inside = [segment for segment in segments if segment.mes is not None]
    longest = max(inside, key=lambda segment: segment.end_s - segment.start_s)
    room_s = longest.end_s - longest.start_s
    length_s = min(rng.uniform(*_STATIC_S) * scale, 0.9 * room_s)
    start_s = longest.start_s + rng.uniform(0.3, 0.7) * (room_s - length_s)
    return float(start_s), float(start_s + length_s)


def _draw_disturbances(
    rng: np.random.Generator, segments: tuple[TrueSegment, ...], still: tuple[float, float], duration_s: float
) -> tuple[Disturbance, ...]:
    wanted_s = rng.uniform(*_SPOILT_SHARE) * duration_s
    drawn: list[Disturbance] = []
    # Bounded: in a very short procedure there may be no room for all.
    for _ in range(int(200 + 40 * duration_s)):
        if sum(d.end_s - d.start_s for d in drawn) >= wanted_s:
            break
        start_s = float(rng.uniform(0, duration_s))
        end_s = start_s + float(rng.uniform(*_BURST_S))
        candidate = Disturbance(_draw_kind(rng, segments, start_s), start_s, end_s)
        if _has_room(candidate, drawn, segments, still):
            drawn.append(candidate)
    return tuple(sorted(drawn, key=lambda disturbance: disturbance.start_s))


def _draw_kind(rng: np.random.Generator, segments: tuple[TrueSegment, ...], time_s: float) -> str:
    home = next(segment for segment in reversed(segments) if segment.start_s <= time_s)
    if home.mes is None:
        return str(rng.choice(_KINDS_OUTSIDE))
    return str(rng.choice(KINDS, p=_KIND_WEIGHTS))


def _has_room(
    candidate: Disturbance,
    drawn: list[Disturbance],
    segments: tuple[TrueSegment, ...],
    still: tuple[float, float],
) -> bool:
    home = next((s for s in segments if s.start_s <= candidate.start_s and candidate.end_s <= s.end_s), None)
    if home is None:
        return False
    taken = [still, *((d.start_s, d.end_s) for d in drawn)]
    if any(
        candidate.start_s < end_s + _BURST_GAP_S and candidate.end_s > start_s - _BURST_GAP_S
        for start_s, end_s in taken
    ):
        return False
    return spoilt_s(home, [*drawn, candidate]) <= _SPOILT_MAX * (home.end_s - home.start_s)


def _segment_row(procedure: Procedure, segment: TrueSegment) -> dict[str, object]:
    length_s = segment.end_s - segment.start_s
    usable_share = 1 - spoilt_s(segment, procedure.disturbances) / length_s
    return {**asdict(segment), "usable_share": round(usable_share, 4)}


def _write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
