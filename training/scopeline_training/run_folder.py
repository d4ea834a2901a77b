"""Run folder: the tables and texts that a run leaves beside its bundle and report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scopeline.errors import SinkError
from scopeline_training.catalogue import Catalogue
from scopeline_training.experiment import Experiment
from scopeline_training.figures import balanced_accuracy
from scopeline_training.fitted_fold import FittedFold
from scopeline_training.network_plan import HeadPlan
from scopeline_training.run_parts import PartedRun
from scopeline_training.scores import confusion_counts
from scopeline_training.toml_text import toml_text


def write_split(
    path: Path, catalogue: Catalogue, groups: NDArray[np.int64], splits: Sequence[PartedRun]
) -> None:
    """Every picture with its group and its part in each fold, `-` where it is in none."""
    table = np.full((len(catalogue), len(splits)), "-", object)
    for number, split in enumerate(splits):
        for name, numbers in split.parts.named().items():
            table[numbers, number] = name
    header = [
        "picture",
        "group",
        *(f"fold {n + 1}" if len(splits) > 1 else "part" for n in range(len(splits))),
    ]
    rows = [[name, group, *row] for name, group, row in zip(catalogue.names, groups, table, strict=True)]
    _write_csv(path, header, rows)


def write_folds(path: Path, folds: Sequence[FittedFold], chosen: int) -> None:
    """The out-of-fold table: one line per fold."""
    rows = []
    for number, fold in enumerate(folds):
        counts = [len(part) for part in fold.parted.parts.named().values()]
        last = fold.fit.phases[-1]
        score = (
            float(balanced_accuracy(confusion_counts(fold.answers[0]).astype(np.float64)))
            if fold.answers
            else 1 - fold.loss
        )
        rows.append(
            [number + 1, *counts, last.epochs, last.best_epoch, f"{last.best_loss:.6f}", f"{fold.loss:.6f}",
             f"{score:.6f}", "kept" if number == chosen else ""]
        )  # fmt: skip
    measure = "balanced accuracy" if folds[0].answers else "Dice"
    header = [
        "fold",
        "train",
        "val",
        "test",
        "epochs",
        "best epoch",
        "best val loss",
        "test loss",
        f"test {measure}",
        "",
    ]
    _write_csv(path, header, rows)


def pipeline_text(experiment: Experiment, heads: Sequence[HeadPlan]) -> str:
    """A pipeline that runs the bundle beside it: quality first, everything else only of good frames."""
    judge = next((head.name for head in heads if head.role == "quality"), None)
    table: dict[str, object] = {"name": experiment.name, "bundles": [{"path": "bundle"}]}
    if judge is not None:
        gate = {"when": {"head": judge, "label": "good", "at_least": 0.5}}
        table["heads"] = {head.name: gate for head in heads if head.name != judge}
    return toml_text(table)


def write_text(path: Path, text: str) -> None:
    """Writes a text.

    Raises:
        SinkError: it cannot be written.
    """
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise SinkError(f"{path}: cannot write ({error.strerror})") from error


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
    except OSError as error:
        raise SinkError(f"{path}: cannot write ({error.strerror})") from error
