"""Held out: the pictures that a recipe kept apart from its network, as a sheet that probabilities are calibrated on."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from scopeline.errors import ConfigError
from scopeline.replace_file import replace_file
from scopeline_training.catalogue import Catalogue
from scopeline_training.colon import (
    GRADES,
    HYPERKVASIR_ASPECT,
    colon_examples,
    data_folder,
    split_apart,
)
from scopeline_training.examples import UNKNOWN
from scopeline_training.experiment import Experiment, read_any
from scopeline_training.grouping import group_numbers, without_look_alikes
from scopeline_training.recipe import ColonData, Recipe
from scopeline_training.run_parts import parted
from scopeline_training.running import read_data


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One picture that was not trained on, nor used to stop the training."""

    path: str
    """Relative to the data folder, with forward slashes."""
    group: str
    aspect: float | None
    """Width over height before the file was squashed, if it was."""
    labels: Mapping[str, str]
    """Head -> label, or the mask's path; a head that nobody answered is absent."""


def held_out(recipe: Path, *, fold: int = 1, changes: Sequence[str] = ()) -> list[HeldOut]:
    """The part that a recipe keeps apart, split again as in training: the same data and recipe give the same part.

    Args:
        recipe: Recipe of a bundle.
        fold: Of a recipe with folds, the one whose network was kept, from 1 on; its card names it.
        changes: What `--set` changed when it was trained, `key.key=value` each.

    Raises:
        ConfigError: the data are not there, the recipe keeps no files apart, or it has no such fold.
    """
    plan = read_any(recipe, changes)
    if isinstance(plan, Recipe):
        return _of_colon(plan)
    return _of_experiment(plan, recipe.parent, fold)


def write_sheet(rows: list[HeldOut], path: Path) -> None:
    """As CSV with the columns path, group, aspect, and one per head.

    Raises:
        SinkError: it cannot be written.
    """
    heads = sorted({head for row in rows for head in row.labels})
    text = io.StringIO()
    sheet = csv.writer(text, lineterminator="\n")
    sheet.writerow(["path", "group", "aspect", *heads])
    for row in sorted(rows, key=lambda each: each.path):
        sheet.writerow([row.path, row.group, row.aspect or "", *(row.labels.get(head, "") for head in heads)])
    replace_file(path, text.getvalue().encode())


def _of_colon(recipe: Recipe) -> list[HeldOut]:
    """Stills only: frames of clips and pictures made by a program are no files."""
    if not isinstance(recipe.data, ColonData):
        raise ConfigError(
            f"recipe {recipe.name!r}: its pictures are made by a program; calibrate it with --simulated"
        )
    examples = colon_examples(data_folder(), recipe)
    _, apart = split_apart(examples, recipe.seed)
    kept = examples.take(apart)
    rows = []
    for name, group, grade in zip(kept.names, kept.groups, kept.targets["mes"], strict=True):
        if PurePosixPath(name).suffix in (".jpg", ".jpeg", ".png"):
            known = {} if grade == UNKNOWN else {"mes": GRADES[grade]}
            rows.append(HeldOut(name, str(group), HYPERKVASIR_ASPECT, {"organ": "colon", **known}))
    return rows


def _of_experiment(experiment: Experiment, beside: Path, fold: int) -> list[HeldOut]:
    catalogue = without_look_alikes(read_data(experiment, beside), experiment.split.hamming)
    groups = group_numbers(catalogue, experiment.split.hamming)
    splits = list(parted(catalogue, groups, experiment.split, seed=experiment.seed))
    if not 1 <= fold <= len(splits):
        raise ConfigError(f"--fold: wanted one of 1 to {len(splits)}, got {fold}")
    test = splits[fold - 1].parts.test
    return _rows(catalogue, groups, test, experiment)


def _rows(
    catalogue: Catalogue, groups: NDArray[np.int64], test: NDArray[np.int64], experiment: Experiment
) -> list[HeldOut]:
    root = data_folder().resolve()
    mask_head = next((head.name for head in experiment.heads if head.role == "mask"), "mask")
    rows = []
    for number in test:
        sample = catalogue.samples[number]
        labels = dict(sample.labels)
        if sample.mask is not None:
            labels[mask_head] = _below(sample.mask, root)
        rows.append(HeldOut(_below(sample.path, root), str(groups[number]), experiment.input.aspect, labels))
    return rows


def _below(path: Path, root: Path) -> str:
    if not path.resolve().is_relative_to(root):
        raise ConfigError(f"{path}: wanted pictures below the data folder {root}, this one is not")
    return path.resolve().relative_to(root).as_posix()
