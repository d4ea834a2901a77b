"""LIMUC: Mayo grades of 564 patients (Polat et al., Inflammatory Bowel Diseases 2023, doi 10.1093/ibd/izac226).

The publishers' three forms: `patient_based_classified_images/PATIENT/Mayo N`, `train_and_validation_sets/Mayo N`
beside `test_set/Mayo N`, and JSON files with the file names of the ten folds of the paper.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.layouts.files import catalogue_of, folders_in, images_below
from scopeline_training.layouts.plans import Limuc

TRAIN, TEST = "train_and_validation_sets", "test_set"
_GRADE = re.compile(r"mayo[ _-]?([0-3])", re.IGNORECASE)


def read(root: Path, plan: Limuc) -> Catalogue:
    """The pictures with grade and patient; splits where the form has them.

    Raises:
        ConfigError: a folder that is no grade, or a fold that is not there.
    """
    if (root / TRAIN).is_dir():
        samples = [*_graded(root / TRAIN, plan, _fold(root, plan)), *_graded(root / TEST, plan, {}, "test")]
    else:
        samples = [
            sample
            for patient in folders_in(root)
            for sample in _graded(patient, plan, {}, None, patient.name)
        ]
    return catalogue_of(root, plan, samples, {plan.head: plan.labels}, "LIMUC")


def _graded(
    folder: Path, plan: Limuc, splits: dict[str, str], split: str | None = None, patient: str | None = None
) -> Iterator[Sample]:
    for grade in folders_in(folder):
        named = _GRADE.fullmatch(grade.name)
        if named is None:
            raise ConfigError(f"{grade}: wanted folders 'Mayo 0' to 'Mayo 3', got {grade.name!r}")
        for path in images_below(grade):  # the publishers left folders of other uses inside; they are skipped
            yield Sample(
                path,
                {plan.head: named[1]},
                group=patient or path.stem.rpartition("_")[0] or None,
                split=splits.get(path.name, split),
            )


def _fold(root: Path, plan: Limuc) -> dict[str, str]:
    """File name -> split of the fold that the plan names."""
    if plan.fold is None:
        return {}
    splits = {}
    for split in ("train", "val"):
        path = root / plan.folds / f"fold_{plan.fold}" / f"{split}.json"
        try:
            by_grade = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(
                f"{path}: wanted the file names of fold {plan.fold} by grade ({error})"
            ) from error
        splits.update({name: split for names in by_grade.values() for name in names})
    return splits
