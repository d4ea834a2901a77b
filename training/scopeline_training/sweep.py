"""Sweep: a recipe with every combination of some settings, and one table at the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from rich.console import Console

from scopeline.errors import ConfigError
from scopeline_training.experiment import read_experiment
from scopeline_training.series import Member, Row, run_series
from scopeline_training.train_any import TrainOptions, trial_options, with_options


def sweep(
    recipe: Path, settings: Sequence[str], out: Path, options: TrainOptions, console: Console | None = None
) -> list[Row]:
    """Runs a recipe once per combination.

    Args:
        recipe: The file.
        settings: `key.key=value,value` each, as fit.rate=1e-3,1e-4.
        out: One folder per run in it, and the table. What is done there already is not run again.
        options: Of every run.

    Raises:
        ConfigError: a setting that is none, or leads nowhere in the recipe.
    """
    axes = [_axis(setting) for setting in settings]
    if not axes:
        raise ConfigError("wanted something to sweep over, as --set fit.rate=1e-3,1e-4")
    members = []
    for values in product(*(values for _, values in axes)):
        chosen = {key: value for (key, _), value in zip(axes, values, strict=True)}
        changes = [*options.changes, *(f"{key}={value}" for key, value in chosen.items())]
        name = re.sub(r"[^A-Za-z0-9.=-]+", "_", ",".join(f"{key}={value}" for key, value in chosen.items()))
        members.append(Member(name, chosen, with_options(read_experiment(recipe, changes), options)))
    return run_series(
        members, out, command=f"scopeline sweep {recipe} " + " ".join(f"--set {each}" for each in settings),
        beside=recipe.parent, options=trial_options(options), console=console,
    )  # fmt: skip


def _axis(setting: str) -> tuple[str, list[str]]:
    key, equals, values = setting.partition("=")
    # Commas inside brackets or quotes belong to a value.
    found = re.findall(r"(?:\[[^\]]*\]|\"[^\"]*\"|[^,\[\"])+", values)
    if not equals or not key or not found:
        raise ConfigError(f"wanted a setting and its values, as fit.rate=1e-3,1e-4, got {setting!r}")
    return key, [each.strip() for each in found]
