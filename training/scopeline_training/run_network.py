"""Run network: from the folder of a `scopeline train` run back to its network in torch, to be explained."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from scopeline.bundle import Bundle, Head, load_bundle
from scopeline.errors import ConfigError
from scopeline_training.experiment import Experiment, read_experiment
from scopeline_training.fitting import load_weights
from scopeline_training.gradient_maps import TorchNetwork
from scopeline_training.learner import AnyNetwork
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.presets import oct_size
from scopeline_training.zoo import build, build_dual

RECIPE, FITS, BUNDLE = "recipe.toml", "fits", "bundle"
CHANGED = "# changed on the command line: "
"""How `train_any` begins the recipe of a run that was changed."""


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run of the general path."""
    return (folder / RECIPE).is_file() and (folder / FITS).is_dir()


def network_of_run(folder: Path, checkpoint: Path | None = None) -> TorchNetwork:
    """The network of a run, in evaluation mode.

    Args:
        folder: The run's: recipe, checkpoints and the bundle, which knows the labels.
        checkpoint: Weights to take; those that became the bundle if None.

    Raises:
        ConfigError: recipe or checkpoints are missing or do not belong together.
        BundleError: the run's bundle is missing or damaged.
    """
    if not is_run(folder):
        raise ConfigError(
            f"{folder}: wanted the folder of a finished `scopeline train` run, with {RECIPE} and {FITS}/, found none"
        )
    recipe, bundle = folder / RECIPE, load_bundle(folder / BUNDLE)
    experiment = read_experiment(recipe, _changes(recipe))
    plan = _from_scratch(experiment.network)
    heads = [_plan_of(head, experiment) for head in bundle.heads]
    network: AnyNetwork = build_dual(plan, heads[0]) if plan.inputs else build(plan, heads)
    load_weights(network, checkpoint or kept_checkpoint(folder))
    return TorchNetwork(
        network.eval(),
        bundle.heads,
        bundle.input,
        middle=_middle(experiment, bundle.input.width),
        place=plan.inputs[0] if plan.inputs else None,
    )


def run_of_checkpoint(checkpoint: Path) -> Path:
    """The run that a checkpoint lies in.

    Raises:
        ConfigError: it lies in none.
    """
    found = next((each for each in checkpoint.resolve().parents if is_run(each)), None)
    if found is None:
        raise ConfigError(
            f"{checkpoint}: wanted a checkpoint in the folder of a run, beside whose {FITS}/ lies its {RECIPE}"
        )
    return found


def kept_checkpoint(folder: Path) -> Path:
    """The weights that became a run's bundle: of the kept fold, its last phase, the best epoch.

    Raises:
        ConfigError: there are none.
    """
    place = folder / FITS / f"fold-{_kept_fold(folder):02d}"
    found = sorted(place.glob("*/best.ckpt"))  # phases are numbered: 1-frozen, 2-all
    if not found:
        raise ConfigError(f"{place}: wanted the checkpoint of a fit (*/best.ckpt), found none")
    return found[-1]


def bundle_of_run(folder: Path) -> Bundle:
    """What the engine loads of a run.

    Raises:
        BundleError: it is missing or damaged.
    """
    return load_bundle(folder / BUNDLE)


def _kept_fold(folder: Path) -> int:
    table = folder / "folds.csv"
    if not table.is_file():
        return 0
    with table.open(newline="", encoding="utf-8") as file:
        rows: Sequence[Sequence[str]] = list(csv.reader(file))[1:]
    return next((int(row[0]) - 1 for row in rows if "kept" in row), 0)


def _from_scratch(plan: NetworkPlan) -> NetworkPlan:
    """The plan without what the checkpoint brings: ImageNet weights, and the data's mean and deviation."""
    scratch = msgspec.structs.replace(plan, weights="none")
    if plan.normalise != "data":
        return scratch
    return msgspec.structs.replace(scratch, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def _plan_of(head: Head, experiment: Experiment) -> HeadPlan:
    """The recipe's question; a recipe that asks none is asked about each of the data set's labels or its mask."""
    asked = next((each for each in experiment.heads if each.name == head.name), None)
    if asked is None and head.role == "mask":
        return HeadPlan(name=head.name, role="mask", labels=head.labels, loss="bce_dice")
    asked = asked or HeadPlan(name=head.name, role=head.role)
    return msgspec.structs.replace(asked, labels=head.labels)


def _middle(experiment: Experiment, size: int) -> int:
    """As `run_bundle.save_bundle` cuts it."""
    return oct_size(size) if experiment.augment.preset == "oct" else 0


def _changes(recipe: Path) -> list[str]:
    """What `--set` changed, which a run's recipe says in its first line. Other options change no network's form."""
    first = recipe.read_text("utf-8").partition("\n")[0]
    if not first.startswith(CHANGED):
        return []
    words = shlex.split(first.removeprefix(CHANGED))
    return [value for word, value in pairwise(words) if word == "--set"]
