"""Class folders: one folder per label, below train, val and test folders or not (studies S2 and S3)."""

from __future__ import annotations

from pathlib import Path

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.layouts.files import (
    catalogue_of,
    folders_in,
    images_below,
    labels_in_order,
    split_folders,
)
from scopeline_training.layouts.plans import ClassFolders


def read(root: Path, plan: ClassFolders) -> Catalogue:
    """The pictures of `root/LABEL/**` or `root/{train,val,test}/LABEL/**`.

    Pictures of one folder below a label (`LABEL/PATIENT/*`) share a group.

    Raises:
        ConfigError: fewer than two labels, a label without pictures, or no such folder.
    """
    samples = []
    for split, folder in split_folders(root):
        for label in folders_in(folder):
            for path in images_below(label, deep=True):
                inner = path.parent.relative_to(label).as_posix()
                group = None if inner == "." else inner
                samples.append(Sample(path, {plan.head: label.name}, group=group, split=split))
    labels = labels_in_order(plan.labels, (sample.labels[plan.head] for sample in samples))
    empty = {each.name for _, folder in split_folders(root) for each in folders_in(folder)} - set(labels)
    if not plan.labels and empty:
        raise ConfigError(
            f"{root}: wanted pictures in every folder, got none in {', '.join(sorted(empty))}; "
            "fill or remove it, or name the labels to use"
        )
    if len(labels) < 2:
        raise ConfigError(
            f"{root}: wanted a folder of pictures for each of two or more labels, got "
            f"{', '.join(labels) or 'none'}; put the pictures of a label into a folder of its name"
        )
    return catalogue_of(root, plan, samples, {plan.head: labels}, "class folders")
