"""Data sets: from the `[data]` table of a recipe to a catalogue."""

from __future__ import annotations

import os
from pathlib import Path

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue
from scopeline_training.layouts import (
    class_folders,
    file_prefix,
    hyperkvasir,
    limuc,
    manifest,
    mask_pairs,
    sheet,
)
from scopeline_training.layouts.plans import (
    ClassFolders,
    DataPlan,
    FilePrefix,
    HyperKvasir,
    Limuc,
    Manifest,
    MaskPairs,
    Sheet,
    StandIn,
)
from scopeline_training.pictures import cache_folder
from scopeline_training.stand_ins import make_stand_in

DATA_VARIABLE = "SCOPELINE_DATA"


def read_catalogue(plan: DataPlan, beside: Path | None = None) -> Catalogue:
    """The data set that a recipe's `[data]` table names.

    Args:
        plan: The table.
        beside: Folder of the recipe; relative roots are sought there first, then below `$SCOPELINE_DATA`, then in
            the working folder.

    Raises:
        ConfigError: no such folder, or it has another form; the message says what was wanted and what came.
    """
    match plan:
        case ClassFolders():
            return class_folders.read(root_of(plan.root, beside), plan)
        case Sheet():
            return sheet.read(root_of(plan.root, beside), plan)
        case FilePrefix():
            return file_prefix.read(root_of(plan.root, beside), plan)
        case MaskPairs():
            return mask_pairs.read(root_of(plan.root, beside), plan)
        case Limuc():
            return limuc.read(root_of(plan.root, beside), plan)
        case HyperKvasir():
            return hyperkvasir.read(root_of(plan.root, beside), plan)
        case Manifest():
            return manifest.read(root_of(plan.root, beside, manifest.NAME), plan)
        case StandIn():
            return make_stand_in(plan, cache_folder().parent / "stand_ins")


def root_of(root: str, beside: Path | None = None, holding: str = "") -> Path:
    """The folder that a recipe names.

    Args:
        root: What the recipe says.
        beside: Folder of the recipe.
        holding: A file that must be in it, so that the recipe's own folder is not taken for a data set.

    Raises:
        ConfigError: it is at none of the places where it was sought.
    """
    places = [Path(root)] if Path(root).is_absolute() else []
    if not places:
        bases = [beside, Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None, Path()]
        places = [base / root for base in bases if base is not None]
    for place in places:
        if place.is_dir() and (place / holding).exists():
            return place.resolve()
    wanted = f"{root!r} with {holding}" if holding else repr(root)
    raise ConfigError(
        f"wanted the data folder {wanted}, it is not at {', '.join(map(str, places))}; "
        f"correct `root` in the recipe, or set {DATA_VARIABLE}"
    )
