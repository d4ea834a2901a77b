"""Chapters: a run's segments as a WebVTT file, which players show on the time line of the recording.

WebVTT after the W3C Candidate Recommendation "WebVTT: The Web Video Text Tracks Format" (2019), section 4: a
chapter list is cues whose text is a title, in order, each beginning where or after the one before ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from scopeline.segment_findings import findings_text
from scopeline.tally import OUTSIDE
from scopeline.wire import NOTICE, SegmentMessage


def chapters_webvtt(segments: Sequence[SegmentMessage]) -> str:
    """The segments as chapters, in the order of their start.

    Times are rounded to milliseconds. A segment that rounds to nothing gets one, and a start that lies before
    the end of the cue before is moved there, so that cues never overlap.
    """
    blocks = [f"WEBVTT - Scopeline, {NOTICE}"]
    free_ms = 0
    for segment in sorted(segments, key=lambda segment: (segment.start_s, segment.number)):
        start_ms = max(round(segment.start_s * 1000), free_ms)
        free_ms = max(round(segment.end_s * 1000), start_ms + 1)
        timing = f"{_timestamp(start_ms)} --> {_timestamp(free_ms)}"
        blocks.append(f"{segment.number}\n{timing}\n{_escape(chapter_title(segment))}")
    return "\n\n".join(blocks) + "\n"


def chapter_title(segment: SegmentMessage) -> str:
    """What a person reads: `sigmoid, MES 2, worst 3, polyp in 30 of 412`."""
    found = findings_text(segment)
    place = segment.location or ("" if found else "unknown location")
    if segment.location == OUTSIDE:
        return place
    return ", ".join(part for part in (place, _grade(segment), found) if part)


def _grade(segment: SegmentMessage) -> str:
    if not segment.assessable:
        return "not assessable"
    if segment.mes_dominant is None:
        return ""
    if segment.mes_worst is None or segment.mes_worst == segment.mes_dominant:
        return f"MES {segment.mes_dominant}"
    return f"MES {segment.mes_dominant}, worst {segment.mes_worst}"


def _timestamp(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{milliseconds:03d}"


def _escape(text: str) -> str:
    """Cue text: no line feeds, no markup, no arrow."""
    line = " ".join(text.split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
