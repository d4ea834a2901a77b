"""Given answers: logits that networks gave to pictures they had not seen, from a table instead of from the bundle.

The folds of a recipe answer every picture once, each by a network that was not trained on it. They are far more than
what is kept apart from the network that ships, and tell how far such a network is to be believed.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Head
from scopeline.errors import ConfigError
from scopeline_calibration.labelled import Labelled


def read_answers(table: Path, head: Head) -> tuple[Labelled, Mapping[str, NDArray[np.float32]]]:
    """What is known of the pictures, and (N, K) logits of the head.

    Args:
        table: CSV with the columns picture, group, true, and logit(LABEL) for every label of the head, as a recipe with
            folds writes it.

    Raises:
        ConfigError: a column is missing, or a row cannot be read.
    """
    columns = [f"logit({label})" for label in head.labels]
    wanted = ["picture", "group", "true", *columns]
    logits, truth, groups = [], [], []
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            if missing := [name for name in wanted if name not in names]:
                raise ConfigError(
                    f"{table}: wanted the columns {', '.join(wanted)} of head {head.name!r}, got "
                    f"{', '.join(names) or 'none'}: {', '.join(missing)} missing"
                )
            for row in reader:
                where = f"{table}, line {reader.line_num}"
                logits.append(_numbers(row, columns, where))
                truth.append(_label(row, head, where))
                groups.append(_group(row, where))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{table}: wanted a CSV of answers, cannot read it ({error})") from error
    if not logits:
        raise ConfigError(f"{table}: wanted answers, one a row, got none")
    labelled = Labelled(
        pixels=np.empty((0, 0, 0, 3), np.uint8),
        truths={head.name: np.array(truth, np.int64)},
        groups=np.unique(groups, return_inverse=True)[1].astype(np.int64),
        paths=(),
        told=f"the folds' answers in {table.name}",
    )
    return labelled, {head.name: np.stack(logits)}


def _numbers(row: Mapping[str, str], columns: list[str], where: str) -> NDArray[np.float32]:
    said = ", ".join(repr(row[column]) for column in columns)
    error = ConfigError(f"{where}: wanted a finite number in each of {', '.join(columns)}, got {said}")
    try:
        with np.errstate(over="ignore"):
            numbers = np.array([float(row[column]) for column in columns]).astype(np.float32)
    except (TypeError, ValueError):
        raise error from None
    if not np.isfinite(numbers).all():
        raise error
    return numbers


def _label(row: Mapping[str, str], head: Head, where: str) -> int:
    if row["true"] not in head.labels:
        raise ConfigError(f"{where}: true is {row['true']!r}, wanted one of {', '.join(head.labels)}")
    return head.labels.index(row["true"])


def _group(row: Mapping[str, str], where: str) -> str:
    if not row["group"]:
        raise ConfigError(
            f"{where}: wanted a group (a patient, a clip; the picture's own name where nothing is known), got none"
        )
    return row["group"]
