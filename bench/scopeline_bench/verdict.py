"""Verdict: has one stage become slower, judged against what the base differs from itself by.

A process has luck of its own: where its memory lies, in which order its tables are. Rounds within one pair of
processes share that luck, so their spread says nothing of it; only fresh processes do (Kalibera and Jones, Rigorous
benchmarking in reasonable time, ISMM 2013). A session is therefore three fresh processes, the working tree's and twice
the base's, and counts as one observation: of the change, and, base against base, of the noise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

TOLERATED: Final = 0.05
"""A stage may become slower by so much: other commits lie in other places of memory."""
SEEN: Final = 0.20
"""Sessions are added until a stage that was found so much slower would be called slower."""
FAMILY: Final = 0.05
"""Chance, at most, that a run calls any stage slower though none is; all stages and looks share it (Bonferroni)."""
LEAST_SESSIONS: Final = 4
MOST_SESSIONS: Final = 10
_OF_MEDIAN: Final = math.sqrt(math.pi / 2)
"""So much larger is the standard error of a median than that of a mean."""
_CHANGE, _NOISE = 1.5, 2.0
"""Variances of the two, in those of one process: the change is one process against the mean of two."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One stage in three fresh processes; logarithms of ratios, medians over the rounds."""

    change: float
    """Working tree over base."""
    noise: float
    """Base over base."""
    base_s: float


@dataclass(slots=True)
class Rounds:
    """The times of one stage in one session, round by round, taken directly after each other."""

    tree_s: list[float]
    base_s: list[float]
    again_s: list[float]

    def session(self) -> Session:
        changes, noises = [], []
        for tree, base, again in zip(self.tree_s, self.base_s, self.again_s, strict=True):
            changes.append(math.log(tree) - (math.log(base) + math.log(again)) / 2)
            noises.append(math.log(again / base))
        return Session(
            change=statistics.median(changes),
            noise=statistics.median(noises),
            base_s=statistics.median([*self.base_s, *self.again_s]),
        )


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One stage."""

    name: str
    base_s: float
    ratio: float
    """Median over the sessions of the working tree's time over the base's."""
    lowest: float
    highest: float
    """Of the sessions' ratios."""
    itself: float
    """Standard deviation of the base over itself, as a share."""
    band: float
    """A ratio within 1 / (1 + band) and 1 + band may be noise."""
    sessions: int

    @property
    def is_slower(self) -> bool:
        return self.ratio > (1 + TOLERATED) * (1 + self.band)

    @property
    def is_too_noisy(self) -> bool:
        """A stage found slower by `SEEN` would not be called slower."""
        return (1 + TOLERATED) * (1 + self.band) >= 1 + SEEN

    @property
    def is_open(self) -> bool:
        """Another session could change what is said."""
        return self.is_too_noisy or (self.ratio > 1 + TOLERATED and not self.is_slower)


def judge(name: str, sessions: Sequence[Session], *, stages: int) -> Verdict:
    """The verdict on one stage.

    Args:
        name: Of the stage.
        sessions: At least two.
        stages: How many are judged in this run.
    """
    middle = statistics.median(each.change for each in sessions)
    freedom = 2 * len(sessions) - 1
    squares = sum((each.change - middle) ** 2 / _CHANGE + each.noise**2 / _NOISE for each in sessions)
    process = math.sqrt(squares / freedom)
    error = _OF_MEDIAN * process * math.sqrt(_CHANGE / len(sessions))
    chance = FAMILY / stages / (MOST_SESSIONS - LEAST_SESSIONS + 1)
    return Verdict(
        name=name,
        base_s=statistics.median(each.base_s for each in sessions),
        ratio=math.exp(middle),
        lowest=math.exp(min(each.change for each in sessions)),
        highest=math.exp(max(each.change for each in sessions)),
        itself=math.expm1(math.sqrt(_NOISE) * process),
        band=math.expm1(student(1 - chance, freedom) * error),
        sessions=len(sessions),
    )


def student(share: float, freedom: int) -> float:
    """The quantile of Student's distribution, by Cornish and Fisher's expansion (1938); within 2 % above 6 degrees."""
    z = statistics.NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(z + sum(term / freedom ** (k + 1) for k, term in enumerate(terms)))
