"""Strip: a timeline as rows of coloured stretches, for the page and for the PDF alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from scopeline.contact_sheet import GRADE_COLOURS
from scopeline.outputs.timeline import Column
from scopeline.tally import OUTSIDE

_T = TypeVar("_T")

GRADES = tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in GRADE_COLOURS)
"""As on the contact sheet, for pages and PDF."""
PALE, NIGHT, GOOD = "#d6dadf", "#626d7a", "#3b82a0"
_PLACES = ("#4b6cb7", "#7a5ea8", "#3f8f8f", "#a06a4b", "#5b7f3a", "#9a4f7d", "#6c7a89", "#b08a2e")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Columns of one colour."""

    first: int
    count: int
    colour: str
    label: str
    strength: float = 1.0
    """Opacity, 0..1."""


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    stretches: tuple[Stretch, ...]
    has_words: bool = True
    """Whether labels are written on the stretches; shares are told by their strength."""


def rows(strip: Sequence[Column]) -> list[Row]:
    """Usable share first, then every head that held a tag, then what masks marked."""
    heads = list(dict.fromkeys(name for column in strip for name in column.tags))
    found = [Row("usable", _shaded(strip, lambda column: column.usable_share or 0.0, GOOD), has_words=False)]
    found += [Row(head, _tagged(strip, head)) for head in heads]
    if any(column.marked for column in strip):
        found.append(
            Row(
                "marked",
                _shaded(strip, lambda column: column.marked / max(column.frames, 1), GRADES[3]),
                has_words=False,
            )
        )
    return found


def _tagged(strip: Sequence[Column], head: str) -> tuple[Stretch, ...]:
    labels = sorted({label for column in strip for label in column.tags.get(head, ()) if label != OUTSIDE})
    graded = all(label.isdecimal() and int(label) < len(GRADES) for label in labels)
    colours = {
        label: GRADES[int(label)] if graded else _PLACES[place % len(_PLACES)]
        for place, label in enumerate(labels)
    } | {OUTSIDE: PALE}
    return tuple(
        Stretch(first, count, colours[label], label)
        for label, first, count in _runs([column.tag(head) for column in strip])
        if label is not None
    )


def _shaded(strip: Sequence[Column], share: Callable[[Column], float], colour: str) -> tuple[Stretch, ...]:
    steps = [round(share(column) * 8) / 8 for column in strip]
    return tuple(
        Stretch(first, count, colour, f"{100 * step:.0f} %", step)
        for step, first, count in _runs(steps)
        if step
    )


def _runs(values: Sequence[_T]) -> list[tuple[_T, int, int]]:
    """(value, first, count) of each run of equal values."""
    found: list[tuple[_T, int, int]] = []
    first = 0
    for value, group in groupby(values):
        count = len(list(group))
        found.append((value, first, count))
        first += count
    return found
