"""Mask pairs: an image and its mask under the same name in two folders (study S4, Kvasir-SEG)."""

from __future__ import annotations

from pathlib import Path

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.layouts.files import catalogue_of, images_below
from scopeline_training.layouts.plans import MaskPairs


def read(root: Path, plan: MaskPairs) -> Catalogue:
    """The pairs of `root/images` and `root/masks`, whose endings may differ, and then what lies in the folders of clear
    pictures. No class labels: the mask is the answer.

    Raises:
        ConfigError: a picture without a mask or a mask without a picture.
    """
    masks = {path.stem: path for path in images_below(root / plan.masks)}
    images = {path.stem: path for path in images_below(root / plan.images)}
    lonely = sorted(images.keys() ^ masks.keys())
    if lonely:
        lacks = "mask" if lonely[0] in images else "picture"
        raise ConfigError(
            f"{root}: wanted a picture and a mask under each name, got no {lacks} for {lonely[0]!r} "
            f"({len(lonely)} such names); add or remove them"
        )
    samples = [Sample(path, mask=masks[stem]) for stem, path in images.items()]
    samples += [
        Sample(path.resolve(), is_clear=True) for each in plan.clear for path in images_below(root / each)
    ]
    return catalogue_of(root, plan, samples, {}, "image and mask pairs")
