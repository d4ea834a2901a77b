"""LabelledSequence: one recording's probabilities, frame by frame, beside the truth: what a smoother is tuned on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from scopeline.errors import ConfigError
from scopeline_calibration.sequence_simulator import SimulatedSequence, simulate, simulate_graded

_PREFIX = "p_"
_WANTED = (
    "wanted a CSV with the columns sequence, time_s, truth, p_LABEL for every label and optionally quality, or JSON "
    'lines as {"sequence": "a", "time_s": 0.1, "truth": "colon", "quality": 0.9, "probabilities": {"colon": 0.8, ...}}'
)


@dataclass(frozen=True, slots=True)
class LabelledSequence:
    """T frames of one head with K labels."""

    name: str
    group: str
    """Sequences of one group are alike (a simulated head's strength, a file); a table may tell them apart."""
    labels: tuple[str, ...]
    time_s: NDArray[np.float64]
    """(T,) stream time; does not fall."""
    truth: NDArray[np.intp]
    """(T,) index of the true label; -1 where nobody knows, which is scored as no segment."""
    probabilities: NDArray[np.float32]
    """(T, K), rows sum to 1."""
    quality: NDArray[np.float64]
    """(T,) probability that the frame can be judged, 0..1."""


def simulated_places(levels: Sequence[float], seeds: Iterable[int]) -> list[LabelledSequence]:
    """Simulated procedures of a location head, every seed at every single-frame accuracy (0..1)."""
    kept = list(seeds)
    return [
        _simulated(simulate(seed, accuracy=level), f"{level:.1%}", f"seed {seed} at {level:.1%}")
        for level in levels
        for seed in kept
    ]


def simulated_grades(accuracy: float, seeds: Iterable[int]) -> list[LabelledSequence]:
    """Simulated procedures of a grade head that is right on that share of good frames."""
    return [
        _simulated(simulate_graded(seed, accuracy=accuracy).grade, f"{accuracy:.1%}", f"seed {seed}")
        for seed in seeds
    ]


def still_scenes(levels: Sequence[float], seeds: Iterable[int]) -> list[LabelledSequence]:
    """Scenes of 60 s in which the scope does not move, at every accuracy, without and with bursts of bad frames."""
    kept = list(seeds)
    return [
        _simulated(
            simulate(seed, accuracy=level, bad_share=share, one_place_s=60.0, still=True),
            f"still {level:.1%}",
            f"seed {seed}, {share:.0%} bad",
        )
        for level in levels
        for share in (0.0, 0.3)
        for seed in kept
    ]


def read_sequences(path: Path) -> list[LabelledSequence]:
    """Labelled sequences from a CSV or JSON-lines file (`.jsonl`), in the order of the file.

    Raises:
        ConfigError: the file cannot be read, a column is missing, a label is unknown, probabilities do not sum to 1 or
            time falls within a sequence; says the line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            frames = _json_frames(path, lines) if path.suffix == ".jsonl" else _csv_frames(path, lines)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {_WANTED}; could not read it ({error})") from error
    if not frames:
        raise ConfigError(f"{path}: {_WANTED}; the file holds no frame")
    return [_sequence(path, name, rows) for name, rows in frames.items()]


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    time_s: float
    truth: str
    quality: float
    probabilities: Mapping[str, float]


def _simulated(sequence: SimulatedSequence, group: str, name: str) -> LabelledSequence:
    labels = tuple(f"label {index}" for index in range(sequence.probabilities.shape[1]))
    return LabelledSequence(
        name, group, labels, sequence.time_s, sequence.truth, sequence.probabilities, sequence.quality
    )


def _csv_frames(path: Path, lines: TextIO) -> dict[str, list[_Row]]:
    reader = csv.DictReader(lines)
    columns = reader.fieldnames or []
    labels = [column.removeprefix(_PREFIX) for column in columns if column.startswith(_PREFIX)]
    missing = [column for column in ("sequence", "time_s", "truth") if column not in columns]
    if missing or len(labels) < 2:
        raise ConfigError(f"{path}: {_WANTED}; got the columns {list(columns)}")
    frames: dict[str, list[_Row]] = {}
    for line, row in enumerate(reader, start=2):
        try:
            shares = {label: float(row[_PREFIX + label]) for label in labels}
            quality = float(row.get("quality") or 1.0)
            frames.setdefault(row["sequence"], []).append(
                _Row(line, float(row["time_s"]), row["truth"], quality, shares)
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{path}: line {line}: wanted numbers, got {error}") from error
    return frames


def _json_frames(path: Path, lines: TextIO) -> dict[str, list[_Row]]:
    frames: dict[str, list[_Row]] = {}
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            shares = {str(label): float(share) for label, share in row["probabilities"].items()}
            kept = _Row(
                line, float(row["time_s"]), str(row["truth"] or ""), float(row.get("quality", 1.0)), shares
            )
            frames.setdefault(str(row["sequence"]), []).append(kept)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"{path}: line {line}: {_WANTED}; got {error!r}") from error
    return frames


def _sequence(path: Path, name: str, rows: Sequence[_Row]) -> LabelledSequence:
    labels = tuple(rows[0].probabilities)
    index = {label: place for place, label in enumerate(labels)}
    for before, row in zip((rows[0], *rows), rows, strict=False):
        if tuple(row.probabilities) != labels:
            raise ConfigError(f"{path}: line {row.line}: wanted the labels {list(labels)} on every line")
        if row.truth and row.truth not in index:
            raise ConfigError(
                f"{path}: line {row.line}: truth is one of {list(labels)} or empty, got {row.truth!r}"
            )
        if row.time_s < before.time_s:
            raise ConfigError(
                f"{path}: line {row.line}: time must not fall within a sequence, got {row.time_s} after {before.time_s}"
            )
        if abs(sum(row.probabilities.values()) - 1) > 0.01 or min(row.probabilities.values()) < 0:
            raise ConfigError(f"{path}: line {row.line}: the probabilities of a frame must sum to 1")
        if not 0 <= row.quality <= 1:
            raise ConfigError(f"{path}: line {row.line}: quality lies in 0..1, got {row.quality}")
    return LabelledSequence(
        name,
        path.name,
        labels,
        np.array([row.time_s for row in rows], np.float64),
        np.array([index[row.truth] if row.truth else -1 for row in rows], np.intp),
        np.array([list(row.probabilities.values()) for row in rows], np.float32),
        np.array([row.quality for row in rows], np.float64),
    )
