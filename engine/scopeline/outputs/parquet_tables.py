"""Parquet tables: frames, segments and procedures for DuckDB, pandas, polars and Spark.

One row per frame, segment or recording; times in seconds of stream time; null where there is nothing to say. What the
columns mean, and their units, stands in the files themselves (field metadata) and in docs/results.md. Rows carry the
recording's name, so that the tables of an archive can be read as one: `SELECT * FROM 'results/*/frames.parquet'`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from scopeline.outputs.findings import Findings
from scopeline.replace_file import cannot_write
from scopeline.summary import Summary, share
from scopeline.wire import NOTICE, FrameMessage, SegmentMessage

FRAMES_TABLE: Final = "frames.parquet"
SEGMENTS_TABLE: Final = "segments.parquet"
PROCEDURES_TABLE: Final = "procedures.parquet"
_ROWS: Final = 20_000
"""Frames in one row group: bounds the memory of a recording of any length to some 20 MB."""

_TEXT = pa.dictionary(pa.int32(), pa.string())


def write_frames_table(findings: Findings) -> Path:
    """frames.parquet: one row per frame.

    Raises:
        SourceError: the run's frames cannot be read.
        SinkError: the folder cannot be written.
    """
    columns = _FrameColumns(findings)
    return _write(
        findings.folder / FRAMES_TABLE, columns.schema, columns.batches(), findings.summary, findings.name
    )


def write_segments_table(findings: Findings) -> Path:
    """segments.parquet: one row per segment.

    Raises:
        SinkError: the folder cannot be written.
    """
    rows = [_segment_row(findings.name, segment) for segment in findings.tally.segments]
    batch = pa.RecordBatch.from_pylist(rows, _SEGMENTS)
    return _write(findings.folder / SEGMENTS_TABLE, _SEGMENTS, [batch], findings.summary, findings.name)


def write_procedures_table(path: Path, summaries: Mapping[str, Summary]) -> Path:
    """procedures.parquet of an archive: one row per finished recording.

    Args:
        summaries: By name of the results folder.

    Raises:
        SinkError: the file cannot be written.
    """
    rows = [_procedure_row(name, summary) for name, summary in sorted(summaries.items())]
    return _write(path, _PROCEDURES, [pa.RecordBatch.from_pylist(rows, _PROCEDURES)], None, "")


def _write(
    path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], summary: Summary | None, name: str
) -> Path:
    said = {"notice": NOTICE}
    if summary is not None:
        said |= {
            "recording": name,
            "scopeline": summary.version or "",
            "pipeline": f"{summary.pipeline} {summary.config}",
            "models": json.dumps(summary.models),
        }
    schema = schema.with_metadata(said)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema))
        os.replace(unfinished, path)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    return path


def _field(name: str, kind: pa.DataType, meaning: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={"meaning": meaning, **({"unit": unit} if unit else {})})


class _FrameColumns:
    """The columns that a run's heads ask for, and its frames in them."""

    def __init__(self, findings: Findings) -> None:
        self._findings, self._facts = findings, findings.facts()
        self.schema = pa.schema(list(self._fields()))

    def batches(self) -> Iterator[pa.RecordBatch]:
        frames = self._findings.frames()
        while rows := [self._row(frame) for frame in islice(frames, _ROWS)]:
            yield pa.RecordBatch.from_pylist(rows, self.schema)

    def _fields(self) -> Iterator[pa.Field]:
        yield _field("recording", _TEXT, "name of the recording")
        yield _field("frame", pa.int64(), "number of the frame in its recording, from 0")
        yield _field("time_s", pa.float64(), "stream time", "s")
        yield _field("reason", _TEXT, "why the frame was not judged; null when it was")
        yield _field("state", _TEXT, "warming_up, running or not_assessable")
        yield _field("field", pa.int32(), "number of the field-of-view geometry in force")
        yield _field("field_shape", _TEXT, "circle, clipped circle, octagon, rectangle ...")
        yield _field("quality", pa.float32(), "probability that the frame can be judged", "0..1")
        yield _field("segment", pa.int32(), "number of the segment that was open")
        for head, labels in self._facts.heads.items():
            for label in labels:
                yield _field(
                    f"{head}.p.{label}",
                    pa.float32(),
                    f"calibrated probability of {label} on this frame",
                    "0..1",
                )
            yield _field(f"{head}.entropy", pa.float32(), "uncertainty of the frame's answer", "nat")
            yield _field(f"{head}.abstain", pa.bool_(), "whether the head is too uncertain to be counted")
            if head in self._facts.graded:
                yield _field(f"{head}.expected", pa.float32(), "expected grade on this frame", "grade")
        for head, labels in self._facts.smoothed.items():
            yield _field(f"{head}.tag", _TEXT, "label held over time")
            yield _field(f"{head}.since_s", pa.float64(), "when the tag was taken", "s")
            for label in labels:
                yield _field(
                    f"{head}.smoothed.{label}", pa.float32(), f"posterior of {label} over time", "0..1"
                )
        for head in self._facts.masks:
            yield _field(f"{head}.share", pa.float32(), "marked share of the field of view", "0..1")
            yield _field(f"{head}.peak", pa.float32(), "highest probability in the field", "0..1")
            yield _field(f"{head}.regions", pa.int32(), "connected marked regions")
            yield _field(f"{head}.box", pa.list_(pa.int32(), 4), "x, y, width, height around them", "px")
            yield _field(
                f"{head}.contours", pa.list_(pa.list_(pa.list_(pa.float32(), 2))), "outlines, x and y", "px"
            )

    def _row(self, frame: FrameMessage) -> dict[str, Any]:
        row: dict[str, Any] = {
            "recording": self._findings.name,
            "frame": frame.frame,
            "time_s": frame.time_s,
            "reason": frame.reason,
            "state": frame.state,
            "field": frame.field,
            "field_shape": frame.field_shape,
            "quality": frame.quality,
            "segment": frame.segment.number if frame.segment else None,
        }
        for name, head in frame.heads.items():
            row.update((f"{name}.p.{label}", value) for label, value in head.probabilities.items())
            row[f"{name}.entropy"], row[f"{name}.abstain"] = head.entropy, head.abstain
            row[f"{name}.expected"] = head.expected
        for name, held in frame.smoothed.items():
            row[f"{name}.tag"], row[f"{name}.since_s"] = held.tag, held.since_s
            row.update((f"{name}.smoothed.{label}", value) for label, value in held.posterior.items())
        for name, mask in frame.masks.items():
            row[f"{name}.share"], row[f"{name}.peak"] = mask.share, mask.peak
            row[f"{name}.regions"], row[f"{name}.box"] = mask.regions, mask.box
            row[f"{name}.contours"] = mask.contours
        return row


_SEGMENTS: Final = pa.schema(
    [
        _field("recording", _TEXT, "name of the recording"),
        _field("number", pa.int32(), "from 1, in order"),
        _field("location", _TEXT, "the location head's label, or the operator's; null: unknown"),
        _field("start_s", pa.float64(), "stream time", "s"),
        _field("end_s", pa.float64(), "stream time", "s"),
        _field("state", _TEXT, "final, or provisional when the run was killed"),
        _field("assessable", pa.bool_(), "false: too little was seen to say a grade"),
        _field("mes_dominant", pa.int32(), "dominant Mayo endoscopic sub-score", "grade"),
        _field("mes_worst", pa.int32(), "worst sustained Mayo endoscopic sub-score", "grade"),
        _field("mes_expected", pa.float64(), "weighted mean of the expected grade", "grade"),
        _field("histogram", pa.list_(pa.int32()), "usable frames by grade"),
        _field("confidence", pa.float64(), "in the location", "0..1"),
        _field("grade_confidence", pa.float64(), "in the dominant grade", "0..1"),
        _field("frames_seen", pa.int64(), "frames in the segment"),
        _field("frames_usable", pa.int64(), "frames that were judged"),
        _field("usable_share", pa.float64(), "the second over the first", "0..1"),
        _field("reasons", pa.map_(pa.string(), pa.int64()), "frames that were not usable, by reason"),
        _field("informative_s", pa.float64(), "time that could be judged", "s"),
        _field("key_frame", pa.int64(), "number of the frame that stands for the segment"),
        _field("key_frame_s", pa.float64(), "its stream time", "s"),
        _field("marked", pa.bool_(), "whether the operator set the location"),
        _field(
            "findings",
            pa.map_(pa.string(), pa.map_(pa.string(), pa.int64())),
            "usable frames by head that is neither of quality, location nor grade, and by what it said",
        ),
    ]
)


def _segment_row(recording: str, segment: SegmentMessage) -> dict[str, Any]:
    row = {name: getattr(segment, name) for name in _SEGMENTS.names if hasattr(segment, name)}
    return row | {
        "recording": recording,
        "mes_expected": segment.expected,
        "histogram": list(segment.histogram),
        "usable_share": share(segment.frames_usable, segment.frames_seen),
        "reasons": sorted(segment.reasons.items()),
        "findings": [(head, sorted(counts.items())) for head, counts in sorted(segment.findings.items())],
    }


_PROCEDURES: Final = pa.schema(
    [
        _field("recording", pa.string(), "name of the results folder"),
        _field("file", pa.string(), "name of the file"),
        _field("stream_s", pa.float64(), "length", "s"),
        _field("width_px", pa.int32(), "of the signal", "px"),
        _field("height_px", pa.int32(), "of the signal", "px"),
        _field("codec", _TEXT, "of the recording"),
        _field("frames", pa.int64(), "published"),
        _field("usable_share", pa.float64(), "of the frames, judged", "0..1"),
        _field("segments", pa.int32(), "found"),
        _field("assessable", pa.int32(), "segments with a grade"),
        _field("worst_mes", pa.int32(), "highest worst grade of a segment", "grade"),
        _field("worst_at", pa.list_(pa.string()), "its locations"),
        _field("mes_1_or_more", pa.list_(pa.string()), "extent: locations with at least MES 1"),
        _field("mes_2_or_more", pa.list_(pa.string()), "locations with at least MES 2"),
        _field("withdrawal_gross_s", pa.float64(), "first to last located segment", "s"),
        _field("withdrawal_net_s", pa.float64(), "of it, what could be judged", "s"),
        _field("scopeline", _TEXT, "version"),
        _field("pipeline", _TEXT, "name"),
        _field("config", _TEXT, "hash of the pipeline"),
        _field("models", pa.map_(pa.string(), pa.string()), "weights, runtime and precision by bundle"),
    ]
)


def _procedure_row(name: str, summary: Summary) -> dict[str, Any]:
    done, recording = summary.procedure, summary.recording
    row = {column: getattr(done, column) for column in _PROCEDURES.names if hasattr(done, column)}
    return row | {
        "recording": name,
        "file": recording.file if recording else summary.source,
        "stream_s": summary.stream_s,
        "width_px": recording.width_px if recording else None,
        "height_px": recording.height_px if recording else None,
        "codec": recording.codec if recording else None,
        "frames": summary.frames.published,
        "usable_share": summary.frames.usable_share,
        "scopeline": summary.version,
        "pipeline": summary.pipeline,
        "config": summary.config,
        "models": sorted(summary.models.items()),
    }
