"""Picture set: material as batches: varied and spoilt while training, as it is afterwards. Seeded by epoch and picture,
so that neither the number of workers nor an interruption changes what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from scopeline.degrade import FAMILIES, SEED_STYLE, degrade
from scopeline.picture import Pixels
from scopeline_training.examples import UNKNOWN
from scopeline_training.experiment import SpoilPlan
from scopeline_training.material import Material
from scopeline_training.network_plan import HeadPlan
from scopeline_training.outliers import outlier
from scopeline_training.pictures import MaskPixels
from scopeline_training.presets import PresetName, augment, oct_size, steady

Rng = np.random.Generator
Place = tuple[int, int]
"""Epoch from 0, -1 where there is none, and number of the picture in the set."""


class Item(NamedTuple):
    """One example."""

    pictures: tuple[Pixels, ...]
    targets: dict[str, int | NDArray[np.int64]]


class Batch(NamedTuple):
    """What a network is taught with."""

    pictures: tuple[Tensor, ...]
    """One or two (N, S, S, 3) uint8."""
    targets: dict[str, Tensor]
    """Head -> (N,) int64, or (N, S, S) int64 of a mask; UNKNOWN where there is none."""


class PictureSet(Dataset[Item]):
    """Material as a network is taught with it, or tested on it.

    Args:
        material: Pictures and targets.
        heads: The questions.
        preset: How pictures are varied while training; decides their size also afterwards.
        training: Whether to vary and spoil. Otherwise each picture comes as it is, and if any are spoilt in training
            then all come a second time, spoilt.
        spoil: What is spoilt; nothing if None.
        seed: Of everything drawn.
    """

    def __init__(
        self, material: Material, heads: Sequence[HeadPlan], preset: PresetName, *, training: bool,
        spoil: SpoilPlan | None, seed: int,
    ) -> None:  # fmt: skip
        self.material, self.preset, self.training, self.spoil, self.seed = (
            material,
            preset,
            training,
            spoil,
            seed,
        )
        self.masks = tuple(head.name for head in heads if head.role == "mask")
        self._bad, self._good = _bad_and_good(heads, spoil)

    def __len__(self) -> int:
        return len(self.material) * (2 if self._has_copies else 1)

    @property
    def _has_copies(self) -> bool:
        return self.spoil is not None and not self.training

    @property
    def size(self) -> int:
        """Width and height in pixels of what the network gets."""
        size = self.material.shown.plan.size
        return oct_size(size) if self.preset == "oct" else size

    @property
    def names(self) -> tuple[str, ...]:
        names = self.material.names
        return names + tuple(f"{name} (spoilt)" for name in names) if self._has_copies else names

    @property
    def groups(self) -> NDArray[np.int64]:
        return np.tile(self.material.groups, 2) if self._has_copies else self.material.groups

    def target(self, head: str) -> NDArray[np.int64]:
        """(N,) true labels of a head in the order of `names`."""
        targets = self.material.targets[head]
        if not self._has_copies or self.spoil is None:
            return targets
        spoilt = np.full_like(targets, UNKNOWN)
        if head == self.spoil.head:
            spoilt = np.where(targets == self._good, self._bad, UNKNOWN)
        return np.concatenate([targets, spoilt])

    def expected_counts(self, head: HeadPlan) -> NDArray[np.float64]:
        """(K,) labels of a head as one epoch shows them, in the mean: training spoils a share of the good pictures.

        Counted as they lie in the folders, all are good, and a loss balanced by that taught a network to call
        whatever it saw bad.
        """
        targets = self.target(head.name)
        counts = np.bincount(targets[targets != UNKNOWN], minlength=len(head.labels)).astype(np.float64)
        if self.spoil is not None and self.training and head.name == self.spoil.head:
            spoilt = self.spoil.share * counts[self._good]
            counts[self._good] -= spoilt
            counts[self._bad] += spoilt
        return counts

    def __getitem__(self, place: Place) -> Item:
        epoch, number = place
        which = number % len(self.material)
        rng = np.random.default_rng((self.seed, epoch + 1, number))
        pictures, mask = self.material.shown(int(self.material.numbers[which]))
        targets: dict[str, int | NDArray[np.int64]] = {
            head: int(each[which]) for head, each in self.material.targets.items()
        }
        if self._is_spoilt(number, targets, rng):
            assert self.spoil is not None
            pictures = tuple(self._spoilt(each, self.spoil, rng) for each in pictures)
            targets = {head: self._bad if head == self.spoil.head else UNKNOWN for head in targets}
        vary = augment if self.training else _steady
        varied = [vary(self.preset, each, rng, mask) for each in pictures]
        for head in self.masks:
            seen = varied[0][1]
            blank = np.full((self.size, self.size), UNKNOWN, np.int64)
            targets[head] = blank if seen is None else seen.astype(np.int64)
        return Item(tuple(each for each, _ in varied), targets)

    def _spoilt(self, pixels: Pixels, spoil: SpoilPlan, rng: Rng) -> Pixels:
        if self.training and spoil.outliers and rng.random() < spoil.outliers:
            return outlier(pixels, rng, float(rng.uniform()))
        families = SEED_STYLE if spoil.families == "seed" else FAMILIES
        return degrade(str(rng.choice(families)), pixels, rng, float(rng.uniform()))

    def _is_spoilt(self, number: int, targets: dict[str, int | NDArray[np.int64]], rng: Rng) -> bool:
        if self.spoil is None or targets[self.spoil.head] != self._good:
            return False
        return rng.random() < self.spoil.share if self.training else number >= len(self.material)


class Order(Sampler[Place]):
    """The pictures of each epoch in an order that follows from seed and epoch alone.

    Args:
        count: Pictures.
        seed: Of the order.
        epoch: Says which epoch it is when it begins.
    """

    def __init__(self, count: int, seed: int, epoch: Callable[[], int]) -> None:
        self.count, self.seed, self.epoch = count, seed, epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Place]:
        epoch = self.epoch()
        numbers = np.random.default_rng((self.seed, 3, epoch)).permutation(self.count)
        return iter([(epoch, int(number)) for number in numbers])


class AsListed(Sampler[Place]):
    """All pictures in order, outside any epoch."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Place]:
        return iter([(-1, number) for number in range(self.count)])


def shuffled_batches(
    pictures: PictureSet, batch: int, *, epoch: Callable[[], int], workers: int
) -> DataLoader[Item]:
    """Shuffled batches; what does not fill the last one waits for another epoch, unless it is all there is."""
    return DataLoader(
        pictures, batch, sampler=Order(len(pictures), pictures.seed, epoch), collate_fn=collate,
        drop_last=len(pictures) >= batch, num_workers=workers,
    )  # fmt: skip


def listed_batches(pictures: PictureSet, batch: int, *, workers: int) -> DataLoader[Item]:
    """All pictures in order."""
    return DataLoader(
        pictures, batch, sampler=AsListed(len(pictures)), collate_fn=collate, num_workers=workers
    )


def collate(items: Sequence[Item]) -> Batch:
    """Examples as one batch."""
    pictures = tuple(
        torch.from_numpy(np.stack([item.pictures[place] for item in items]))
        for place in range(len(items[0].pictures))
    )
    targets = {
        head: torch.from_numpy(np.stack([np.asarray(item.targets[head], np.int64) for item in items]))
        for head in items[0].targets
    }
    return Batch(pictures, targets)


def _steady(
    preset: PresetName, pixels: Pixels, _rng: Rng, mask: MaskPixels | None
) -> tuple[Pixels, MaskPixels | None]:
    return steady(preset, pixels, mask)


def _bad_and_good(heads: Sequence[HeadPlan], spoil: SpoilPlan | None) -> tuple[int, int]:
    if spoil is None:
        return UNKNOWN, UNKNOWN
    labels = next(head.labels for head in heads if head.name == spoil.head)
    return labels.index("bad"), labels.index("good")
