"""Readings: what several people and a model said of the same cases."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scopeline.errors import ConfigError
from scopeline_training.examples import UNKNOWN

Labels = NDArray[np.int64]

_OWN = ("case", "group", "truth", "model", "model_probability")


@dataclass(frozen=True, slots=True)
class Readings:
    """N cases with the truth, the model's answer and each reader's."""

    cases: tuple[str, ...]
    groups: Labels
    """(N,) cases of one patient share a number."""
    truth: Labels
    """(N,) label numbers."""
    model: Labels
    """(N,) label numbers."""
    readers: Mapping[str, Labels]
    """Name -> (N,) label numbers, UNKNOWN where a reader left a case out; in the order of seniority."""
    labels: tuple[str, ...]
    """In the order of their numbers; of two the second one is positive."""
    probability: NDArray[np.float64] | None
    """(N,) of the positive one of two labels, where the model gave it."""
    sha256: str = ""
    """Of the file."""


def read_readings(
    path: Path, *, labels: Sequence[str] = (), senior: str | None = None, threshold: float = 0.5
) -> Readings:
    """Reads a CSV with the columns case, group, truth, one of model and model_probability, and one per reader.

    Args:
        labels: All labels in their order, the positive one last; alphabetical if empty.
        senior: Who stands first where readers are tied; else the order of the columns is that of seniority.
        threshold: From which probability on the model says the second label. Fixed before the readings were seen.

    Raises:
        ConfigError: a column, a label or a value that is not wanted.
    """
    rows, columns = _rows(path)
    readers = [column for column in columns if column not in _OWN]
    _check_columns(path, columns, readers, senior)
    if senior is not None:
        readers = [senior, *(reader for reader in readers if reader != senior)]
    has_probability = "model_probability" in columns
    spoken = ["truth", *readers, *([] if has_probability else ["model"])]
    found = sorted({row[column] for row in rows for column in spoken if row[column]})
    names = tuple(labels) or tuple(found)
    number = {label: n for n, label in enumerate(names)}
    for line, row in enumerate(rows, start=2):
        _check_row(path, line, row, names, ["truth", *([] if has_probability else ["model"])], readers)
    probability = _probabilities(path, rows, names) if has_probability else None
    said = {
        column: np.array([number.get(row[column], UNKNOWN) for row in rows], np.int64) for column in spoken
    }
    return Readings(
        tuple(row["case"] for row in rows),
        np.unique([row["group"] or f"case {row['case']}" for row in rows], return_inverse=True)[1].astype(np.int64),
        said["truth"],
        said["model"] if probability is None else (probability >= threshold).astype(np.int64),
        {reader: said[reader] for reader in readers},
        names,
        probability,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )  # fmt: skip


def consensus(readings: Readings) -> Labels:
    """(N,) what most readers said; a tie goes to the most senior reader who said one of the tied labels.

    UNKNOWN where nobody read the case.
    """
    votes = np.stack(list(readings.readers.values()))
    return np.array([_vote(cast) for cast in votes.T], np.int64)


def _vote(cast: Labels) -> int:
    given = cast[cast != UNKNOWN]
    if not len(given):
        return UNKNOWN
    counts = np.bincount(given)
    return int(next(vote for vote in given if counts[vote] == counts.max()))


def _rows(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: wanted a CSV file of readings, cannot read it ({error})") from error
    if not rows:
        raise ConfigError(f"{path}: wanted at least one row of readings, got none")
    return rows, columns


def _check_columns(path: Path, columns: Sequence[str], readers: Sequence[str], senior: str | None) -> None:
    missing = [name for name in ("case", "group", "truth") if name not in columns]
    models = [name for name in ("model", "model_probability") if name in columns]
    if missing or len(models) != 1 or not readers or len(set(columns)) < len(columns):
        raise ConfigError(
            f"{path}: wanted the columns case, group, truth, one of model and model_probability, and one of a "
            f"name of its own for each reader; got {', '.join(columns)}"
        )
    if senior is not None and senior not in readers:
        raise ConfigError(f"{path}: wanted a reader as senior, one of {', '.join(readers)}; got {senior!r}")


def _check_row(
    path: Path, line: int, row: Mapping[str, str], labels: Sequence[str], needed: Sequence[str], readers: Sequence[str]
) -> None:  # fmt: skip
    for column in (*needed, *readers):
        if row[column] not in labels and (row[column] or column in needed):
            raise ConfigError(
                f"{path}, line {line}, {column}: wanted one of the labels {', '.join(labels)}, got {row[column]!r}"
            )


def _probabilities(
    path: Path, rows: Sequence[Mapping[str, str]], labels: Sequence[str]
) -> NDArray[np.float64]:
    if len(labels) != 2:
        raise ConfigError(
            f"{path}: model_probability is for two labels, got {len(labels)} ({', '.join(labels)}); "
            "give what the model says in a column model"
        )
    values = []
    for line, row in enumerate(rows, start=2):
        try:
            value = float(row["model_probability"])
        except ValueError:
            value = np.nan
        if not 0 <= value <= 1:
            raise ConfigError(
                f"{path}, line {line}: wanted a probability from 0 to 1, got {row['model_probability']!r}"
            )
        values.append(value)
    return np.array(values)
