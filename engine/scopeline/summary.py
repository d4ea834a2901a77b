"""Summary: what a run found, on one page: summary.json, for people and for the next run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from scopeline.segment_findings import inside, summed
from scopeline.tally import OUTSIDE, Tally
from scopeline.wire import NOTICE, LedgerReport, SegmentMessage

SCHEMA = 1


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides the results. Equal inputs need not be worked on again."""

    video: str
    """`sha256:<12 digits>` of the file's size, time of change, first and last MiB. Not of the whole file, so
    that an archive of terabytes is recognized in seconds."""
    version: str
    """Of Scopeline."""
    config: str
    """Hash of the pipeline."""
    bundles: dict[str, str]
    """By model folder: hash of its description, which names the hash of the weights."""
    marks: str | None = None
    """Hash of the operator's marks beside the recording, null without."""
    profile: str | None = None
    """Hash of the scope profile, null without."""
    code: str | None = None
    """Hash of the engine's source files: what a version number does not tell in a checkout."""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """The file that was read."""

    file: str
    """Its name; never its path."""
    bytes: int
    duration_s: float | None
    """As the container declares it."""
    width_px: int
    height_px: int
    fps: float | None
    codec: str
    place: str
    """Hash of the path: two recordings of one name do not share a folder. Says nothing about the path."""
    inputs: Inputs
    metadata: dict[str, str] = {}
    """What the list of recordings said of it, as it stands there."""


class FrameCounts(msgspec.Struct, frozen=True, kw_only=True):
    published: int
    usable: int
    """Frames that were judged."""
    usable_share: float | None
    unusable: dict[str, int]
    """By reason."""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A geometry of the field of view that was in force."""

    field: int
    shape: str | None
    box: tuple[int, int, int, int] | None
    """x, y, width, height in signal pixels."""
    signal: tuple[int, int] | None
    since_s: float


class Procedure(msgspec.Struct, frozen=True, kw_only=True):
    """Figures over all segments. Grades count assessable segments only."""

    segments: int
    assessable: int
    worst_mes: int | None
    """The highest `mes_worst`."""
    findings: dict[str, dict[str, int]] = {}
    """Over all segments inside the body: usable frames by head that is neither of quality, location nor grade, and by
    what it said of them."""
    worst_at: list[str]
    """The locations of it."""
    mes_1_or_more: list[str]
    """Extent: locations with a `mes_worst` of at least 1."""
    mes_2_or_more: list[str]
    all_mes_0: bool | None
    """Every assessable segment is MES 0 throughout; null when none is assessable."""
    all_mes_0_or_1: bool | None
    withdrawal_gross_s: float | None
    """From the start of the first to the end of the last segment that has a location other than `outside`;
    washing, treatment and breaks included."""
    withdrawal_net_s: float | None
    """Of it, what could be judged: `informative_s` of those segments. Without stretches outside, marked as to be
    ignored, or of bad quality, which washing mostly is; treatment in a clear picture still counts."""


class SegmentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A segment on one line; segments.csv has all columns."""

    number: int
    location: str | None
    start_s: float
    end_s: float
    state: str
    assessable: bool
    mes_dominant: int | None
    mes_worst: int | None
    usable_share: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """summary.json. `docs/results.md` explains every field."""

    schema: int = SCHEMA
    notice: str = NOTICE
    complete: bool
    """The source was read to its end. A batch's folder is complete when its name has lost its `.partial`."""
    ended: str | None
    """Why the run ended; null when it was cut off, or still runs."""
    source: str | None
    recording: Recording | None
    pipeline: str | None
    config: str | None
    models: dict[str, str]
    version: str | None
    frames: FrameCounts
    ledger: LedgerReport | None
    """captured = published + in_flight + lost; `damaged` packets never became a frame."""
    latency_ms: dict[str, float] | None
    stream_s: float
    seconds: float
    """Wall time; of a recording in pieces their sum, although several may have been at work at once."""
    speed: float | None
    """Stream seconds per second."""
    fields: list[Field]
    procedure: Procedure
    segments: list[SegmentRow]


def summarize(tally: Tally, recording: Recording | None = None, *, before_s: float = 0.0) -> Summary:
    """The summary of what a tally holds so far.

    Args:
        before_s: Wall time spent before its first message: on the pieces of a long recording.
    """
    said = tally.ended or tally.started
    seconds = before_s + tally.seconds
    return Summary(
        complete=tally.finished,
        ended=tally.ended.text if tally.ended else None,
        source=said.source if said else None,
        recording=recording,
        pipeline=said.pipeline if said else None,
        config=said.config if said else None,
        models=said.models if said else {},
        version=said.version if said else None,
        frames=FrameCounts(
            published=tally.published,
            usable=tally.usable,
            usable_share=share(tally.usable, tally.published),
            unusable=dict(tally.reasons),
        ),
        ledger=tally.ended.ledger if tally.ended else None,
        latency_ms=tally.ended.latency_ms if tally.ended else None,
        stream_s=round(tally.stream_s, 3),
        seconds=round(seconds, 3),
        speed=round(tally.stream_s / seconds, 2) if seconds > 0 else None,
        fields=[
            Field(field=number, shape=seen.shape, box=seen.box, signal=seen.signal, since_s=seen.time_s)
            for number, seen in sorted(tally.fields.items())
        ],
        procedure=conclude_procedure(tally.segments),
        segments=[_row(segment) for segment in tally.segments],
    )


def conclude_procedure(segments: Sequence[SegmentMessage]) -> Procedure:
    """The figures over a procedure's segments."""
    graded = [segment for segment in segments if segment.assessable and segment.mes_worst is not None]
    worst = max((segment.mes_worst or 0 for segment in graded), default=None)
    located = [segment for segment in segments if segment.location not in (None, OUTSIDE)]
    return Procedure(
        segments=len(segments),
        assessable=sum(segment.assessable for segment in segments),
        worst_mes=worst,
        findings=summed(inside(segment) for segment in segments),
        worst_at=_extent(graded, worst) if worst is not None else [],
        mes_1_or_more=_extent(graded, 1),
        mes_2_or_more=_extent(graded, 2),
        all_mes_0=worst == 0 if worst is not None else None,
        all_mes_0_or_1=worst <= 1 if worst is not None else None,
        withdrawal_gross_s=(
            round(max(s.end_s for s in located) - min(s.start_s for s in located), 3) if located else None
        ),
        withdrawal_net_s=round(sum(s.informative_s for s in located), 3) if located else None,
    )


def share(part: int, whole: int) -> float | None:
    """part / whole to three decimals; None of nothing."""
    return round(part / whole, 3) if whole else None


def _extent(graded: Sequence[SegmentMessage], at_least: int) -> list[str]:
    """Each location once, in the order of the recording."""
    places = [segment.location or "unknown" for segment in graded if (segment.mes_worst or 0) >= at_least]
    return list(dict.fromkeys(places))


def _row(segment: SegmentMessage) -> SegmentRow:
    return SegmentRow(
        number=segment.number,
        location=segment.location,
        start_s=segment.start_s,
        end_s=segment.end_s,
        state=segment.state,
        assessable=segment.assessable,
        mes_dominant=segment.mes_dominant,
        mes_worst=segment.mes_worst,
        usable_share=share(segment.frames_usable, segment.frames_seen),
    )
