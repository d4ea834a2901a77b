"""Pictures: the contact sheet and the field sketch of a finished run, as files in its folder.

Every picture that is stored goes through here, cut to the field of view.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from scopeline.contact_sheet import (
    Caption,
    Cutout,
    clock,
    cut_to_field,
    draw_contact_sheet,
    length_text,
    longest,
)
from scopeline.crop import View
from scopeline.field_of_view import FieldOfView
from scopeline.field_sketch import draw_field
from scopeline.mark_outlines import draw_marks
from scopeline.picture import Pixels
from scopeline.replace_file import replace_file
from scopeline.summary import Summary
from scopeline.tally import Tally
from scopeline.wire import NOTICE, MaskResult

CONTACT_SHEET: Final = "contact_sheet.jpg"
FIELD: Final = "field.jpg"
_QUALITY: Final = 90
_FIELD_LINES: Final = 720
_ROWS_AT_ONCE: Final = 256


def wanted_frames(tally: Tally) -> dict[int, float]:
    """Stream time in seconds of the frames that the pictures need, by frame number: those of the longest segments."""
    shots = [tally.shot_of(segment) for segment in longest(tally.segments)] + [tally.middle_shot()]
    return {shot.frame: shot.time_s for shot in shots if shot is not None}


def write_pictures(
    folder: Path,
    tally: Tally,
    summary: Summary,
    frames: Mapping[int, Pixels],
    view: View | None,
    *,
    marked: Mapping[int, Sequence[MaskResult]] | None = None,
) -> None:
    """Write contact_sheet.jpg and, when the field was ever found, field.jpg.

    Without a frame that may be shown (judged, and not outside the body) field.jpg has the geometry on black.

    Args:
        frames: Whole frames, (H, W, 3) uint8 RGB, by number: those of `wanted_frames`, as far as there are.
        view: What the first network sees, to be drawn into the field sketch.
        marked: What mask heads mark on these frames, by number; outlined on the contact sheet.

    Raises:
        SinkError: the folder cannot be written.
    """
    sheet = draw_contact_sheet(tally.segments, _Cutouts(tally, frames, marked or {}), caption_of(summary))
    replace_file(folder / CONTACT_SHEET, _last_jpeg(sheet))
    middle = tally.middle_shot()
    pixels = frames.get(middle.frame) if middle is not None else None
    if middle is not None and pixels is not None and _fits(pixels, middle.field):
        sketch = draw_field_sketch(pixels, middle.field, view, f"at {clock(middle.time_s)}")
        replace_file(folder / FIELD, jpeg(sketch))
    elif (field := tally.last_field()) is not None:
        nothing = np.zeros((field.signal_height, field.signal_width, 3), np.uint8)
        replace_file(folder / FIELD, jpeg(draw_field_sketch(nothing, field, view, "no frame may be shown")))


def cutouts_of(tally: Tally, frames: Mapping[int, Pixels]) -> Mapping[int, Cutout]:
    """By segment number, the key frame cut to the field; segments without one that may be shown are left out.

    Cut anew whenever one is asked for: all of them at once would fill the memory.
    """
    return _Cutouts(tally, frames, {})


class _Cutouts(Mapping[int, Cutout]):
    def __init__(
        self, tally: Tally, frames: Mapping[int, Pixels], marked: Mapping[int, Sequence[MaskResult]]
    ) -> None:
        self._frames, self._marked = frames, marked
        shots = {segment.number: tally.shot_of(segment) for segment in tally.segments}
        self._shots = {
            number: shot for number, shot in shots.items() if shot is not None and shot.frame in frames
        }

    def __getitem__(self, number: int) -> Cutout:
        shot = self._shots[number]
        pixels = self._frames[shot.frame]
        if not _fits(pixels, shot.field):
            raise KeyError(number)
        return cut_to_field(_outlined(pixels, self._marked.get(shot.frame, ())), shot.field)

    def __iter__(self) -> Iterator[int]:
        return iter(self._shots)

    def __len__(self) -> int:
        return len(self._shots)


def draw_field_sketch(pixels: Pixels, field: FieldOfView, view: View | None, remark: str) -> Pixels:
    """The frame with its field outlined, black beyond it, 720 lines high; a line below says what is drawn."""
    x, y, width, height = field.box
    shown = np.zeros_like(pixels)
    shown[y : y + height, x : x + width] = cut_to_field(pixels, field).pixels
    scale = _FIELD_LINES / field.signal_height
    size = (round(field.signal_width * scale), _FIELD_LINES)
    small = cv2.resize(shown, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    sketch = draw_field(np.asarray(small, np.uint8), field, view)
    legend = np.full((84, size[0], 3), 244, np.uint8)
    lines = (
        f"{field.shape}, {width} x {height} of {field.signal_width} x {field.signal_height} pixels, "
        f"{remark}; {NOTICE}",
        "green: field of view   blue: what the network sees   beyond the field: blanked here",
    )
    for row, line in enumerate(lines):
        cv2.putText(
            legend, line, (14, 33 + 33 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (60, 70, 80), 1, cv2.LINE_AA
        )
    return np.vstack([sketch, legend])


def caption_of(summary: Summary) -> Caption:
    """What stands above and below the contact sheet's tiles."""
    done = summary.procedure
    facts = [f"{done.segments} segment{'' if done.segments == 1 else 's'} in {length_text(summary.stream_s)}"]
    if summary.frames.usable_share is not None:
        facts.append(f"{summary.frames.usable_share:.0%} of the frames usable".replace("%", " %"))
    if done.worst_mes is not None:
        facts.append(f"worst MES {done.worst_mes} ({', '.join(done.worst_at)})")
    models = [f"{name} {fingerprint}" for name, fingerprint in summary.models.items()]
    origin = [f"Scopeline {summary.version}", f"pipeline {summary.pipeline} {summary.config}", *models]
    return Caption(summary.source or "", ", ".join(facts), ", ".join(origin), summary.stream_s)


def jpeg(pixels: Pixels) -> bytes:
    """The picture as a JPEG file; without a date, a place or a device in it."""
    return _encoded(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8))


def _last_jpeg(pixels: Pixels) -> bytes:
    """The same of a large picture that nobody needs any more: red and blue change places in it, not in a copy."""
    for row in range(0, len(pixels), _ROWS_AT_ONCE):
        part = pixels[row : row + _ROWS_AT_ONCE]
        part[:] = part[..., ::-1].copy()
    return _encoded(pixels)


def _encoded(bgr: Pixels) -> bytes:
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return content.tobytes()


def _outlined(pixels: Pixels, masks: Sequence[MaskResult]) -> Pixels:
    if not masks:
        return pixels
    canvas = pixels.copy()
    draw_marks(canvas, masks)
    return canvas


def _fits(pixels: Pixels, field: FieldOfView) -> bool:
    """Whether the frame has the size that the field is of: a signal can change its size."""
    return pixels.shape[:2] == (field.signal_height, field.signal_width)
