"""Folds: splits that keep groups whole and classes balanced."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

Numbers = NDArray[np.int64]


def grouped_folds(
    classes: Numbers, groups: Numbers, *, folds: int, seed: int
) -> Iterator[tuple[Numbers, Numbers]]:
    """(train, test) numbers of each fold; no group is on both sides.

    Args:
        classes: (N,) what to balance over the folds.
        groups: (N,) what may not be parted.
    """
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(np.zeros(len(classes)), classes, groups):
        yield train.astype(np.int64), test.astype(np.int64)


def part_off(classes: Numbers, groups: Numbers, *, share: float, seed: int) -> tuple[Numbers, Numbers]:
    """(rest, part) numbers: one fold of about that share of the examples, apart by group."""
    return next(grouped_folds(classes, groups, folds=max(2, round(1 / share)), seed=seed))
