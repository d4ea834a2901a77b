"""Findings: what heads beside quality, location and grade said in a segment, counted in frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from scopeline.bundle import Head
from scopeline.prediction import Probabilities
from scopeline.tally import OUTSIDE
from scopeline.wire import MaskResult, SegmentMessage

NOTHING: Final = "none"
"""What a mask head says that marks nothing on a frame."""
UNCERTAIN: Final = "uncertain"
"""What a head says that abstains."""

Findings = Mapping[str, Mapping[str, int]]
"""Usable frames, by head and by what it said of them."""


def said_of_frame(
    heads: Iterable[Head], scores: Mapping[str, Probabilities], masks: Mapping[str, MaskResult]
) -> dict[str, str]:
    """By head, the most probable label of one frame, or `uncertain` where the head abstains; of a mask head its label,
    or `none`. Heads that were not asked, and those of quality, location and grade, say nothing here."""
    said: dict[str, str] = {}
    for head in heads:
        if head.name in masks:
            said[head.name] = masks[head.name].label if masks[head.name].regions else NOTHING
        elif head.role == "finding" and head.name in scores:
            best = int(scores[head.name].argmax())
            said[head.name] = (
                head.labels[best] if scores[head.name][best] >= head.abstain_below else UNCERTAIN
            )
    return said


def findings_text(segment: SegmentMessage) -> str:
    """For people: `polyp in 30 of 42`, per head what was said most; empty where nothing was found in the body."""
    return ", ".join(f"{label} in {count} of {asked}" for label, count, asked in _most(inside(segment)))


def inside(segment: SegmentMessage) -> Findings:
    """What was found in a segment; nothing outside the body."""
    return {} if segment.location == OUTSIDE else segment.findings


def summed(findings: Iterable[Findings]) -> dict[str, dict[str, int]]:
    """The counts of many segments in one."""
    total: dict[str, Counter[str]] = {}
    for each in findings:
        for head, counts in each.items():
            total.setdefault(head, Counter()).update(counts)
    return {head: dict(counts) for head, counts in total.items()}


def findings_cell(findings: Findings) -> str:
    """For tables: `finding=polyp:30;finding=ulcerative-colitis:12`."""
    return ";".join(
        f"{head}={label}:{count}"
        for head, counts in sorted(findings.items())
        for label, count in sorted(counts.items())
    )


def most_found(findings: Findings) -> tuple[str, int, int] | None:
    """The label said most by the first head that found something, its frames, and all that the head was asked about."""
    return next(iter(_most(findings)), None)


def _most(findings: Findings) -> Iterable[tuple[str, int, int]]:
    """Label, its frames and all frames asked, per head that found something."""
    for counts in findings.values():
        found = {label: count for label, count in counts.items() if label not in (NOTHING, UNCERTAIN)}
        if found:
            label = max(found, key=lambda each: (found[each], each))
            yield label, found[label], sum(counts.values())
