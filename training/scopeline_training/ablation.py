"""Ablation: study S5's eight versions of a data set, one fit each, and the table of what crop, balance and noise do."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console

from scopeline_training.experiment import Experiment, read_experiment
from scopeline_training.series import Member, Row, run_series
from scopeline_training.train_any import TrainOptions, trial_options, with_options
from scopeline_training.variants import VERSIONS, VariantPlan


def ablation(recipe: Path, out: Path, options: TrainOptions, console: Console | None = None) -> list[Row]:
    """Runs a recipe once per version 0 to 7, over one and the same split.

    Args:
        recipe: The file; what it says of crop and variant is replaced.
        out: One folder per version in it, and the table. What is done there already is not run again.
        options: Of every run.

    Raises:
        ConfigError: the recipe is wrong, or its data cannot be balanced.
    """
    members = versions_of(with_options(read_experiment(recipe, options.changes), options))
    return run_series(
        members, out, command=f"scopeline ablation {recipe}", beside=recipe.parent, options=trial_options(options),
        console=console,
    )  # fmt: skip


def versions_of(experiment: Experiment) -> list[Member]:
    """The eight runs, in the study's order."""
    return [
        Member(f"version-{number}", {"version": number, **_told(variant)}, _as(experiment, variant))
        for number, variant in VERSIONS.items()
    ]


def _as(experiment: Experiment, variant: VariantPlan) -> Experiment:
    """The recipe with a variant; its bundle is shown what it was trained on."""
    shown = msgspec.structs.replace(experiment.input, crop=variant.train_crop or experiment.input.crop)
    return msgspec.structs.replace(experiment, variant=variant, input=shown)


def _told(variant: VariantPlan) -> dict[str, str]:
    noise = {True: "noisy", False: "clean", None: "as it comes"}
    return {
        "train crop": str(variant.train_crop),
        "test crop": str(variant.test_crop),
        "labels": "balanced" if variant.balanced else "as they come",
        "train": noise[variant.train_noise],
        "test": noise[variant.test_noise],
    }
