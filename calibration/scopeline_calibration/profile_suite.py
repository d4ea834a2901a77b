"""The profile suite: which shipped profile the engine takes on real clips, and what the field gains by it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from scopeline.errors import ConfigError
from scopeline.field_tracker import FieldTracker
from scopeline.overlay import Box, box_iou
from scopeline.profile_choice import ProfileChoice, load_choice
from scopeline.shipped import shipped_scopes
from scopeline.sources.media import MediaSource

LONGEST_S = 40.0
_ALIKE = 0.001
"""Differences of the IoU that do not count: half a pixel of a field 1000 pixels wide."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A clip whose field was drawn by hand, and the profile that belongs to it."""

    clip: str
    profile: str
    box: Box


@dataclass(frozen=True, slots=True)
class Taken:
    """What the engine made of one clip. IoU of the field's box at the end with the box drawn by hand."""

    drawn: Drawn
    profiles: tuple[str | None, ...]
    """The profile of each lock, None where the field stayed as found."""
    found_iou: float
    """Without profiles."""
    chosen_iou: float

    @property
    def is_wrong(self) -> bool:
        """Whether another clip's profile was ever taken."""
        return any(profile not in (None, self.drawn.profile) for profile in self.profiles)


def read_drawn(boxes: Path) -> list[Drawn]:
    """The boxes of a CSV with the columns clip, profile, x, y, width, height; lines that begin with # are remarks.

    Raises:
        ConfigError: it cannot be read, or a column or number is missing.
    """
    try:
        lines = [line for line in boxes.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        return [
            Drawn(
                row["clip"],
                row["profile"],
                (int(row["x"]), int(row["y"]), int(row["width"]), int(row["height"])),
            )
            for row in csv.DictReader(lines)
        ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{boxes}: wanted a CSV with clip, profile, x, y, width and height of each field, got {error!r}"
        ) from error


def watch(clip: Path, drawn: Drawn, choice: ProfileChoice) -> Taken:
    """A clip's first forty seconds with and without profiles.

    Raises:
        SourceError: the clip cannot be read.
    """
    alone, choosing = FieldTracker(), FieldTracker(choice=choice)
    profiles: list[str | None] = []
    source = MediaSource(clip, threads=1)
    try:
        for frame in source.frames():
            if frame.time_s > LONGEST_S:
                break
            alone.observe(frame.picture, frame.time_s)
            event = choosing.observe(frame.picture, frame.time_s)
            if event is not None and event.kind != "lost":
                profiles.append(event.profile)
    finally:
        source.close()
    return Taken(drawn, tuple(profiles), _iou(alone, drawn.box), _iou(choosing, drawn.box))


def _iou(tracker: FieldTracker, box: Box) -> float:
    return 0.0 if tracker.field is None else box_iou(tracker.field.box, box)


def report(takes: list[Taken]) -> str:
    """A line per clip and the sums."""
    lines = [
        "IoU of the field's box with the one drawn by hand: found alone, with profiles; profiles of the locks"
    ]
    for each in takes:
        names = ", ".join(name or "none" for name in each.profiles) or "no lock"
        mark = "  WRONG" if each.is_wrong else ""
        lines.append(f"  {each.drawn.clip:<30} {each.found_iou:.3f}  {each.chosen_iou:.3f}  {names}{mark}")
    gains = [each.chosen_iou - each.found_iou for each in takes]
    taken = sum(each.drawn.profile in each.profiles for each in takes)
    lines.append(
        f"{len(takes)} clips: the right profile taken in {taken}, a wrong one in {sum(t.is_wrong for t in takes)}; "
        f"IoU better in {sum(gain > _ALIKE for gain in gains)}, worse in {sum(gain < -_ALIKE for gain in gains)}, "
        f"mean gain {sum(gains) / len(gains):+.4f}"
    )
    return "\n".join(lines)


def main(data: Path, boxes: Path, *, say: Callable[[str], object] = print) -> bool:
    """Measure, print, and say whether no wrong profile was taken."""
    drawn, choice = read_drawn(boxes), load_choice(shipped_scopes())
    if not drawn:
        raise ConfigError(f"{boxes}: wanted at least one clip, got none")
    with Progress(transient=True) as progress:
        takes = [
            watch(data / "videos" / each.clip, each, choice)
            for each in progress.track(drawn, description="watching clips")
        ]
    say(report(takes))
    return not any(each.is_wrong for each in takes)
