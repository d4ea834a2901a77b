"""Reader study: is the model better than each reader, than all together, than their mean, and by how much?

Differences are paired and resampled by group: 2000 times the same groups for the model and for the reader. Each
p value is two-sided and the readers' are corrected together after Holm (1979, "A simple sequentially rejective multiple
test procedure"); consensus and mean are one question each. Agreement among readers is Fleiss' kappa (1971) and Gwet's
AC1 (2008), as kappa collapses where one label is rare. The readers are the ones at hand: nothing here says how other
readers would fare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scopeline.errors import ConfigError
from scopeline_training.examples import UNKNOWN
from scopeline_training.figures import MEASURES, Confusion, Figure, group_draws, with_interval
from scopeline_training.readings import Labels, Readings, consensus
from scopeline_training.scores import label_f1, label_recall, label_specificity

RESAMPLES = 2000
CONSENSUS, MEAN = "consensus", "mean of the readers"

Floats = NDArray[np.float64]
Measure = Callable[[Confusion], Floats]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The model beside one reader, on the cases that this reader read."""

    reader: str
    measure: str
    cases: int
    model: Figure
    human: Figure
    difference: Figure
    """Model minus reader."""
    p: float
    """Two-sided, of the paired cluster bootstrap."""
    p_holm: float | None
    """Corrected over the readers; None for consensus and mean."""


@dataclass(frozen=True, slots=True)
class Study:
    comparisons: tuple[Comparison, ...]
    fleiss: float
    gwet: float
    complete: int
    """Cases that everybody read; agreement is told on these."""


def study(readings: Readings, *, seed: int = 0) -> Study:
    """Compares the model with every reader, the consensus and the readers' mean.

    Raises:
        ConfigError: a reader read nothing, or there are fewer than two groups to resample.
    """
    if len(np.unique(readings.groups)) < 2:
        raise ConfigError("readings: wanted two or more groups (patients) to resample, got one")
    draws = group_draws(int(readings.groups.max()) + 1, seed, RESAMPLES)
    everyone = {**readings.readers, CONSENSUS: consensus(readings)}
    comparisons: list[Comparison] = []
    for name, measure in _measures(readings.labels).items():
        resampled = {who: _paired(readings, said, measure, draws, who) for who, said in everyone.items()}
        raw = [_p_value(resampled[who].differences) for who in readings.readers]
        adjusted = dict(zip(readings.readers, holm(raw), strict=True))
        comparisons += [pair.compared(who, name, adjusted.get(who)) for who, pair in resampled.items()]
        comparisons.append(
            _mean_pair([resampled[who] for who in readings.readers]).compared(MEAN, name, None)
        )
    votes = np.stack(list(readings.readers.values()), axis=1)
    complete = votes[(votes != UNKNOWN).all(axis=1)]
    fleiss, gwet = agreement(_vote_counts(complete, len(readings.labels)))
    return Study(tuple(comparisons), fleiss, gwet, len(complete))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p values, in the order given."""
    order = np.argsort(p_values, kind="stable")
    count, highest = len(order), 0.0
    corrected = [0.0] * count
    for rank, number in enumerate(order):
        highest = max(highest, min(1.0, (count - rank) * p_values[number]))
        corrected[number] = highest
    return corrected


def agreement(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Fleiss' kappa and Gwet's AC1 of (cases, labels) counts of votes, all cases with the same number of readers.

    NaN where there is nothing to agree on: one reader, no case, or (kappa) one label alone.
    """
    readers = int(counts[0].sum()) if len(counts) else 0
    if readers < 2:
        return np.nan, np.nan
    agreed = float(((counts * (counts - 1)).sum(axis=1) / (readers * (readers - 1))).mean())
    shares = counts.sum(axis=0) / counts.sum()
    by_chance = float((shares**2).sum())
    gwet_chance = float((shares * (1 - shares)).sum() / (counts.shape[1] - 1))
    fleiss = (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else np.nan
    return fleiss, (agreed - gwet_chance) / (1 - gwet_chance)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A measure of the model and of a reader on the same cases, and on the same resamples."""

    cases: int
    values: tuple[float, float]
    resampled: tuple[Floats, Floats]

    @property
    def differences(self) -> Floats:
        return self.resampled[0] - self.resampled[1]

    def compared(self, who: str, measure: str, p_holm: float | None) -> Comparison:
        return Comparison(
            who, measure, self.cases,
            with_interval("model", self.values[0], self.resampled[0]),
            with_interval("reader", self.values[1], self.resampled[1]),
            with_interval("difference", self.values[0] - self.values[1], self.differences),
            _p_value(self.differences), p_holm,
        )  # fmt: skip


def _measures(labels: Sequence[str]) -> Mapping[str, Measure]:
    if len(labels) == 2:
        return {
            "F1": lambda table: label_f1(table)[..., 1],
            "kappa": MEASURES["kappa"],
            "balanced accuracy": MEASURES["balanced accuracy"],
            "sensitivity": lambda table: label_recall(table)[..., 1],
            "specificity": lambda table: label_specificity(table)[..., 1],
        }
    return {name: MEASURES[name] for name in ("macro F1", "kappa", "balanced accuracy", "QWK")}


def _paired(readings: Readings, said: Labels, measure: Measure, draws: Floats, who: str) -> _Pair:
    read = said != UNKNOWN
    if not read.any():
        raise ConfigError(f"readings: wanted at least one reading of {who!r}, got none")
    tables = [counts_per_group(readings, each, read) for each in (readings.model, said)]
    with np.errstate(invalid="ignore", divide="ignore"):
        values = [float(measure(table.sum(axis=0))) for table in tables]
        resampled = [np.asarray(measure(np.tensordot(draws, table, axes=1))) for table in tables]
    return _Pair(int(read.sum()), (values[0], values[1]), (resampled[0], resampled[1]))


def _mean_pair(pairs: Sequence[_Pair]) -> _Pair:
    """The model beside the mean of the readers; each reader's difference is on the cases that were read."""
    values = np.mean([pair.values for pair in pairs], axis=0)
    model, human = (np.mean([pair.resampled[side] for pair in pairs], axis=0) for side in (0, 1))
    return _Pair(max(pair.cases for pair in pairs), (float(values[0]), float(values[1])), (model, human))


def counts_per_group(readings: Readings, said: Labels, read: NDArray[np.bool_]) -> Confusion:
    """(G, K, K) counts of what was said of the cases that were read, true label in rows."""
    labels = len(readings.labels)
    table = np.zeros((int(readings.groups.max()) + 1, labels, labels))
    np.add.at(table, (readings.groups[read], readings.truth[read], said[read]), 1.0)
    return table


def _p_value(differences: Floats) -> float:
    """Two-sided: how often the difference lies on the other side of nought; never 0 of finitely many resamples."""
    defined = differences[~np.isnan(differences)]
    below, above = int((defined <= 0).sum()), int((defined >= 0).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + len(defined)))


def _vote_counts(votes: Labels, labels: int) -> NDArray[np.int64]:
    """(cases, labels) from (cases, readers)."""
    return np.asarray((votes[:, :, None] == np.arange(labels)).sum(axis=1), np.int64)
