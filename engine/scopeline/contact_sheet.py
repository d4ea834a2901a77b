"""Contact sheet: one picture of a run, with a key frame, place, time and grade for every segment.

Only what lies within the field of view is drawn. What the processor prints beside it, names and dates among
it, is cut off and masked; what it prints within it only where a scope profile says so. Frames from outside the
body are never drawn at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.field_of_view import FieldOfView
from scopeline.freed_memory import return_freed_memory
from scopeline.overlay import OverlayKind
from scopeline.picture import Pixels
from scopeline.segment_findings import findings_text, inside, most_found
from scopeline.tally import OUTSIDE
from scopeline.wire import SegmentMessage

Colour = tuple[int, int, int]
"""Red, green, blue, 0..255."""

MOST_SEGMENTS: Final = 120
"""Of so many segments pictures are made, the longest."""
MOST_TILES: Final = 40
"""More are not legible on one sheet: the longest are shown, and the sheet says so. As pixels it takes 26 MB."""

_PAPER: Final[Colour] = (244, 245, 247)
_CARD: Final[Colour] = (255, 255, 255)
_EDGE: Final[Colour] = (221, 225, 230)
_INK: Final[Colour] = (27, 35, 44)
_SOFT: Final[Colour] = (98, 109, 122)
_NIGHT: Final[Colour] = (17, 20, 24)
_OUTLINE: Final[Colour] = (124, 214, 219)
_GREY: Final[Colour] = (150, 158, 168)
_PALE: Final[Colour] = (214, 218, 224)
GRADE_COLOURS: Final[tuple[Colour, ...]] = ((47, 143, 104), (201, 150, 20), (222, 104, 42), (183, 40, 58))
"""MES 0 to 3. The digit always stands by the colour: one man in twelve does not see the difference."""

_MARGIN, _GAP, _TILE, _PHOTO, _TEXT = 52, 26, 388, 292, 128
_HEADER, _STRIP, _LEGEND, _FOOTER = 122, 74, 62, 74
_COLUMNS = (3, 4)
"""Fewest and most tiles side by side."""


@dataclass(frozen=True, slots=True)
class Cutout:
    """A frame cut to its field of view. What lies outside of the field is gone."""

    pixels: Pixels
    """(H, W, 3) uint8 RGB of the field's box, black outside of the field and where a scope profile pins text in it."""
    mask: NDArray[np.uint8]
    """(H, W), 255 within the field."""


@dataclass(frozen=True, slots=True)
class Caption:
    """What stands above and below the tiles."""

    title: str
    """Large, at the top: what was recorded."""
    facts: str
    """Below it: length, segments, the worst grade."""
    origin: str
    """At the bottom: software, models, configuration."""
    stream_s: float


def cut_to_field(pixels: Pixels, field: FieldOfView) -> Cutout:
    """The part of a frame that may be shown.

    Args:
        pixels: The whole frame, (H, W, 3) uint8 RGB, of the size that the field was fitted for.

    Raises:
        ValueError: the frame has another size than the field's signal.
    """
    height, width = pixels.shape[:2]
    if (width, height) != (field.signal_width, field.signal_height):
        raise ValueError(
            f"the field is of a {field.signal_width}x{field.signal_height} signal, "
            f"the frame has {width}x{height} pixels"
        )
    x, y, across, down = field.box
    mask = what_may_be_seen(field)[y : y + down, x : x + across]
    return Cutout(np.asarray(cv2.copyTo(pixels[y : y + down, x : x + across], mask), np.uint8), mask)


def what_may_be_seen(field: FieldOfView) -> NDArray[np.uint8]:
    """(signal height, signal width), 255 where a frame may be shown: within the field, and not where text is pinned."""
    mask = field.mask(field.signal_width, field.signal_height)
    for overlay in field.overlays:
        if overlay.kind is OverlayKind.TEXT:
            left, top, wide, high = overlay.box
            mask[max(top, 0) : top + high, max(left, 0) : left + wide] = False
    return mask.astype(np.uint8) * 255


def draw_contact_sheet(
    segments: Sequence[SegmentMessage], cutouts: Mapping[int, Cutout], caption: Caption
) -> Pixels:
    """The sheet, (H, W, 3) uint8 RGB; 1.4 to 1.8 thousand pixels wide, as high as it must be.

    Args:
        segments: The newest message of each segment, in order.
        cutouts: By segment number; a segment without one gets a grey tile that says why.
    """
    shown = longest(segments, MOST_TILES)
    columns = min(max(len(shown), _COLUMNS[0]), _COLUMNS[1])
    rows = max(-(-len(shown) // columns), 1)
    width = 2 * _MARGIN + columns * _TILE + (columns - 1) * _GAP
    top = _HEADER + _STRIP + _LEGEND
    height = top + rows * (_PHOTO + _TEXT) + (rows - 1) * _GAP + _FOOTER
    # All photos before the sheet: what whole frames took is given back before the sheet takes as much.
    found = ((each.number, cutouts.get(each.number)) for each in shown)
    photos = {number: _photo(cutout) for number, cutout in found if cutout is not None}
    return_freed_memory()
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    _draw_header(sheet, caption, len(segments), len(shown))
    _draw_legend(sheet, segments)
    _draw_strip(sheet, segments, caption.stream_s)
    for place, segment in enumerate(shown):
        x = _MARGIN + place % columns * (_TILE + _GAP)
        y = top + place // columns * (_PHOTO + _TEXT + _GAP)
        _draw_tile(sheet[y : y + _PHOTO + _TEXT, x : x + _TILE], segment, photos.pop(segment.number, None))
    if not shown:
        _write(sheet, "No segment was found.", (_MARGIN, top + 60), 24, _SOFT)
    _draw_footer(sheet, caption)
    return sheet


def outline_of(mask: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    """The rim of a mask (255 inside) as closed curves for `cv2.polylines`, smoothed by half a pixel."""
    curves, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [np.asarray(cv2.approxPolyDP(curve, 0.8, True), np.int32) for curve in curves]


def longest(segments: Sequence[SegmentMessage], most: int = MOST_SEGMENTS) -> list[SegmentMessage]:
    """The segments of which pictures are made, in order."""
    if len(segments) <= most:
        return list(segments)
    by_length = sorted(segments, key=lambda segment: segment.start_s - segment.end_s)
    return sorted(by_length[:most], key=lambda segment: segment.number)


def _draw_header(sheet: Pixels, caption: Caption, segments: int, shown: int) -> None:
    room = sheet.shape[1] - 2 * _MARGIN
    _write(sheet, _fit(caption.title, 38, room, bold=True), (_MARGIN, 74), 38, _INK, bold=True)
    facts = caption.facts if shown == segments else f"{caption.facts}; the {shown} longest are shown"
    _write(sheet, _fit(facts, 20, room), (_MARGIN, 112), 20, _SOFT)


def _draw_legend(sheet: Pixels, segments: Sequence[SegmentMessage]) -> None:
    """Colours and their meaning, below the time line."""
    x, y = _MARGIN, _HEADER + _STRIP + 30
    graded = any(segment.histogram for segment in segments)
    entries: list[tuple[str, Colour]] = [
        (f"MES {grade}", colour) for grade, colour in enumerate(GRADE_COLOURS)
    ]
    rest = [("not assessable" if graded else "inside", _GREY), ("outside", _PALE)]
    for label, colour in [*entries, *rest] if graded else rest:
        _pill(sheet, (x, y - 14), (15, 15), colour, radius=4)
        _write(sheet, label, (x + 22, y), 17, _SOFT)
        x += 22 + _width(label, 17) + 22


def _draw_strip(sheet: Pixels, segments: Sequence[SegmentMessage], stream_s: float) -> None:
    """The time line: every segment in its colour, at its place."""
    x, y, height = _MARGIN, _HEADER + 16, 26
    length = sheet.shape[1] - 2 * _MARGIN
    end_s = max([stream_s, *(segment.end_s for segment in segments)], default=0.0)
    _pill(sheet, (x, y), (length, height), _CARD, radius=6, edge=_EDGE)
    if end_s <= 0:
        return
    for segment in segments:
        left = x + round(segment.start_s / end_s * length)
        right = max(x + round(segment.end_s / end_s * length), left + 3)
        _pill(sheet, (left + 1, y + 1), (right - left - 2, height - 2), _colour_of(segment), radius=4)
        number = str(segment.number)
        if right - left > _width(number, 16) + 12:
            ink = _SOFT if segment.location == OUTSIDE else _CARD
            _write(sheet, number, ((left + right - _width(number, 16)) // 2, y + 19), 16, ink, bold=True)
    for share in range(5):
        label = clock(end_s * share / 4)
        at = x + round(length * share / 4) - round(_width(label, 16) * share / 4)
        _write(sheet, label, (at, y + height + 22), 16, _SOFT)


def _draw_tile(tile: Pixels, segment: SegmentMessage, photo: Cutout | None) -> None:
    _pill(tile, (0, 0), (_TILE, _PHOTO + _TEXT), _CARD, radius=14, edge=_EDGE)
    if photo is None:
        _draw_blank(tile[8 : _PHOTO - 2, 8 : _TILE - 8], segment)
    else:
        _draw_photo(tile[8 : _PHOTO - 2, 8 : _TILE - 8], photo)
    _draw_number(tile, segment)
    left, base = 22, _PHOTO + 34
    chips = _draw_chips(tile, segment)
    found = most_found(inside(segment))
    place = segment.location or (found[0] if found else "unknown location")
    _write(tile, _fit(place, 25, chips - left - 14, bold=True), (left, base), 25, _INK, bold=True)
    length = length_text(segment.end_s - segment.start_s)
    time = f"{clock(segment.start_s)} - {clock(segment.end_s)}   ({length})"
    _write(tile, _fit(time, 19, _TILE - 2 * left), (left, base + 36), 19, _INK)
    _write(tile, _fit(_evidence(segment), 17, _TILE - 2 * left), (left, base + 66), 17, _SOFT)
    _draw_share(tile, segment, (left, base + 78), _TILE - 2 * left)


def _draw_blank(panel: Pixels, segment: SegmentMessage) -> None:
    height, width = panel.shape[:2]
    _pill(panel, (0, 0), (width, height), _PALE, radius=9)
    if segment.location == OUTSIDE:
        lines = ["outside of the body", "no picture is kept"]
    elif segment.key_frame is None:
        lines = ["no picture", "no frame could be judged"]
    else:
        lines = ["no picture", "no frame that may be shown"]
    _write(
        panel,
        lines[0],
        ((width - _width(lines[0], 21, bold=True)) // 2, height // 2 - 4),
        21,
        _SOFT,
        bold=True,
    )
    _write(panel, lines[1], ((width - _width(lines[1], 17)) // 2, height // 2 + 24), 17, _SOFT)


def _photo(cutout: Cutout) -> Cutout:
    """The cutout as large as a tile allows."""
    height, width = cutout.mask.shape
    scale = min((_TILE - 32) / width, (_PHOTO - 26) / height)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return Cutout(
        np.asarray(cv2.resize(cutout.pixels, size, interpolation=how), np.uint8),
        np.asarray(cv2.resize(cutout.mask, size, interpolation=how), np.uint8),
    )


def _draw_photo(panel: Pixels, photo: Cutout) -> None:
    """The field in the middle of the panel, on night, with its outline."""
    height, width = photo.mask.shape
    _pill(panel, (0, 0), (panel.shape[1], panel.shape[0]), _NIGHT, radius=9)
    x, y = (panel.shape[1] - width) // 2, (panel.shape[0] - height) // 2
    ground = panel[y : y + height, x : x + width]
    # The pixels are black outside of the field already: they are weighted once, the ground gets the rest.
    weight = photo.mask[..., None].astype(np.float32) / 255
    ground[:] = np.clip(np.round(photo.pixels + ground * (1 - weight)), 0, 255)
    curves = outline_of(np.where(photo.mask > 127, np.uint8(255), np.uint8(0)))
    cv2.polylines(panel, [curve + np.array((x, y)) for curve in curves], True, _OUTLINE, 1, cv2.LINE_AA)


def _draw_number(tile: Pixels, segment: SegmentMessage) -> None:
    text = f"{segment.number}  marked" if segment.marked else str(segment.number)
    width = max(_width(text, 18, bold=True) + 20, 34)
    _pill(tile, (18, 18), (width, 30), _INK, radius=8)
    _write(tile, text, (18 + (width - _width(text, 18, bold=True)) // 2, 40), 18, _CARD, bold=True)


def _draw_chips(tile: Pixels, segment: SegmentMessage) -> int:
    """Grades, flush right on the first line; returns where they begin."""
    x, y, height = _TILE - 18, _PHOTO + 10, 34
    if segment.location == OUTSIDE:
        return x
    if segment.assessable and not segment.histogram:
        return x  # nobody was asked for a grade
    if not segment.assessable or segment.mes_dominant is None:
        label = "not assessable" if not segment.assessable else "no grade"
        width = _width(label, 17) + 22
        _pill(tile, (x - width, y), (width, height), _CARD, radius=9, edge=_GREY)
        _write(tile, label, (x - width + 11, y + 23), 17, _SOFT)
        return x - width
    if segment.mes_worst is not None and segment.mes_worst != segment.mes_dominant:
        x = (
            _chip(tile, f"worst {segment.mes_worst}", (x, y), _grade_colour(segment.mes_worst), filled=False)
            - 8
        )
    return _chip(
        tile, f"MES {segment.mes_dominant}", (x, y), _grade_colour(segment.mes_dominant), filled=True
    )


def _chip(tile: Pixels, label: str, right_top: tuple[int, int], colour: Colour, *, filled: bool) -> int:
    width = _width(label, 19, bold=True) + 22
    x, y = right_top[0] - width, right_top[1]
    _pill(tile, (x, y), (width, 34), colour if filled else _CARD, radius=9, edge=colour)
    _write(tile, label, (x + 11, y + 24), 19, _CARD if filled else colour, bold=True)
    return x


def _draw_share(tile: Pixels, segment: SegmentMessage, at: tuple[int, int], length: int) -> None:
    """A thin bar: how much of the segment could be judged."""
    _pill(tile, at, (length, 6), _PALE, radius=3)
    if segment.frames_seen:
        filled = round(length * segment.frames_usable / segment.frames_seen)
        if filled >= 6:
            _pill(tile, at, (filled, 6), _SOFT, radius=3)


def _draw_footer(sheet: Pixels, caption: Caption) -> None:
    base = sheet.shape[0] - 30
    notice = "Research use only. Not a medical device."
    _write(sheet, notice, (_MARGIN, base), 20, _INK, bold=True)
    room = sheet.shape[1] - 3 * _MARGIN - _width(notice, 20, bold=True)
    origin = _fit(caption.origin, 17, room)
    _write(sheet, origin, (sheet.shape[1] - _MARGIN - _width(origin, 17), base), 17, _SOFT)


def _evidence(segment: SegmentMessage) -> str:
    if not segment.frames_seen:
        return "no frames"
    percent = 100 * segment.frames_usable / segment.frames_seen
    found = findings_text(segment)
    if found:  # the bar below shows the share
        return f"{segment.frames_usable} of {segment.frames_seen} usable; {found}"
    return f"{segment.frames_usable} of {segment.frames_seen} frames usable ({percent:.0f} %)"


def _colour_of(segment: SegmentMessage) -> Colour:
    if segment.location == OUTSIDE:
        return _PALE
    if not segment.assessable or segment.mes_dominant is None:
        return _GREY
    return _grade_colour(segment.mes_dominant)


def _grade_colour(grade: int) -> Colour:
    return GRADE_COLOURS[min(grade, len(GRADE_COLOURS) - 1)]


def clock(seconds: float) -> str:
    """`02:10`, `1:02:10`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def length_text(seconds: float) -> str:
    """`4.2 s`, `1 min 30 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _font(bold: bool) -> int:
    return cv2.FONT_HERSHEY_DUPLEX if bold else cv2.FONT_HERSHEY_SIMPLEX


def _width(text: str, size: int, *, bold: bool = False) -> int:
    return int(cv2.getTextSize(text, _font(bold), size / 30, 1)[0][0])


def _write(
    canvas: Pixels, text: str, at: tuple[int, int], size: int, colour: Colour, *, bold: bool = False
) -> None:
    """Text with its baseline's left end at `at`; `size` is about the height of a line in pixels."""
    cv2.putText(canvas, text, at, _font(bold), size / 30, colour, 1, cv2.LINE_AA)


def _fit(text: str, size: int, room: int, *, bold: bool = False) -> str:
    """The text, or as much of its beginning as has room, with three dots."""
    if _width(text, size, bold=bold) <= room:
        return text
    while text and _width(text + "...", size, bold=bold) > room:
        text = text[:-1]
    return text + "..."


def _pill(
    canvas: Pixels,
    at: tuple[int, int],
    size: tuple[int, int],
    colour: Colour,
    *,
    radius: int,
    edge: Colour | None = None,
) -> None:
    """A filled rectangle with round, smooth corners."""
    width, height = size
    if width < 1 or height < 1:
        return
    radius = min(radius, width // 2, height // 2)
    x, y = at
    _fill_rounded(canvas[y : y + height, x : x + width], edge or colour, radius)
    if edge is not None:
        _fill_rounded(canvas[y + 1 : y + height - 1, x + 1 : x + width - 1], colour, max(radius - 1, 0))


def _fill_rounded(part: Pixels, colour: Colour, radius: int) -> None:
    height, width = part.shape[:2]
    # OpenCV fills ten times faster than a broadcast assignment of three bytes.
    if height > 2 * radius:
        cv2.rectangle(part, (0, radius), (width - 1, height - radius - 1), colour, -1)
    if width > 2 * radius:
        cv2.rectangle(part, (radius, 0), (width - radius - 1, height - 1), colour, -1)
    if radius == 0:
        return
    from_centre = radius - np.arange(radius) - 0.5
    distance = np.hypot(from_centre[:, None], from_centre[None, :])
    coverage = np.clip(radius + 0.5 - distance, 0, 1)[..., None]
    corners = (
        (part[:radius, :radius], coverage),
        (part[:radius, -radius:], coverage[:, ::-1]),
        (part[-radius:, :radius], coverage[::-1]),
        (part[-radius:, -radius:], coverage[::-1, ::-1]),
    )
    for corner, weight in corners:
        corner[:] = np.round(corner + (np.array(colour) - corner) * weight)
