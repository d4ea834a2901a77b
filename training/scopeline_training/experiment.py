"""Experiment: a recipe of the general path: any data set, any network of the zoo, any questions.

TOML in, frozen structs out; an unknown key is an error that says where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from scopeline.errors import ConfigError
from scopeline_training.layouts.plans import DataPlan
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.pair_stand_in import PairStandIn
from scopeline_training.pictures import PicturePlan
from scopeline_training.presets import PresetName
from scopeline_training.recipe import Count, Positive, Recipe, Share, described, read_table
from scopeline_training.schedules import Constant, Schedule
from scopeline_training.splitting import FOLDS
from scopeline_training.variants import VariantPlan


class FrozenPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """First phase of a transfer: the backbone is frozen, its batch norms too, and only the answers learn (study S3)."""

    epochs: Count = 10
    rate: Positive = 1e-3
    patience: Count | None = 3
    """Epochs without a better validation loss before the phase ends early; never if None."""


class FittingPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the weights are found: a frozen phase if one is asked for, and then the fit itself."""

    epochs: Count = 30
    """Of the fit itself, at most."""
    batch: Count = 32
    rate: Positive = 1e-3
    weight_decay: float = 0.0
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    schedule: Schedule = msgspec.field(default_factory=Constant)
    patience: Count | None = None
    """The fit ends after exactly so many epochs in a row without a better validation loss; never early if None. The
    weights of the best epoch are what is kept, either way."""
    least_gain: float = 0.0
    """By how much a validation loss must fall to count as better."""
    frozen: FrozenPlan | None = None
    learn_from: int | str | None = None
    """Number of the first parameter tensor of the backbone that learns (130 of ResNet50 in study S2), or name of a
    layer; all of it if None."""
    learn_only: tuple[str, ...] = ()
    """Layers of the backbone that learn, and no other (Inception v3 in study S2)."""
    clip: float | None = None
    """Largest norm of the gradient; as it comes if None."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"
    """As Lightning names it: "cpu", "gpu", "auto"."""
    devices: int | str = 1
    """How many, or "auto"."""
    nodes: Count = 1
    strategy: str = "auto"
    """As Lightning names it: "ddp", "fsdp", ..."""
    workers: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Processes that load and vary pictures, per device; 0 does it in the fitting process."""
    deterministic: bool = True
    """Same seed, same weights, on one kind of machine. Costs some speed on a GPU."""


class AugmentPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How training pictures are varied."""

    preset: PresetName = "none"


class SpoilPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Good pictures that are made bad on purpose, to teach a head what bad is."""

    head: str = "quality"
    """Its labels are "bad" and "good"."""
    share: Share = 0.35
    """Of the training pictures, drawn anew in every epoch; validation and test show each picture once as it is and
    once spoilt."""
    families: Literal["seed", "all"] = "all"
    """`seed`: blur, brightness and both, as study S5; `all`: every family that the engine's tests know."""
    outliers: Share = 0.0
    """Of what is spoilt in training: generic corruptions that are none of the families
    (`scopeline_training.outliers`), so that faults nobody planted look odd too. None in validation and test."""


class SplitPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is trained on and who is tested. No group ever crosses."""

    kind: Literal["auto", "given", "three_way", "folds"] = "auto"
    """`given`: the data set's own; `three_way`: train, val and test; `folds`: cross-validation; `auto`: the data set's
    own where it has one, else three ways."""
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Of train, val and test."""
    k: Annotated[int, msgspec.Meta(ge=2)] = FOLDS
    """Folds, of cross-validation."""
    hamming: Annotated[int, msgspec.Meta(ge=0, le=64)] = 8
    """Largest distance of look-alikes, where no patient is known."""
    head: str | None = None
    """Whose labels are shared out evenly; the first head's if None."""
    only_trained: tuple[str, ...] = ()
    """Labels of that head whose pictures are always trained on and never tested: a single recording as a test picture
    would measure whether the network knows it again."""


class ProbePlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do with a data set whose labels can be told by a shortcut."""

    force: bool = False
    """Train all the same; report and card are stamped."""


class TrackPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who else hears of the fit; a CSV file always does."""

    tensorboard: bool = False
    wandb: Literal["off", "offline", "online"] = "off"
    project: str = "scopeline"
    """For W&B."""


class Experiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole experiment on one screen."""

    name: str
    version: str = "1"
    licence: str = "Apache-2.0"
    """Of the weights."""
    notice: str = "Research use only. Not a medical device."
    seed: int = 42
    data: DataPlan | PairStandIn
    input: PicturePlan = PicturePlan()
    network: NetworkPlan = NetworkPlan()
    heads: tuple[HeadPlan, ...] = ()
    """Questions; one per column of labels of the data set, or its mask, if empty."""
    fit: FittingPlan = FittingPlan()
    augment: AugmentPlan = AugmentPlan()
    spoil: SpoilPlan | None = None
    split: SplitPlan = SplitPlan()
    variant: VariantPlan | None = None
    probe: ProbePlan = ProbePlan()
    track: TrackPlan = TrackPlan()


KINDS_WITH_OWN_RUN = ("synthetic", "colon")
"""Kinds of data whose recipes have a run of their own, see `scopeline_training.recipe`."""


def read_any(path: Path, changes: Sequence[str] = ()) -> Recipe | Experiment:
    """The recipe in a TOML file, of whichever path its `[data] kind` belongs to.

    Args:
        path: The file.
        changes: `key.key=value` each, in TOML or as a bare word; they go over what the file says.

    Raises:
        ConfigError: the file is missing or wrong; the message says where.
    """
    table = read_table(path)
    where = f"{path} with --set {', '.join(changes)}" if changes else str(path)
    kind = table["data"].get("kind") if isinstance(table.get("data"), dict) else None
    if kind not in KINDS_WITH_OWN_RUN:
        return experiment_of(changed(table, changes), where)
    return described(changed(table, changes), Recipe, where)


def read_experiment(path: Path, changes: Sequence[str] = ()) -> Experiment:
    """A recipe of the general path.

    Raises:
        ConfigError: as of `read_any`, or it belongs to another path.
    """
    found = read_any(path, changes)
    if isinstance(found, Recipe):
        raise ConfigError(
            f"{path}: wanted a recipe of the general path, got one of kind {'/'.join(KINDS_WITH_OWN_RUN)}"
        )
    return found


def experiment_of(table: Mapping[str, Any], where: str) -> Experiment:
    """The experiment that a table of plain values describes.

    Raises:
        ConfigError: an unknown key or a value of the wrong kind; the message says where.
    """
    return described(table, Experiment, where)


def changed(table: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of a table with some values set, as `fit.rate=1e-4` or `heads.0.loss=corn`.

    Raises:
        ConfigError: a change without `=`, or one that leads through something that is no table.
    """
    copy: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(table))
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key:
            raise ConfigError(f"wanted a change as fit.rate=1e-4, got {change!r}")
        _set(copy, key.split("."), _value(value), change)
    return copy


def _set(table: Any, keys: Sequence[str], value: object, change: str) -> None:
    for number, key in enumerate(keys):
        last = number == len(keys) - 1
        if isinstance(table, list) and key.isdigit() and int(key) < len(table):
            if last:
                table[int(key)] = value
            else:
                table = table[int(key)]
        elif isinstance(table, dict):
            if last:
                table[key] = value
            else:
                table = table.setdefault(key, {})
        else:
            raise ConfigError(
                f"cannot set {change!r}: {'.'.join(keys[:number])} is no table with {key!r} in it"
            )


def _value(text: str) -> object:
    """A TOML value; a bare word stands for itself."""
    try:
        return msgspec.toml.decode(f"value = {text}", type=dict[str, Any])["value"]
    except msgspec.DecodeError:
        return text
