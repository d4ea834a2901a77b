"""Reports: what the page is told of a picture, a clip or a map, as JSON."""

from __future__ import annotations

import base64
from typing import Literal

import cv2
import msgspec
import numpy as np

from scopeline.contact_sheet import outline_of
from scopeline.field_of_view import FieldOfView
from scopeline.picture import Pixels
from scopeline.pictures import jpeg

_LONGEST_PX = 1280
_FIELD_LINES = 540

Curve = list[tuple[float, float]]


class FieldReport(msgspec.Struct, frozen=True, kw_only=True):
    """Where the scope's picture lies."""

    shape: str
    curves: list[Curve]
    """Its rim in signal pixels."""
    shown: tuple[int, int, int, int]
    """x, y, width, height of what the first network sees, in signal pixels."""


class HeadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one head said, or why it was not asked."""

    name: str
    role: str
    labels: list[str]
    probabilities: list[float] | None
    abstains: bool = False
    why_not: str | None = None


class MaskReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a mask head marked."""

    name: str
    label: str
    share: float
    """Of the field's area, 0..1."""
    curves: list[Curve]


class PictureReport(msgspec.Struct, frozen=True, kw_only=True, tag="picture", tag_field="kind"):
    """One picture's verdict. Quality comes first: with a reason there is no other answer."""

    width: int
    height: int
    preview: str
    """Data address of the whole picture, scaled."""
    view: str
    """Data address of what the first network was shown."""
    field: FieldReport | None
    reason: str | None
    quality: float | None
    usable_at: float
    heads: list[HeadReport]
    masks: list[MaskReport]
    models: dict[str, str]
    took_ms: float


class SegmentReport(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of one location in a clip."""

    number: int
    location: str | None
    start_s: float
    end_s: float
    assessable: bool
    mes_dominant: int | None
    mes_worst: int | None
    frames_seen: int
    frames_usable: int
    key_frame: int | None
    key_frame_s: float | None
    picture: str | None
    """Data address of the key frame, cut to the field; null for what is never shown."""


class ClipReport(msgspec.Struct, frozen=True, kw_only=True, tag="clip", tag_field="kind"):
    """A clip's verdict, as a run of the engine came to it."""

    width: int
    height: int
    duration_s: float
    frames: int
    usable: int
    reasons: dict[str, int]
    moments: list[tuple[float, float | None, str | None]]
    """Stream time in seconds, quality, reason; thinned out."""
    answers: dict[str, dict[str, int]]
    """Head -> label -> frames on which it was the most probable."""
    segments: list[SegmentReport]
    shape: str | None
    """Of the field of view that held last; null if none was found."""
    field_picture: str | None
    """Data address of a judged frame with the field drawn in."""
    models: dict[str, str]
    took_ms: float


class MapReport(msgspec.Struct, frozen=True, kw_only=True):
    """Why a head said a label."""

    method: Literal["grad-cam", "occlusion"]
    words: str
    note: str
    head: str
    label: str
    probability: float
    picture: str
    """Data address of the map over what the network was shown."""


def data_address(pixels: Pixels) -> str:
    """A picture as `data:image/jpeg;base64,...`, at most 1280 pixels long."""
    height, width = pixels.shape[:2]
    scale = _LONGEST_PX / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(pixels)).decode()


def rim_of(field: FieldOfView) -> list[Curve]:
    """The rim of a field as closed curves in signal pixels."""
    lines = min(_FIELD_LINES, field.signal_height)
    columns = max(1, round(field.signal_width * lines / field.signal_height))
    mask = field.mask(columns, lines).astype(np.uint8) * 255
    across, down = field.signal_width / columns, field.signal_height / lines
    return [
        [((x + 0.5) * across, (y + 0.5) * down) for x, y in curve[:, 0].tolist()]
        for curve in outline_of(mask)
    ]
