"""Train any: what `scopeline train` does: a recipe of either path, or no recipe but a folder of pictures."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from rich.console import Console

from scopeline.errors import ConfigError
from scopeline_training.experiment import Experiment, FrozenPlan, read_any
from scopeline_training.folder_recipe import folder_experiment
from scopeline_training.recipe import Recipe, trial_recipe, with_epochs
from scopeline_training.run_options import RunOptions
from scopeline_training.running import RunResult, run_experiment
from scopeline_training.toml_text import toml_text

TRIAL_LIMIT = 12
"""Pictures per label and part of a trial."""
TRIAL_SIZE = {"inception_v3": 299}
"""Pixels; a trial shows 64 to every other network."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What the command line says beside recipe or folder."""

    changes: tuple[str, ...] = ()
    """`key.key=value`, over the recipe."""
    weights: str | None = None
    """`none`, `imagenet`, or a file of them, over the recipe's."""
    epochs: int | None = None
    trial: bool = False
    """Prove in a minute that a recipe runs."""
    run: RunOptions = field(default_factory=RunOptions)

    @property
    def words(self) -> list[str]:
        """As they are typed, for the record."""
        words = [word for change in self.changes for word in ("--set", change)]
        words += ["--weights", self.weights] if self.weights else []
        words += ["--epochs", str(self.epochs)] if self.epochs else []
        words += ["--trial"] if self.trial else []
        words += ["--force"] if self.run.force and not self.trial else []
        words += ["--limit", str(self.run.limit)] if self.run.limit and not self.trial else []
        return words + (["--continue", str(self.run.go_on_from)] if self.run.go_on_from else [])


def train_recipe(
    path: Path, out: Path, options: TrainOptions, console: Console | None = None
) -> RunResult | None:
    """Runs a recipe of either path; None comes back for one with a run of its own, which leaves a bundle alone.

    Raises:
        ConfigError: the recipe or the data is wrong, or the recipe's path has no use for an option.
    """
    plan = read_any(path, options.changes)
    if isinstance(plan, Recipe):
        _run_own(plan, path, out, options)
        return None
    command = shlex.join(["scopeline", "train", str(path), *options.words])
    prose = path.with_suffix(".card.md")
    return _run(plan, out, options, command, path.read_text("utf-8"), path.parent, prose, console)


def train_folder(
    data: Path, out: Path, options: TrainOptions, console: Console | None = None
) -> RunResult | None:
    """Trains on a folder with a folder of pictures per label.

    Raises:
        ConfigError: it has another form.
    """
    if not data.is_dir():
        raise ConfigError(f"{data}: wanted a folder with a folder of pictures for each label, got no folder")
    if options.changes:
        raise ConfigError(
            "--set changes a recipe; a run of --data has none. Its run folder holds recipe.toml: copy it"
        )
    plan = folder_experiment(data)
    command = shlex.join(["scopeline", "train", "--data", str(data), *options.words])
    return _run(plan, out, options, command, "", None, None, console)


def with_options(experiment: Experiment, options: TrainOptions) -> Experiment:
    """The experiment with what the command line says: weights, epochs, and the small sizes of a trial."""
    fit, network = experiment.fit, experiment.network
    if options.trial:
        fit = msgspec.structs.replace(
            fit, epochs=2, batch=min(fit.batch, 8), frozen=FrozenPlan(epochs=1) if fit.frozen else None
        )
        network = msgspec.structs.replace(network, weights="none")
        size = TRIAL_SIZE.get(network.backbone, 64)
        experiment = msgspec.structs.replace(
            experiment,
            input=msgspec.structs.replace(experiment.input, size=_trial_size(experiment, size)),
            split=msgspec.structs.replace(experiment.split, k=min(experiment.split.k, 2)),
        )
    if options.epochs:
        fit = msgspec.structs.replace(fit, epochs=options.epochs)
    if options.weights:
        network = msgspec.structs.replace(network, weights=options.weights)
    return msgspec.structs.replace(experiment, fit=fit, network=network)


def trial_options(options: TrainOptions) -> RunOptions:
    """What is asked of a run; a trial takes few pictures and any data set."""
    run = options.run
    return replace(run, force=True, limit=run.limit or TRIAL_LIMIT) if options.trial else run


def _run(
    plan: Experiment, out: Path, options: TrainOptions, command: str, text: str, beside: Path | None,
    prose: Path | None, console: Console | None,
) -> RunResult | None:  # fmt: skip
    plan, run = with_options(plan, options), trial_options(options)
    try:
        return run_experiment(
            plan, out, recipe=_text(plan, text, options.words), command=command, beside=beside, prose=prose,
            options=run, console=console,
        )  # fmt: skip
    except KeyboardInterrupt:
        (console or Console()).print(
            f"interrupted; go on after the last whole epoch with: {command} --out {shlex.quote(str(out))} --resume",
            soft_wrap=True, highlight=False, markup=False,
        )  # fmt: skip
        raise


def _text(plan: Experiment, text: str, words: Sequence[str]) -> str:
    """The recipe as it was written, with what was changed; or the whole plan where nobody wrote one."""
    if not text:
        return toml_text(msgspec.to_builtins(plan))
    return f"# changed on the command line: {shlex.join(words)}\n{text}" if words else text


def _run_own(plan: Recipe, path: Path, out: Path, options: TrainOptions) -> None:
    """A recipe with a run of its own: a small network from scratch, in one go of some minutes."""
    from scopeline_training.train import run

    asked = {
        "--weights": options.weights, "--limit": options.run.limit, "--continue": options.run.go_on_from,
        "--resume": options.run.resume, "--force": options.run.force,
    }  # fmt: skip
    if useless := [word for word, value in asked.items() if value]:
        raise ConfigError(
            f"{path}: wanted --set, --epochs, --trial or --out, got {', '.join(useless)}: this recipe starts from "
            "scratch, runs in one go, and has no data set that probes could refuse"
        )
    plan = trial_recipe(plan) if options.trial else plan
    plan = with_epochs(plan, options.epochs) if options.epochs else plan
    run(plan, path, out, options.words)


def _trial_size(experiment: Experiment, size: int) -> int:
    """Preset `oct` cuts 224 out of 256: a little more goes in, so that what comes out has the size."""
    return round(size * 256 / 224) if experiment.augment.preset == "oct" else size
