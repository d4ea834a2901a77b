"""SmoothingPoint: what one smoothing setting brings and costs, measured on labelled sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

import msgspec
import numpy as np

from scopeline.segment_metrics import Tag, edit_score, episodes, f1_at, false_tag_s_per_minute, flips_per_1000
from scopeline.smoothing import SmoothingSettings, make_smoother
from scopeline_calibration.labelled_sequence import LabelledSequence


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """Time to the first stable tag; None where so many episodes were missed."""

    p50_s: float | None
    p90_s: float | None


class SmoothingPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One setting's figures. Scores are means over sequences, delays and misses are pooled over true episodes."""

    settings: SmoothingSettings
    flips_per_1000: float
    true_flips_per_1000: float
    """Changes of the truth itself: what a perfect smoother would show."""
    f1_10: float
    f1_25: float
    f1_50: float
    edit: float
    delay_s: float
    """Mean time to the first stable tag; an episode that was missed counts with its whole length."""
    delay_p50_s: float | None
    """None where half of the episodes were missed."""
    delay_p90_s: float | None
    missed: int
    """True episodes that never had their tag for a second."""
    episodes: int
    false_s_per_minute: float
    """Seconds per minute during which a wrong tag was shown."""
    by_group: dict[str, Delays] = {}
    """Delays of the sequences of one group: of the simulator's, by the strength of the head."""

    @property
    def missed_share(self) -> float:
        """0..1."""
        return self.missed / self.episodes if self.episodes else 0.0

    @property
    def score(self) -> float:
        """0..100, mean of edit score and F1@50: how right the sequence of segments is, and where they lie."""
        return (self.edit + self.f1_50) / 2


@dataclass(frozen=True, slots=True)
class _Tally:
    flips: float
    true_flips: float
    f1: tuple[float, float, float]
    edit: float
    false_s: float


def measure(settings: SmoothingSettings, sequences: Sequence[LabelledSequence]) -> SmoothingPoint:
    """Run the library's own smoother over every sequence and score its live tags."""
    tallies: list[_Tally] = []
    delays_s: list[float] = []
    by_group: dict[str, list[float]] = {}
    counted_s: list[float] = []
    for sequence in sequences:
        tags = smoothed_tags(settings, sequence)
        truth: list[Tag] = [None if label < 0 else label for label in sequence.truth.tolist()]
        time_s: list[float] = sequence.time_s.tolist()
        f1 = (f1_at(0.10, tags, truth), f1_at(0.25, tags, truth), f1_at(0.50, tags, truth))
        tallies.append(
            _Tally(
                flips_per_1000(tags),
                flips_per_1000(truth),
                f1,
                edit_score(tags, truth),
                false_tag_s_per_minute(tags, truth, time_s),
            )
        )
        for episode in episodes(tags, truth, time_s):
            delays_s.append(episode.delay_s)
            by_group.setdefault(sequence.group, []).append(episode.delay_s)
            counted_s.append(min(episode.delay_s, episode.end_s - episode.start_s))
    f1_means = np.mean([tally.f1 for tally in tallies], axis=0).tolist()
    return SmoothingPoint(
        settings=settings,
        flips_per_1000=float(np.mean([tally.flips for tally in tallies])),
        true_flips_per_1000=float(np.mean([tally.true_flips for tally in tallies])),
        f1_10=f1_means[0],
        f1_25=f1_means[1],
        f1_50=f1_means[2],
        edit=float(np.mean([tally.edit for tally in tallies])),
        delay_s=float(np.mean(counted_s)) if counted_s else 0.0,
        delay_p50_s=_quantile(delays_s, 0.5),
        delay_p90_s=_quantile(delays_s, 0.9),
        missed=sum(delay_s == inf for delay_s in delays_s),
        episodes=len(delays_s),
        false_s_per_minute=float(np.mean([tally.false_s for tally in tallies])),
        by_group={
            group: Delays(p50_s=_quantile(each, 0.5), p90_s=_quantile(each, 0.9))
            for group, each in by_group.items()
        },
    )


def smoothed_tags(settings: SmoothingSettings, sequence: LabelledSequence) -> list[Tag]:
    """The live tag of every frame."""
    smoother = make_smoother(settings, len(sequence.labels))
    frames = zip(sequence.time_s.tolist(), sequence.probabilities, sequence.quality.tolist(), strict=True)
    return [smoother.update(*frame).tag for frame in frames]


def _quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share does not exceed; None when that is infinite or there is none."""
    if not values:
        return None
    found = sorted(values)[max(0, ceil(share * len(values)) - 1)]
    return None if found == inf else found
