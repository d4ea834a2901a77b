"""Mask scores: how well areas that a network drew cover those that a person drew."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scopeline_training.figures import Figure, group_draws, with_interval

Masks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MaskAnswers:
    """Areas of one mask head for N pictures beside the true ones.

    Raises:
        ValueError: the arrays do not belong together.
    """

    names: tuple[str, ...]
    groups: NDArray[np.int64]
    """(N,) patient, procedure or look-alike cluster."""
    truth: Masks
    """(N, H, W)"""
    said: Masks
    """(N, H, W)"""
    head: str
    split: str
    """The part of the data. `answering.CLEAR` is at the end where there is nothing to mark in any picture."""

    def __post_init__(self) -> None:
        shapes = (self.truth.shape, self.said.shape, (len(self.names),), self.groups.shape)
        fits = self.truth.ndim == 3 and len({shape[0] for shape in shapes}) == 1 and shapes[0] == shapes[1]
        if not fits or not self.names:
            raise ValueError(
                f"masks of {self.head!r}: wanted truth and said of one shape (N, H, W), N names and N groups, "
                f"got {self.truth.shape}, {self.said.shape}, {len(self.names)} and {self.groups.shape}"
            )

    def __len__(self) -> int:
        return len(self.names)


def dice(truth: Masks, said: Masks) -> NDArray[np.float64]:
    """(N,) Dice of each picture (F1 of its pixels); 1 where both areas are empty."""
    common, sizes = _areas(truth, said)
    return np.where(sizes > 0, 2 * common / np.maximum(sizes, 1), 1.0)


def iou(truth: Masks, said: Masks) -> NDArray[np.float64]:
    """(N,) intersection over union of each picture (Jaccard index); 1 where both areas are empty."""
    common, sizes = _areas(truth, said)
    return np.where(sizes > 0, common / np.maximum(sizes - common, 1), 1.0)


def mask_scores(answers: MaskAnswers, *, seed: int = 0) -> list[Figure]:
    """Mean Dice and IoU of the pictures, then of the groups, then of all pixels pooled, with intervals by group.

    Of pictures in which there is nothing to mark: how many have a mark, and how much of their area is marked.
    """
    if not answers.truth.any():
        return _false_marks(answers, seed)
    number = np.unique(answers.groups, return_inverse=True)[1]
    draws = group_draws(int(number.max()) + 1, seed)
    counts = np.bincount(number).astype(np.float64)
    common, sizes = _areas(answers.truth, answers.said)
    figures = []
    for name, each in (("Dice", dice), ("IoU", iou)):
        sums = np.bincount(number, each(answers.truth, answers.said))
        figures.append(with_interval(name, sums.sum() / len(answers), (draws @ sums) / (draws @ counts)))
        means = sums / counts
        figures.append(
            with_interval(f"mean {name} of groups", means.mean(), draws @ means / draws.sum(axis=1))
        )
    covered, drawn = np.bincount(number, common), np.bincount(number, sizes)
    with np.errstate(invalid="ignore"):
        pooled = 2 * (draws @ covered) / (draws @ drawn)
        figures.append(with_interval("Dice of all pixels", 2 * covered.sum() / drawn.sum(), pooled))
    return figures


def trivial_mask_scores(answers: MaskAnswers) -> dict[str, float]:
    """What `mask_scores` would be of someone who looks at nothing and marks all or none, whichever is better."""
    blind = [
        replace(answers, said=said) for said in (np.ones_like(answers.truth), np.zeros_like(answers.truth))
    ]
    better = max(blind, key=lambda each: float(dice(each.truth, each.said).mean()))
    return {figure.name: figure.value for figure in mask_scores(better)}


def _false_marks(answers: MaskAnswers, seed: int) -> list[Figure]:
    number = np.unique(answers.groups, return_inverse=True)[1]
    draws = group_draws(int(number.max()) + 1, seed)
    counts = np.bincount(number).astype(np.float64)
    shares = {
        "pictures marked": answers.said.any(axis=(1, 2)).astype(np.float64),
        "area marked": answers.said.mean(axis=(1, 2)),
    }
    return [
        with_interval(name, each.mean(), (draws @ np.bincount(number, each)) / (draws @ counts))
        for name, each in shares.items()
    ]


def _areas(truth: Masks, said: Masks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) pixels in both, and pixels in one plus pixels in the other."""
    common = (truth & said).sum(axis=(1, 2)).astype(np.float64)
    return common, (truth.sum(axis=(1, 2)) + said.sum(axis=(1, 2))).astype(np.float64)
