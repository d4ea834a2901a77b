"""Fold answers: what the networks of a cross-validation said of the pictures they had not seen, as a table.

`scopeline calibrate probabilities BUNDLE --answers TABLE --head HEAD` reads it.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scopeline.replace_file import replace_file
from scopeline_training.examples import UNKNOWN, Examples
from scopeline_training.recipe import HeadPlan


def write_fold_answers(path: Path, head: HeadPlan, logits: NDArray[np.float32], examples: Examples) -> None:
    """A row for every picture whose label is known.

    Args:
        logits: (N, K), as they come out of the network: divided by no temperature.
        examples: What they belong to, in the same order.

    Raises:
        SinkError: the table cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["picture", "group", "true", *(f"logit({label})" for label in head.labels)])
    truth = examples.targets[head.name]
    for number in np.flatnonzero(truth != UNKNOWN):
        said = (f"{value:.5f}" for value in logits[number].tolist())
        writer.writerow([
            examples.names[number], int(examples.groups[number]), head.labels[truth[number]], *said
        ])  # fmt: skip
    replace_file(path, text.getvalue().encode())
