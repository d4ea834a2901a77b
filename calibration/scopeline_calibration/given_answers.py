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
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{table}: wanted a CSV of answers, cannot read it ({error})") from error
    if missing := [name for name in wanted if name not in names]:
        raise ConfigError(
            f"{table}: wanted the columns {', '.join(wanted)} of head {head.name!r}, got {', '.join(names) or 'none'}: "
            f"{', '.join(missing)} missing"
        )
    if not rows:
        raise ConfigError(f"{table}: wanted answers, one a row, got none")
    logits, truth = [], []
    for line, row in enumerate(rows, start=2):
        if row["true"] not in head.labels:
            raise ConfigError(
                f"{table}, line {line}: true is {row['true']!r}, wanted one of {', '.join(head.labels)}"
            )
        try:
            numbers = [float(row[column]) for column in columns]
        except (TypeError, ValueError):
            numbers = [float("nan")]
        if not np.isfinite(numbers).all():
            raise ConfigError(
                f"{table}, line {line}: wanted a finite number in each of {', '.join(columns)}, got "
                f"{', '.join(repr(row[column]) for column in columns)}"
            )
        logits.append(numbers)
        truth.append(head.labels.index(row["true"]))
    groups = np.unique([row["group"] for row in rows], return_inverse=True)[1]
    labelled = Labelled(
        pixels=np.empty((0, 0, 0, 3), np.uint8),
        truths={head.name: np.array(truth, np.int64)},
        groups=groups.astype(np.int64),
        paths=(),
        told=f"the folds' answers in {table.name}",
    )
    return labelled, {head.name: np.array(logits, np.float32)}
