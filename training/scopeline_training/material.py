"""Material: the pictures of a data set as a network is shown them, with the targets of every question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels
from scopeline_training.catalogue import Catalogue
from scopeline_training.examples import UNKNOWN
from scopeline_training.network_plan import HeadPlan
from scopeline_training.pictures import MaskPixels, PicturePlan, load_mask, load_pixels, load_second
from scopeline_training.variants import is_good

Numbers = NDArray[np.int64]

HELD_BYTES = 3 << 30
"""Pictures are held in memory up to here; a larger set is read from the cache on disk again and again."""


class Shown:
    """Pictures and masks of a catalogue through the engine's own crop, held in memory while they fit.

    Args:
        catalogue: Whose pictures.
        plan: How they are brought to the input.
        dual: Whether each has a second picture.
        masks: Whether each has a mask.
    """

    def __init__(self, catalogue: Catalogue, plan: PicturePlan, *, dual: bool, masks: bool) -> None:
        self.catalogue, self.plan, self.dual, self.masks = catalogue, plan, dual, masks
        size = len(catalogue) * plan.size**2 * (3 + 3 * dual + masks)
        self._held: dict[int, tuple[tuple[Pixels, ...], MaskPixels | None]] | None = (
            {} if size <= HELD_BYTES else None
        )

    def __len__(self) -> int:
        return len(self.catalogue)

    def __call__(self, number: int) -> tuple[tuple[Pixels, ...], MaskPixels | None]:
        """One or two (S, S, 3) uint8 RGB pictures, and the (S, S) uint8 mask if there is one. Not to be written to."""
        if self._held is not None and number in self._held:
            return self._held[number]
        sample = self.catalogue.samples[number]
        pictures: tuple[Pixels, ...] = (load_pixels(sample, self.plan),)
        if self.dual:
            pictures += (load_second(sample, self.plan),)
        known = sample.mask is not None or sample.is_clear
        mask = load_mask(sample, self.plan) if self.masks and known else None
        if self._held is not None:
            self._held[number] = (pictures, mask)
        return pictures, mask

    def look(self, seen: Callable[[], object]) -> None:
        """Crops everything once, so that a fit does not wait for it; `seen` hears of each picture."""
        for number in range(len(self)):
            self(number)
            seen()


@dataclass(frozen=True, slots=True)
class Material:
    """Some of the pictures of a catalogue, with groups and targets."""

    shown: Shown
    numbers: Numbers
    """(N,) which pictures of `shown`."""
    groups: Numbers
    """(N,)"""
    targets: Mapping[str, Numbers]
    """Head -> (N,) label numbers in the head's own order, UNKNOWN where there is none. Mask heads are not in it."""

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.shown.catalogue.names[number] for number in self.numbers)

    def take(self, index: Numbers | NDArray[np.bool_]) -> Material:
        """Some of these, by place or by mask."""
        targets = {head: each[index] for head, each in self.targets.items()}
        return replace(self, numbers=self.numbers[index], groups=self.groups[index], targets=targets)


def material_of(
    catalogue: Catalogue, groups: Numbers, plan: PicturePlan, heads: Sequence[HeadPlan], *, dual: bool
) -> Material:
    """All pictures of a catalogue.

    Raises:
        ConfigError: the catalogue has no labels of a head.
    """
    masks = any(head.role == "mask" for head in heads)
    targets = {head.name: _targets(catalogue, head) for head in heads if head.role != "mask"}
    shown = Shown(catalogue, plan, dual=dual, masks=masks)
    return Material(shown, np.arange(len(catalogue)), groups, targets)


def colour_statistics(material: Material) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of R, G and B in 0..1 over all pixels; study S2 takes them of its training part."""
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for number in material.numbers:
        for pixels in material.shown(int(number))[0]:
            values = pixels.reshape(-1, 3) / 255.0
            count += len(values)
            total += values.sum(axis=0)
            squares += (values**2).sum(axis=0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    return _colour(mean), _colour(std)


def _colour(values: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (round(float(each), 4) for each in values)
    return red, green, blue


def _targets(catalogue: Catalogue, head: HeadPlan) -> Numbers:
    if head.name not in catalogue.classes and head.role == "quality":
        good, bad = head.labels.index("good"), head.labels.index("bad")
        return np.array(
            [good if each.quality is None or is_good(each) else bad for each in catalogue.samples], np.int64
        )
    names, found = catalogue.classes.get(head.name, ()), catalogue.labels_of(head.name)
    # One more entry for UNKNOWN, which is -1: the last.
    number = [head.labels.index(name) if name in head.labels else UNKNOWN for name in names] + [UNKNOWN]
    return np.array(number, np.int64)[found]
