"""Report facts: what a procedure report says, worded once for the page and for the PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scopeline.contact_sheet import clock, length_text
from scopeline.outputs.findings import Findings
from scopeline.segment_findings import findings_text
from scopeline.summary import Summary, share
from scopeline.tally import OUTSIDE
from scopeline.wire import SegmentMessage

STATEMENT = (
    "Research use only. Not a medical device, not a diagnosis: "
    "figures of a research model, for people who can judge them."
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the report's head."""

    name: str
    value: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class SegmentLine:
    """One segment in words."""

    number: int
    location: str
    time: str
    length: str
    grade: str
    """`MES 2` (worst), or why there is none."""
    worst: int | None
    dominant: str
    confidence: str
    informative: str
    unusable: str
    marked: bool
    findings: str
    """`polyp in 30 of 42`, of usable frames; empty where no head found anything."""


def headline(summary: Summary) -> list[Fact]:
    """The procedure's figures, most wanted first. Grades only where a bundle gives any."""
    done = summary.procedure
    facts = []
    if any(row.mes_worst is not None for row in summary.segments) or done.worst_mes is not None:
        worst = "not assessable" if done.worst_mes is None else f"MES {done.worst_mes}"
        facts.append(Fact("worst grade", worst, ", ".join(done.worst_at)))
        facts.append(Fact("extent, MES 1 or more", ", ".join(done.mes_1_or_more) or "nowhere seen"))
        facts.append(Fact("MES 2 or more", ", ".join(done.mes_2_or_more) or "nowhere seen"))
    facts.append(Fact("segments", str(done.segments), f"{done.assessable} assessable"))
    if done.withdrawal_gross_s is not None and done.withdrawal_net_s is not None:
        facts.append(
            Fact(
                "withdrawal time, net",
                length_text(done.withdrawal_net_s),
                f"of {length_text(done.withdrawal_gross_s)} gross; net is what could be judged",
            )
        )
    if summary.frames.usable_share is not None:
        facts.append(
            Fact(
                "usable frames",
                f"{100 * summary.frames.usable_share:.0f} %",
                f"of {summary.frames.published}",
            )
        )
    facts.append(Fact("length", clock(summary.stream_s)))
    return facts


def lines(segments: Sequence[SegmentMessage]) -> list[SegmentLine]:
    """Every segment, in order."""
    return [_line(segment) for segment in segments]


def origin(findings: Findings) -> list[Fact]:
    """What the figures were made with."""
    summary = findings.summary
    recording = summary.recording
    facts = [
        Fact("recording", findings.video.name),
        Fact("Scopeline", summary.version or "?"),
        Fact("pipeline", f"{summary.pipeline} {summary.config}"),
        *(Fact(f"model {name}", fingerprint) for name, fingerprint in summary.models.items()),
    ]
    if recording is not None:
        rate = "" if recording.fps is None else f", {recording.fps:.4g} frames/s"
        facts.insert(
            1, Fact("signal", f"{recording.width_px} x {recording.height_px}, {recording.codec}{rate}")
        )
        facts.append(Fact("file hash (size, time, ends)", recording.inputs.video))
    if summary.ledger is not None:
        lost = ", ".join(f"{count} {why}" for why, count in summary.ledger.lost.items()) or "none"
        facts.append(Fact("frames lost", lost))
    return facts


def unusable(summary: Summary) -> list[tuple[str, int, float]]:
    """(reason, frames, share of all frames), most frequent first."""
    total = summary.frames.published or 1
    ranked = sorted(summary.frames.unusable.items(), key=lambda entry: -entry[1])
    return [(reason.replace("_", " "), count, count / total) for reason, count in ranked]


def _line(segment: SegmentMessage) -> SegmentLine:
    if segment.assessable and segment.mes_worst is not None:
        grade = f"MES {segment.mes_worst}"
    elif segment.location == OUTSIDE:
        grade = ""
    else:
        grade = "not assessable" if not segment.assessable else ""
    bad = share(segment.frames_seen - segment.frames_usable, segment.frames_seen)
    return SegmentLine(
        number=segment.number,
        location=segment.location or "unknown",
        time=f"{clock(segment.start_s)} - {clock(segment.end_s)}",
        length=length_text(segment.end_s - segment.start_s),
        grade=grade,
        worst=segment.mes_worst if segment.assessable else None,
        dominant="" if segment.mes_dominant is None else str(segment.mes_dominant),
        confidence=_percent(
            segment.grade_confidence if segment.mes_worst is not None else segment.confidence
        ),
        informative=length_text(segment.informative_s),
        unusable=_percent(bad),
        marked=segment.marked,
        findings=findings_text(segment),
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
