"""File prefix: the label stands at the start of the file name (study S2, Kermany's OCT: `CNV-1016042-1.jpeg`)."""

from __future__ import annotations

from pathlib import Path

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.layouts.files import catalogue_of, images_below, split_folders
from scopeline_training.layouts.plans import FilePrefix


def read(root: Path, plan: FilePrefix) -> Catalogue:
    """The pictures below train, val and test folders, or below the root; case of the prefix does not matter.

    Raises:
        ConfigError: a file whose prefix is none of the labels, or a label without pictures.
    """
    by_case = {label.upper(): label for label in plan.labels}
    samples = []
    for split, folder in split_folders(root):
        for path in images_below(folder, deep=True):
            parts = path.stem.split(plan.separator)
            if parts[0].upper() not in by_case:
                raise ConfigError(
                    f"{path}: wanted a file name that starts with {', '.join(plan.labels)} and "
                    f"{plan.separator!r}, got {path.name!r}"
                )
            patient = parts[1] if plan.patient_is_second and len(parts) > 2 else None
            samples.append(Sample(path, {plan.head: by_case[parts[0].upper()]}, group=patient, split=split))
    return catalogue_of(root, plan, samples, {plan.head: plan.labels}, "labels in file names")
