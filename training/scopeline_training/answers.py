"""Answers: what a network said of labelled pictures, and what was true. Every figure and plot starts from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Answers:
    """Probabilities of one head for N pictures beside their true labels.

    Raises:
        ValueError: the arrays do not belong together, or a row is no probability distribution.
    """

    names: tuple[str, ...]
    """What the pictures are called, for tables; often a path relative to the data set."""
    groups: NDArray[np.int64]
    """(N,) patient, procedure or look-alike cluster; pictures of one group are no independent witnesses."""
    truth: NDArray[np.int64]
    """(N,) true label numbers, 0..K-1; pictures without a label are left out."""
    probabilities: NDArray[np.float64]
    """(N, K), each row sums to 1."""
    labels: tuple[str, ...]
    """K label names in the order of their numbers."""
    head: str
    split: str
    """Which part of the data: "train", "val", "test", "12 folds", "external" or whatever the run calls it."""

    def __post_init__(self) -> None:
        count, labels = len(self.names), len(self.labels)
        where = f"answers of {self.head!r} ({self.split})"
        if count == 0:
            raise ValueError(f"{where}: wanted at least one picture, got none")
        if self.probabilities.shape != (count, labels):
            raise ValueError(
                f"{where}: probabilities must be ({count}, {labels}) for the given names and labels, "
                f"got {self.probabilities.shape}"
            )
        if len(self.groups) != count or len(self.truth) != count:
            raise ValueError(
                f"{where}: wanted a group and a true label for each of {count} pictures, "
                f"got {len(self.groups)} and {len(self.truth)}"
            )
        if self.truth.min() < 0 or self.truth.max() >= labels:
            raise ValueError(
                f"{where}: true labels must lie in 0..{labels - 1}, got {self.truth.min()}..{self.truth.max()}"
            )
        off = np.abs(self.probabilities.sum(axis=1) - 1)
        if not (off < 1e-3).all() or self.probabilities.min() < 0:  # NaN fails, too
            raise ValueError(f"{where}: every row must be probabilities with sum 1; softmax the logits first")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def said(self) -> NDArray[np.int64]:
        """(N,) the label with the highest probability."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(K,) how many pictures truly have each label."""
        return np.asarray(np.bincount(self.truth, minlength=len(self.labels)), np.int64)

    @property
    def prevalence(self) -> NDArray[np.float64]:
        """(K,) share of the pictures that truly have each label."""
        return self.counts / len(self)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_] | Sequence[int]) -> Answers:
        """Some of the answers, by number or by mask, in that order."""
        numbers = np.arange(len(self))[np.asarray(index)]
        return Answers(
            tuple(self.names[number] for number in numbers),
            self.groups[numbers],
            self.truth[numbers],
            self.probabilities[numbers],
            self.labels,
            self.head,
            self.split,
        )


def join_answers(parts: Sequence[Answers], split: str) -> Answers:
    """The answers of several parts that share head and labels, as of all folds; groups keep their numbers.

    Raises:
        ValueError: parts of different heads or labels.
    """
    kinds = {(part.head, part.labels) for part in parts}
    if len(kinds) != 1:
        raise ValueError(f"wanted answers of one head with one list of labels, got {sorted(kinds)}")
    head, labels = kinds.pop()
    return Answers(
        tuple(name for part in parts for name in part.names),
        np.concatenate([part.groups for part in parts]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        labels,
        head,
        split,
    )
