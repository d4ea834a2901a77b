"""Catalogue: the pictures of a data set, what is known of each, and a hash of all of it. No pixels are held."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline.errors import ConfigError
from scopeline_training.examples import UNKNOWN

Split = Literal["train", "val", "test"]
SPLITS: tuple[str, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of a data set and what its publisher says of it."""

    path: Path
    """The image file."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Head -> label name; a head that nobody answered for this picture is absent."""
    group: str | None = None
    """Patient, or else procedure or clip; None when nobody knows."""
    split: str | None = None
    """"train", "val" or "test" where the data set comes with a split."""
    mask: Path | None = None
    """Mask file of the same scene, for segmentation."""
    is_clear: bool = False
    """Nothing that a mask would mark is in the picture: its mask is empty and has no file."""
    second: Path | None = None
    """The other image of a dual input, never the same file as `path`."""
    camera: str | None = None
    round: int | None = None
    """Number of the collection round."""
    quality: str | None = None
    """"good" or "bad" or whatever the sheet says, besides any head of that name."""

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in SPLITS:
            raise ConfigError(
                f"{self.path}: wanted a split of {', '.join(SPLITS)} or none, got {self.split!r}"
            )
        if self.is_clear and self.mask is not None:
            raise ConfigError(f"{self.path}: wanted a mask or the word that it would be empty, got both")
        if self.second is not None and self.second == self.path:
            raise ConfigError(f"{self.path}: a dual input wants two pictures, got the same one twice")


@dataclass(frozen=True)
class Catalogue:
    """A data set: samples and the ordered labels of each head.

    Raises:
        ConfigError: no samples, a file twice, or a label that its head does not have.
    """

    samples: tuple[Sample, ...]
    classes: Mapping[str, tuple[str, ...]]
    """Head -> label names in the order of their numbers."""
    description: str
    """One sentence for the report: what it is and where it comes from."""
    root: Path | None = None
    """What the paths are told relative to; the deepest folder that holds all files if None."""

    def __post_init__(self) -> None:
        if not self.samples:
            raise ConfigError(f"{self.description}: wanted at least one picture, got none")
        for sample in self.samples:
            for head, label in sample.labels.items():
                if label not in self.classes.get(head, ()):
                    raise ConfigError(
                        f"{sample.path}: wanted a label of {head!r} among "
                        f"{', '.join(self.classes.get(head, ())) or '(no such head)'}, got {label!r}"
                    )
        path, count = Counter(sample.path for sample in self.samples).most_common(1)[0]
        if count > 1:
            raise ConfigError(f"{path}: wanted every picture once, got it {count} times; remove the repeats")

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def sha256(self) -> str:
        """Hash over relative paths, contents of all files, labels, groups and splits; independent of the order."""
        rows = [
            (
                name,
                *_file_hashes(sample),
                sorted(sample.labels.items()),
                sample.group,
                sample.split,
                *(["clear"] if sample.is_clear else []),
            )
            for name, sample in zip(self.names, self.samples, strict=True)
        ]
        whole = (sorted(self.classes.items()), sorted(rows))
        return hashlib.sha256(msgspec.json.encode(whole)).hexdigest()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Paths relative to the root with forward slashes, one per sample."""
        root = self.root or Path(
            os.path.commonpath([sample.path.absolute().parent for sample in self.samples])
        )
        return tuple(
            sample.path.absolute().relative_to(root.absolute()).as_posix()
            if sample.path.absolute().is_relative_to(root.absolute())
            else sample.path.as_posix()
            for sample in self.samples
        )

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_] | Sequence[int]) -> Catalogue:
        """Some of the samples, by number or by mask, in that order."""
        numbers = np.arange(len(self))[np.asarray(index)]
        return replace(self, samples=tuple(self.samples[number] for number in numbers))

    def filtered(self, keep: Callable[[Sample], bool] | None = None, **equal: object) -> Catalogue:
        """The samples for which `keep` says so and whose fields have the given values, as `split="train"`."""
        kept = [
            number
            for number, sample in enumerate(self.samples)
            if (keep is None or keep(sample))
            and all(getattr(sample, name) == value for name, value in equal.items())
        ]
        return self.take(np.array(kept, np.int64))

    def labels_of(self, head: str) -> NDArray[np.int64]:
        """(N,) label numbers of a head, UNKNOWN (-1) where a sample has none.

        Raises:
            ConfigError: the data set has no such head.
        """
        if head not in self.classes:
            raise ConfigError(
                f"{self.description}: wanted labels of {head!r}, got heads {', '.join(self.classes) or '(none)'}"
            )
        number = {label: n for n, label in enumerate(self.classes[head])}
        return np.array(
            [number[each.labels[head]] if head in each.labels else UNKNOWN for each in self.samples], np.int64
        )

    def counts(self, head: str) -> dict[str, int]:
        """How many samples have each label of a head, in the head's order."""
        found = np.bincount(self.labels_of(head) + 1, minlength=len(self.classes[head]) + 1)[1:]
        return dict(zip(self.classes[head], found.tolist(), strict=True))


def file_sha256(path: Path) -> str:
    """Hash of a file's content, remembered until its size or time change."""
    try:
        facts = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: wanted a file, cannot read it ({error.strerror})") from error
    return _sha256(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=200_000)
def _sha256(path: Path, _size: int, _changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _file_hashes(sample: Sample) -> tuple[str | None, ...]:
    return tuple(file_sha256(each) if each else None for each in (sample.path, sample.mask, sample.second))
