"""Marks: what the operator says, live or in a file beside a recording. A mark overrides the model.

# colonoscopy.marks.toml, beside colonoscopy.mp4
[[marks]]
at = "00:02:10"          # or at_s = 130.0
label = "sigmoid"        # kind = "segment" unless said otherwise
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from scopeline.errors import ConfigError

MarkKind = Literal["segment", "freeze", "ignore", "biopsy", "end"]


@dataclass(frozen=True, slots=True)
class Mark:
    """One word of the operator, at a stream time.

    `segment` starts a segment with that label until the next `segment` or `end`. `ignore` makes frames not
    count until the next mark of any kind; an `end` that ends an `ignore` ends nothing else. `freeze` and
    `biopsy` are points in time.
    """

    time_s: float
    kind: MarkKind
    label: str | None = None
    """The location, for `segment`; a note, for `freeze` and `biopsy`."""

    def __post_init__(self) -> None:
        if self.time_s < 0.0:
            raise ValueError(f"a mark's time_s starts at 0, got {self.time_s}")
        if self.kind == "segment" and not self.label:
            raise ValueError("a segment mark needs the label of the location")
        if self.kind in ("ignore", "end") and self.label is not None:
            raise ValueError(f"a mark of kind {self.kind} takes no label, got {self.label!r}")


class MarkSource(Protocol):
    """Where the concluding thread asks for marks."""

    def due(self, time_s: float, captured_ns: int) -> list[Mark]:
        """The marks at or before a frame that were not given out before, in order of time.

        Args:
            time_s: Stream time of the frame; does not fall.
            captured_ns: `time.monotonic_ns()` of the same moment.
        """
        ...

    def rest(self, time_s: float, captured_ns: int) -> list[Mark]:
        """What was said after the last frame, when no frame will come any more; the arguments are that frame's."""
        ...


class Marks:
    """Marks of a recording in order of time, given out once each when they are due."""

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self._marks = sorted(marks, key=lambda mark: mark.time_s)
        self._times_s = [mark.time_s for mark in self._marks]
        self._given = 0

    def __len__(self) -> int:
        return len(self._marks)

    def __iter__(self) -> Iterator[Mark]:
        return iter(self._marks)

    def due(self, time_s: float, captured_ns: int = 0) -> list[Mark]:
        """The marks at or before `time_s` that were not given out before. When that was does not matter."""
        reached = max(self._given, bisect_right(self._times_s, time_s))
        due, self._given = self._marks[self._given : reached], reached
        return due

    def rest(self, time_s: float, captured_ns: int = 0) -> list[Mark]:
        """None: a mark after the end of a recording speaks of nothing."""
        return []


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    at: str | None = None
    at_s: float | None = None
    kind: MarkKind = "segment"
    label: str | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    marks: list[_Entry] = []


def marks_path(recording: Path) -> Path:
    """Where the marks of a recording lie: `video.mp4` -> `video.marks.toml`."""
    return recording.with_suffix(".marks.toml")


def read_marks(path: Path) -> Marks:
    """The marks in a TOML file.

    Raises:
        ConfigError: the file cannot be read or is wrong; the message names the file and the place.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: the marks cannot be read ({error.strerror})") from error
    return decode_marks(content, origin=str(path))


def decode_marks(content: bytes, *, origin: str) -> Marks:
    """Marks from TOML text; `origin` is what error messages call it.

    Raises:
        ConfigError: as `read_marks`.
    """
    try:
        file = msgspec.toml.decode(content, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{origin}: {error}") from error
    return Marks(_mark(entry, place=f"{origin}: marks[{index}]") for index, entry in enumerate(file.marks))


def _mark(entry: _Entry, *, place: str) -> Mark:
    try:
        return Mark(_time_s(entry), entry.kind, entry.label)
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from error


def _time_s(entry: _Entry) -> float:
    if (entry.at is None) == (entry.at_s is None):
        raise ValueError('a mark has either at = "hh:mm:ss" or at_s = seconds')
    if entry.at_s is not None:
        return entry.at_s
    found = re.fullmatch(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:\.\d+)?)", entry.at or "")
    if found is None:
        raise ValueError(f'at must be "hh:mm:ss" or "mm:ss", got {entry.at!r}')
    hours, minutes, seconds = found.groups()
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
