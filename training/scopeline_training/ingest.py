"""Ingest: recordings to frames in patient folders and a label sheet, as study S5 gathered its data.

Decoded, and searched for their field of view, by the engine's own code. What may name a patient stays behind: every
pixel outside the field is black (screens write names and dates there), a frame whose field is unknown is refused, and
neither file names nor the sheet repeat the recording's own name. What is written *over* the field is kept, and so are
frames of the room: look through the folder before it leaves the house.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from scopeline.contact_sheet import cut_to_field
from scopeline.crop import CropKind, View
from scopeline.errors import ConfigError, SinkError
from scopeline.field_of_view import FieldOfView
from scopeline.field_tracker import FieldTracker
from scopeline.picture import Picture, Pixels, rgb_pixels
from scopeline.quality import HardGate
from scopeline.replace_file import replace_file
from scopeline.sources.media import MediaSource
from scopeline_training.catalogue import file_sha256
from scopeline_training.layouts.files import need_columns, read_rows

QUALITY: Final = 95
"""Of the JPEG files, with full chroma: the next decoder sees what this one saw."""
PENDING: Final = 40
"""Frames that wait for the field to be found; what comes before them is refused."""
_GATE_PX: Final = 128
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One line of the label sheet: study S5's six columns first."""

    path: str
    """Relative to the sheet, with forward slashes."""
    camera: str
    quality: str
    """"bad" where the engine refuses the frame (black, white, frozen); else empty, for a person to fill in."""
    organ: str
    round: str
    split: str
    """Empty: splits are made by patient when training."""
    patient: str
    time_s: str
    """Place in the recording, in seconds."""
    recording: str
    """First 12 digits of the recording's sha256: traceable for who has the file, silent for others."""


COLUMNS: Final = tuple(each.name for each in fields(SheetRow))


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """What holds for all recordings of one call."""

    every_s: float = 1.0
    organ: str = "unknown"
    camera: str = ""
    round: int = 1

    def __post_init__(self) -> None:
        if self.every_s < 0:
            raise ConfigError(f"wanted seconds between frames, 0 for every frame, got {self.every_s}")
        if not _WORD.fullmatch(self.organ):
            raise ConfigError(
                f"wanted an organ as one word of letters, digits and dashes, for folders, got {self.organ!r}"
            )


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one recording."""

    patient: str
    written: int
    refused: int
    """Frames due whose field was never found."""


def ingest(
    recordings: Sequence[Path], out: Path, plan: IngestPlan, *, sheet: str = "labels.csv"
) -> Iterator[Ingested]:
    """Frames of each recording into `out/Organ_p_N/`, one patient per recording, and lines of the sheet.

    An existing sheet is continued: its lines stay as they are, and patients are numbered on. The sheet is written
    after every recording.

    Raises:
        ConfigError: the sheet is no CSV or XLSX file, has other columns, or lists a recording already.
        SourceError: a recording cannot be decoded.
        SinkError: the folder cannot be written.
    """
    place = out / sheet
    rows = _rows_of(place)
    known = {row.recording for row in rows}
    for recording in recordings:
        fingerprint = file_sha256(recording)[:12]
        if fingerprint in known:
            raise ConfigError(
                f"{recording.name}: it is in {place} already; leave it out, or choose another folder"
            )
        known.add(fingerprint)
        patient = _next_patient(rows, out, plan.organ)
        done, refused = _frames_into(recording, out, patient, plan, fingerprint)
        rows = [*rows, *done]
        write_sheet(place, rows)
        yield Ingested(patient, len(done), refused)


def write_sheet(place: Path, rows: Iterable[SheetRow]) -> None:
    """A label sheet as CSV or XLSX, by the ending of its name.

    Raises:
        SinkError: it cannot be written.
    """
    lines = [COLUMNS, *(astuple(row) for row in rows)]
    replace_file(place, _xlsx(lines) if place.suffix.lower() == ".xlsx" else _csv(lines))


def _frames_into(
    recording: Path, out: Path, patient: str, plan: IngestPlan, fingerprint: str
) -> tuple[list[SheetRow], int]:
    folder = out / patient
    _make(folder)
    source = MediaSource(recording, threads=1)
    gate, view = HardGate(), View(CropKind.INSCRIBED, _GATE_PX, _GATE_PX)
    rows: list[SheetRow] = []
    refused = 0
    try:
        for picture, time_s, field in _due(source, plan.every_s):
            if field is None:
                refused += 1
                continue
            is_bad = gate.check(view(picture, field), time_s) is not None
            path = folder / f"{patient}_{len(rows) + 1:06d}.jpg"
            replace_file(path, _jpeg(masked_frame(picture, field)), durable=False)
            rows.append(
                SheetRow(
                    path.relative_to(out).as_posix(), plan.camera, "bad" if is_bad else "", plan.organ,
                    str(plan.round), "", patient, f"{time_s:.3f}", fingerprint,
                )
            )  # fmt: skip
    finally:
        source.close()
    return rows, refused


def masked_frame(picture: Picture, field: FieldOfView) -> Pixels:
    """The whole frame, (H, W, 3) uint8 RGB, black outside of the field."""
    pixels = rgb_pixels(picture)
    x, y, width, height = field.box
    shown = np.zeros_like(pixels)
    shown[y : y + height, x : x + width] = cut_to_field(pixels, field).pixels
    return shown


def _due(source: MediaSource, every_s: float) -> Iterator[tuple[Picture, float, FieldOfView | None]]:
    """The frames that are due, with the field that holds then; the first ones wait until it is found."""
    tracker, waiting = FieldTracker(), list[tuple[Picture, float]]()
    next_s = 0.0
    for frame in source.frames():
        tracker.observe(frame.picture, frame.time_s)
        if frame.time_s + 1e-6 < next_s:
            continue
        next_s = frame.time_s + every_s
        waiting.append((frame.picture, frame.time_s))
        if tracker.field is None:
            if len(waiting) > PENDING:
                yield (*waiting.pop(0), None)
            continue
        yield from ((picture, time_s, _if_of(tracker.field, picture)) for picture, time_s in waiting)
        waiting.clear()
    yield from ((picture, time_s, None) for picture, time_s in waiting)


def _if_of(field: FieldOfView, picture: Picture) -> FieldOfView | None:
    """The field, unless the signal had another size then."""
    return field if (picture.width, picture.height) == (field.signal_width, field.signal_height) else None


def _next_patient(rows: Sequence[SheetRow], out: Path, organ: str) -> str:
    """`Organ_p_N`, numbered on from the sheet and from the folders that are there."""
    name = organ[0].upper() + organ[1:]
    there = {row.patient for row in rows} | {each.name for each in out.iterdir() if each.is_dir()}
    form = re.compile(f"{re.escape(name)}_p_([0-9]+)")
    numbers = [int(found[1]) for found in map(form.fullmatch, there) if found]
    return f"{name}_p_{max(numbers, default=0) + 1}"


def _rows_of(place: Path) -> list[SheetRow]:
    if place.suffix.lower() not in (".csv", ".xlsx"):
        raise ConfigError(f"{place}: wanted a sheet that ends in .csv or .xlsx")
    _make(place.parent)
    if not place.exists():
        return []
    rows = read_rows(place)
    need_columns(place, rows, COLUMNS)
    return [SheetRow(**{column: row[column] for column in COLUMNS}) for row in rows]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"{folder}: cannot make the folder ({error.strerror}); name another") from error


def _csv(lines: Iterable[tuple[object, ...]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _xlsx(lines: Iterable[tuple[object, ...]]) -> bytes:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    page = book.create_sheet("frames")
    page.freeze_panes = "A2"
    for line in lines:
        page.append(line)
    memory = io.BytesIO()
    book.save(memory)
    return memory.getvalue()


def _jpeg(pixels: Pixels) -> bytes:
    settings = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, code = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)
    return code.tobytes()
