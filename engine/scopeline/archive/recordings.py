"""Recordings: from what a person names (files, folders, patterns, lists) to the files that are meant."""

from __future__ import annotations

import csv
import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scopeline.errors import ConfigError

_ENDINGS: Final = (
    *("3gp", "asf", "avi", "divx", "dv", "flv", "h264", "h265", "hevc", "m2t", "m2ts", "m2v", "m4v", "mkv"),
    *("mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "qt", "ts", "vob", "webm", "wmv"),
)
SUFFIXES: Final = frozenset(f".{ending}" for ending in _ENDINGS)
"""What counts as a recording in a folder. A file that is named itself may have any ending."""
COLUMN: Final = "video"
"""The column of a CSV list that names the file."""


@dataclass(frozen=True, slots=True)
class Named:
    """A recording and what a list says of it."""

    video: Path
    metadata: Mapping[str, str] = field(default_factory=dict)


def find_recordings(inputs: Sequence[str], *, leave_out: Path | None = None) -> list[Named]:
    """The recordings that are meant, in the order of the inputs, each once.

    A folder stands for the recordings in it and below, a pattern with `*`, `?` or `[` for the files that fit, a `.txt`
    for the files it names one per line, a `.csv` for those of its column `video`, the other columns being metadata.
    Paths in lists start where the list lies. What a list says of a recording counts also when the recording is named
    elsewhere too.

    Args:
        leave_out: A folder in which nothing is sought: that of the results.

    Raises:
        ConfigError: a list cannot be read, or a folder or pattern holds no recording.
    """
    found: dict[Path, Named] = {}
    for text in inputs:
        for named in _named(text, leave_out):
            key = named.video.resolve()
            if key not in found or named.metadata:
                found[key] = named
    return list(found.values())


def _named(text: str, leave_out: Path | None) -> list[Named]:
    path = Path(text)
    suffix = path.suffix.lower()
    if path.is_dir():
        return _some(text, "folder", _in_folder(path, leave_out))
    if path.is_file() and suffix == ".csv":
        return list(_in_csv(path))
    if path.is_file() and suffix == ".txt":
        return list(_in_list(path))
    if not path.exists() and glob.has_magic(text):
        fits = (Path(each) for each in sorted(glob.glob(text, recursive=True)))
        return _some(text, "pattern", (each for each in fits if each.is_file()))
    return [Named(path)]


def _some(text: str, what: str, files: Iterator[Path]) -> list[Named]:
    named = [Named(file) for file in files]
    if not named:
        raise ConfigError(f"{text}: wanted recordings, this {what} holds none; check it, or name the files")
    return named


def _in_folder(folder: Path, leave_out: Path | None) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if hidden or file.suffix.lower() not in SUFFIXES or not file.is_file():
            continue
        if leave_out is None or leave_out.resolve() not in file.resolve().parents:
            yield file


def _in_list(path: Path) -> Iterator[Named]:
    for line in _text(path).splitlines():
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield Named(path.parent / entry)


def _in_csv(path: Path) -> Iterator[Named]:
    rows = csv.DictReader(_text(path).splitlines())
    if COLUMN not in (rows.fieldnames or []):
        raise ConfigError(f"{path}: wanted a column named {COLUMN!r}, it has {list(rows.fieldnames or [])}")
    for row in rows:
        if None in row or None in row.values():
            raise ConfigError(f"{path}: line {rows.line_num} has not as many cells as the header; check it")
        video = row.pop(COLUMN).strip()
        if not video:
            raise ConfigError(
                f"{path}: line {rows.line_num} names no {COLUMN}; fill it in, or remove the line"
            )
        yield Named(path.parent / video, row)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: wanted a list of recordings as UTF-8 text, could not read it ({error})"
        ) from error
