"""Splitting: folds and three-way splits that keep groups whole and labels balanced; the same seed, the same split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scopeline.errors import ConfigError
from scopeline_training.catalogue import SPLITS, Catalogue
from scopeline_training.folds import grouped_folds

Numbers = NDArray[np.int64]

FOLDS = 12
"""As study S1 had it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Numbers of the samples of a three-way split, each sorted."""

    train: Numbers
    val: Numbers
    test: Numbers

    def named(self) -> dict[str, Numbers]:
        """Part -> numbers, in the order train, val, test."""
        return {"train": self.train, "val": self.val, "test": self.test}


def folds(labels: Numbers, groups: Numbers, k: int = FOLDS, seed: int = 0) -> list[tuple[Numbers, Numbers]]:
    """k (train, test) pairs by scikit-learn's `StratifiedGroupKFold`; every sample is tested once.

    Raises:
        ConfigError: fewer than k groups.
    """
    there = len(np.unique(groups))
    if k < 2 or there < k:
        raise ConfigError(f"wanted {k} folds (2 or more), got {there} groups; ask for at most {there} folds")
    return list(grouped_folds(labels, groups, folds=k, seed=seed))


def three_way(
    labels: Numbers, groups: Numbers, seed: int, shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
) -> Parts:
    """Train, val and test numbers; no group crosses, and every label is shared out as nearly as its groups allow.

    Groups go, largest first, to the part whose counts per label they bring nearest to what it should have.

    Raises:
        ConfigError: shares that are not positive or do not sum to 1, or fewer than three groups.
    """
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(f"wanted three positive shares that sum to 1, got {shares}")
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < 3:
        raise ConfigError(f"wanted at least three groups to split in three, got {len(names)}; add patients")
    _, label = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(names), int(label.max()) + 1))
    np.add.at(counts, (member, label), 1)
    part_of = _deal(counts, np.array(shares), np.random.default_rng(seed))
    parts = [np.flatnonzero(part_of[member] == part).astype(np.int64) for part in range(3)]
    return Parts(*parts)


def given_parts(catalogue: Catalogue) -> Parts | None:
    """The split that the data set comes with, or None where it has none.

    Raises:
        ConfigError: only some samples have a split, or one of train and test is missing.
    """
    given = np.array([sample.split or "" for sample in catalogue.samples])
    if not given.astype(np.bool_).any():
        return None
    parts = [np.flatnonzero(given == split).astype(np.int64) for split in SPLITS]
    if (given == "").any() or not len(parts[0]) or not len(parts[2]):
        found = {split or "none": int((given == split).sum()) for split in (*SPLITS, "")}
        raise ConfigError(
            f"{catalogue.description}: wanted a split for every picture, with train and test, got {found}; "
            "complete it, or ask for a new split"
        )
    return Parts(*parts)


def crossing(parts: Sequence[Numbers], groups: Numbers) -> Numbers:
    """Groups that lie in more than one part: what leaks. Empty for every split made here."""
    seen = [set(groups[part].tolist()) for part in parts]
    shared = {
        group for number, one in enumerate(seen) for other in seen[number + 1 :] for group in one & other
    }
    return np.array(sorted(shared), np.int64)


def _deal(counts: NDArray[np.float64], shares: NDArray[np.float64], rng: np.random.Generator) -> Numbers:
    """(G,) part of each group, of (G, K) counts per label."""
    wanted = shares[:, None] * counts.sum(axis=0)[None, :]
    weight = 1.0 / np.maximum(counts.sum(axis=0), 1.0)  # a rare label counts as much as a common one
    got = np.zeros_like(wanted)
    part_of = np.zeros(len(counts), np.int64)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    for group in order:
        lack = ((got + counts[group] - wanted) ** 2 - (got - wanted) ** 2) @ weight
        part_of[group] = int(np.argmin(lack / shares))
        got[part_of[group]] += counts[group]
    sizes = counts.sum(axis=1)
    for part in range(3):
        if not (
            part_of == part
        ).any():  # few groups: the smallest of the part that has most groups moves over
            richest = int(np.bincount(part_of, minlength=3).argmax())
            own = np.flatnonzero(part_of == richest)
            part_of[own[np.argmin(sizes[own])]] = part
    return part_of
