"""Recipe: one experiment on one screen. TOML in, frozen structs out; an unknown key is an error that says where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from scopeline.bundle import Role
from scopeline.crop import CropKind
from scopeline.errors import ConfigError

_Kind = TypeVar("_Kind")

Count = Annotated[int, msgspec.Meta(ge=1)]
Seed = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class InputPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the network is shown."""

    size: Annotated[int, msgspec.Meta(ge=32)] = 128
    """Width and height in pixels."""
    crop: CropKind = CropKind.INSCRIBED


class HeadPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question to the network."""

    name: str
    role: Role
    labels: Annotated[tuple[str, ...], msgspec.Meta(min_length=2)]
    weight: Positive = 1.0
    """Share of this head's loss in the sum."""
    ordinal_power: Positive | None = None
    """Exponent of the class-distance loss for ordered labels; plain cross-entropy if None."""
    balance: Share = 0.5
    """Classes weigh by their count to minus this power: 0 as they come, 1 all alike."""


class FitPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the weights are found."""

    epochs: Count
    batch: Count = 32
    peak_rate: Positive = 3e-3
    weight_decay: NotNegative = 0.02
    spoilt_share: Share = 0.35
    """Share of the clean pictures that are degraded on the fly and taught as bad."""
    outlier_share: Share = 0.0
    """Share of those that get a generic corruption instead of a family; see `scopeline_training.outliers`."""
    ema_decay: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.99
    """Of the running average of weights that is shipped."""


class SyntheticData(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="synthetic"
):
    """Frames of simulated procedures; see `scopeline_training.synthetic`."""

    procedures: Count
    frames_per_procedure: Count
    scenes: Seed
    """Still scenes beside the procedures, each of another wall."""
    encoded_procedures: Seed
    """How many of the procedures go through an H.264 encoder first."""
    held_out_procedures: Annotated[int, msgspec.Meta(ge=2)]
    """More procedures, never trained on: half fit the temperatures, half give the card's figures."""
    first_seed: Seed


class ColonData(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="colon"
):
    """Openly licensed colon images; see `scopeline_training.colon`."""

    licences: tuple[str, ...]
    """Licences a file of the manifest may have."""
    outside_pictures: Count
    every_nth_frame: Count
    """Of the clips."""
    folds: Annotated[int, msgspec.Meta(ge=2)]
    fold_epochs: Count
    """Epochs of each cross-validation fold."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole experiment."""

    name: str
    version: str
    licence: str
    notice: str
    seed: Seed
    input: InputPlan
    heads: tuple[HeadPlan, ...]
    data: SyntheticData | ColonData
    fit: FitPlan


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        ConfigError: the file is missing or wrong; the message says where.
    """
    return described(read_table(path), Recipe, str(path))


def described(table: Mapping[str, Any], kind: type[_Kind], where: str) -> _Kind:
    """The recipe, of whichever path, that a table of plain values describes.

    Raises:
        ConfigError: an unknown key or a value of the wrong kind; the message says where.
    """
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: not a recipe: {error}") from error


def read_table(path: Path) -> dict[str, Any]:
    """The table in a recipe's TOML file, as it stands.

    Raises:
        ConfigError: the file is missing or no TOML; the message says where.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise ConfigError(f"{path}: wanted a recipe, cannot read it ({error.strerror})") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a recipe: {error}") from error


def trial_recipe(recipe: Recipe) -> Recipe:
    """The recipe made so small that it is through in about a minute; what is smaller already stays."""
    data, fit = recipe.data, recipe.fit
    match data:
        case SyntheticData():
            small: SyntheticData | ColonData = msgspec.structs.replace(
                data, procedures=min(data.procedures, 2), encoded_procedures=min(data.encoded_procedures, 1),
                frames_per_procedure=min(data.frames_per_procedure, 16), scenes=min(data.scenes, 6),
                held_out_procedures=min(data.held_out_procedures, 4),
            )  # fmt: skip
        case ColonData():
            small = msgspec.structs.replace(
                data, every_nth_frame=max(data.every_nth_frame, 25), fold_epochs=1, folds=2,
                outside_pictures=min(data.outside_pictures, 20),
            )  # fmt: skip
    return msgspec.structs.replace(
        recipe, data=small, fit=msgspec.structs.replace(fit, epochs=min(fit.epochs, 2))
    )


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with so many epochs in every fit."""
    data = recipe.data
    if isinstance(data, ColonData):
        data = msgspec.structs.replace(data, fold_epochs=epochs)
    return msgspec.structs.replace(recipe, data=data, fit=msgspec.structs.replace(recipe.fit, epochs=epochs))
