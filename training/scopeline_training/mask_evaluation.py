"""Mask evaluation: what a finished bundle marks, through the runtime that ships, in pictures that it was not taught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scopeline.backends.onnx_runtime import OnnxRuntimeBackend
from scopeline.bundle import Bundle, Head, load_bundle
from scopeline.errors import ConfigError
from scopeline_training.answering import CLEAR
from scopeline_training.card import figures_table
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.grouping import group_numbers, picture_hash
from scopeline_training.layouts import mask_pairs
from scopeline_training.layouts.files import images_below
from scopeline_training.layouts.plans import MaskPairs
from scopeline_training.look_alikes import NEAR_BITS
from scopeline_training.mask_scores import MaskAnswers, mask_scores
from scopeline_training.pictures import CropName, PicturePlan, load_mask, load_pixels

SPLIT = "external"


def read_masked(
    pairs: Path | None, clear: Sequence[Path], *, unlike: Sequence[Path] = (), hamming: int = NEAR_BITS
) -> Catalogue:
    """Pairs of `images` and `masks`, and folders of pictures in which there is nothing to mark.

    Args:
        pairs: Folder of the two folders.
        clear: Folders of clear pictures.
        unlike: Folders of what the network was taught: what looks like a picture below them is left out.
        hamming: Largest distance of look-alikes, of 64 bits.

    Raises:
        ConfigError: no such folder, a picture without its mask, or no picture that is left.
    """
    samples = list(mask_pairs.read(pairs, MaskPairs()).samples) if pairs else []
    samples += [Sample(path, is_clear=True) for folder in clear for path in images_below(folder)]
    known = [picture_hash(path) for folder in unlike for path in images_below(folder, deep=True)]
    taught = np.array(known, np.uint64)
    kept = [
        each
        for each in samples
        if bool((np.bitwise_count(taught ^ np.uint64(picture_hash(each.path))) > hamming).all())
    ]
    if not kept:
        raise ConfigError(
            f"wanted pictures to judge, got {len(samples)}, of which none is unlike those taught"
        )
    return Catalogue(tuple(kept), {}, "pictures with masks and clear ones")


def mask_answers(
    bundle_folder: Path, catalogue: Catalogue, *, aspect: float | None = None, threshold: float | None = None
) -> list[MaskAnswers]:
    """What a bundle's mask head marks, of pictures with something to mark and then of clear ones.

    Args:
        catalogue: From `read_masked`.
        aspect: Width over height before the files were squashed, if they were.
        threshold: From which probability a pixel is marked; the bundle's own if None.

    Raises:
        ConfigError: the bundle has not exactly one mask head, or its input is not square.
    """
    bundle = load_bundle(bundle_folder)
    head = _mask_head(bundle)
    plan = PicturePlan(size=bundle.input.width, crop=_crop(bundle), aspect=aspect)
    wanted = threshold if threshold is not None else head.threshold
    assert wanted is not None  # every mask head of a loaded bundle has one
    backend = OnnxRuntimeBackend(bundle, threads=1, precision="fp32")
    try:
        said = [
            head.mask(backend.infer(load_pixels(sample, plan)[None])[head.name][0]) >= wanted
            for sample in catalogue.samples
        ]
    finally:
        backend.close()
    truth = np.stack([load_mask(sample, plan) for sample in catalogue.samples]) == 1
    groups, clear = group_numbers(catalogue), np.array([sample.is_clear for sample in catalogue.samples])
    parts = ((SPLIT, np.flatnonzero(~clear)), (SPLIT + CLEAR, np.flatnonzero(clear)))
    return [
        MaskAnswers(
            tuple(catalogue.names[number] for number in numbers),
            groups[numbers], truth[numbers], np.stack(said)[numbers], head.name, name,
        )
        for name, numbers in parts if len(numbers)
    ]  # fmt: skip


def table_of(answers: Sequence[MaskAnswers]) -> str:
    """The figures as Markdown, one table per part."""
    return "\n\n".join(
        f"{len(each)} pictures in {len(np.unique(each.groups))} groups\n\n"
        + figures_table({f"{each.head}, {each.split}": mask_scores(each)})
        for each in answers
    )


def _mask_head(bundle: Bundle) -> Head:
    masks = [head for head in bundle.heads if head.role == "mask"]
    if len(masks) != 1 or bundle.input.width != bundle.input.height:
        raise ConfigError(
            f"{bundle.folder}: wanted one mask head and a square input, got {len(masks)} and "
            f"{bundle.input.width}x{bundle.input.height}"
        )
    return masks[0]


def _crop(bundle: Bundle) -> CropName:
    names: dict[str, CropName] = {
        "inscribed": "inscribed", "masked": "masked", "disc2square": "disc2square", "box": "box"
    }  # fmt: skip
    return names[bundle.input.crop.value]
