"""The segment table: segments.csv, one row per segment, for spreadsheets and statistics."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

from scopeline.segment_findings import findings_cell
from scopeline.summary import share
from scopeline.wire import SegmentMessage

_GRADES: Final = 4
"""Columns for MES 0 to 3 are always there; bundles with more grades add theirs."""


def segments_csv(segments: Sequence[SegmentMessage]) -> str:
    """The segments as CSV after RFC 4180, except that lines end with a line feed. Empty cells mean null."""
    grades = max((len(segment.histogram) for segment in segments), default=0)
    counts = [f"frames_mes_{grade}" for grade in range(max(grades, _GRADES))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *counts])
    for segment in segments:
        histogram: list[int | None] = [*segment.histogram, *([None] * (len(counts) - len(segment.histogram)))]
        writer.writerow([*_cells(segment), *histogram])
    return text.getvalue()


_COLUMNS = (
    "number", "location", "start_s", "end_s", "duration_s", "state", "assessable", "mes_dominant",
    "mes_worst", "mes_expected", "confidence", "grade_confidence", "frames_seen", "frames_usable",
    "usable_share", "informative_s", "unusable", "key_frame", "key_frame_s", "marked", "findings",
)  # fmt: skip


def _cells(segment: SegmentMessage) -> list[object]:
    return [
        segment.number,
        segment.location,
        segment.start_s,
        segment.end_s,
        round(segment.end_s - segment.start_s, 3),
        segment.state,
        _yes_no(segment.assessable),
        segment.mes_dominant,
        segment.mes_worst,
        segment.expected,
        segment.confidence,
        segment.grade_confidence,
        segment.frames_seen,
        segment.frames_usable,
        share(segment.frames_usable, segment.frames_seen),
        segment.informative_s,
        ";".join(f"{reason}:{count}" for reason, count in sorted(segment.reasons.items())),
        segment.key_frame,
        segment.key_frame_s,
        _yes_no(segment.marked),
        findings_cell(segment.findings),
    ]


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"
