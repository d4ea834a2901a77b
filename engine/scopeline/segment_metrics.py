"""Segment metrics: how well a sequence of tags agrees with the truth, as a reader of segments would see it.

All take two sequences of equal length, one tag per frame; None (no tag yet, evidence ran out) is the
background and never a segment. Edit score and F1@IoU after MS-TCN (Abu Farha and Gall, CVPR 2019); flips per
1000 frames is the transition count of "Beyond AUROC" (ISBI 2026 workshop). Compute them per procedure and
average over procedures, so that a long video does not dominate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

Tag = int | str | None


@dataclass(frozen=True, slots=True)
class Run:
    """A maximal run of one tag: frames `start` to `stop`, `stop` not included."""

    tag: Tag
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Episode:
    """One true segment and how long it took to be tagged."""

    tag: Tag
    start_s: float
    end_s: float
    delay_s: float
    """From its start to the first right tag that then holds; infinite when it was missed."""


def runs_of(tags: Sequence[Tag]) -> list[Run]:
    """Maximal runs of one tag, the background (None) left out."""
    runs: list[Run] = []
    start = 0
    for index in range(1, len(tags) + 1):
        if index == len(tags) or tags[index] != tags[start]:
            if tags[start] is not None:
                runs.append(Run(tags[start], start, index))
            start = index
    return runs


def edit_score(predicted: Sequence[Tag], truth: Sequence[Tag]) -> float:
    """0..100: one minus the Levenshtein distance of the segment label sequences over the longer one's
    length."""
    mine = [run.tag for run in runs_of(predicted)]
    theirs = [run.tag for run in runs_of(truth)]
    longest = max(len(mine), len(theirs))
    return 100.0 if longest == 0 else 100.0 * (1 - _levenshtein(mine, theirs) / longest)


def _levenshtein(first: Sequence[Tag], second: Sequence[Tag]) -> int:
    row = list(range(len(second) + 1))
    for i, left in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(second, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]


def f1_at(overlap: float, predicted: Sequence[Tag], truth: Sequence[Tag]) -> float:
    """0..100: F1 of segments, a hit being a segment of the right label with an IoU of at least `overlap`
    (0..1).

    Every true segment can be hit once; further predictions on it are false positives.
    """
    mine, theirs = runs_of(predicted), runs_of(truth)
    if not mine and not theirs:
        return 100.0
    taken: set[int] = set()
    for run in mine:
        scores = [
            (_overlap(run, other), -index) for index, other in enumerate(theirs) if other.tag == run.tag
        ]
        best, index = max(scores, default=(0.0, 0))
        if best >= overlap and best > 0.0 and -index not in taken:
            taken.add(-index)
    return 100.0 * 2 * len(taken) / (len(mine) + len(theirs))


def _overlap(one: Run, other: Run) -> float:
    shared = min(one.stop, other.stop) - max(one.start, other.start)
    return max(0, shared) / (max(one.stop, other.stop) - min(one.start, other.start))


def flips_per_1000(tags: Sequence[Tag]) -> float:
    """Changes from one tag to another per 1000 frames; the first tag, and a pause of None, are no flips."""
    labels = [run.tag for run in runs_of(tags)]
    flips = sum(left != right for left, right in pairwise(labels))
    return 1000.0 * flips / len(tags) if tags else 0.0


def episodes(
    predicted: Sequence[Tag], truth: Sequence[Tag], time_s: Sequence[float], *, hold_s: float = 1.0
) -> list[Episode]:
    """The true segments with their time to first stable tag.

    The delay runs from the true start to the first frame of a run of the right tag that holds `hold_s`
    within the segment. A segment without one was missed: its delay is infinite, so that a quantile cannot
    hide it.
    """
    found = []
    for run in runs_of(truth):
        end_s = time_s[run.stop - 1]
        delay_s = inf
        for tagged in runs_of(predicted[run.start : run.stop]):
            first, last = run.start + tagged.start, run.start + tagged.stop - 1
            if tagged.tag == run.tag and time_s[last] - time_s[first] >= hold_s - 1e-9:
                delay_s = time_s[first] - time_s[run.start]
                break
        found.append(Episode(run.tag, time_s[run.start], end_s, delay_s))
    return found


def missed_episodes(
    predicted: Sequence[Tag], truth: Sequence[Tag], time_s: Sequence[float], *, hold_s: float = 1.0
) -> int:
    """How many true segments never had the right tag for `hold_s`."""
    return sum(episode.delay_s == inf for episode in episodes(predicted, truth, time_s, hold_s=hold_s))


def false_tag_s_per_minute(predicted: Sequence[Tag], truth: Sequence[Tag], time_s: Sequence[float]) -> float:
    """Seconds per minute during which a wrong tag was shown; showing none is not wrong.

    A frame's tag stands until the next frame; the last frame has no duration.
    """
    span_s = time_s[-1] - time_s[0] if len(time_s) > 1 else 0.0
    if span_s <= 0.0:
        return 0.0
    wrong_s = sum(
        time_s[index + 1] - time_s[index]
        for index in range(len(time_s) - 1)
        if predicted[index] is not None and predicted[index] != truth[index]
    )
    return 60.0 * wrong_s / span_s


def accuracy(predicted: Sequence[Tag], truth: Sequence[Tag]) -> float:
    """0..100: share of frames with the right tag; no tag is not right."""
    hits = sum(mine == theirs for mine, theirs in zip(predicted, truth, strict=True))
    return 100.0 * hits / len(truth)
