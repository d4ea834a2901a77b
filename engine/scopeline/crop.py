"""Crops: the four ways in which a network may be shown the field of view.

A bounding box carries the shape of the border, and with it the device and often the answer: a linear probe
on the border ring alone told Mayo 0 from 1 with AUROC 1.000. `inscribed` leaves no border, at a fixed aspect
because a free one tells the device again (docs/architecture.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.field_of_view import ROUND, FieldOfView
from scopeline.overlay import Box, Mask
from scopeline.picture import MakeResize, Picture, Pixels, Resize, Resizer

_LINES = 270
"""Height at which the inscribed rectangle is sought: an eighth of 2160 lines, a quarter of 1080."""
_MARGIN = 0.008
"""Kept from the rim, as a share of the signal's height: the rim is soft, and chroma is coarser."""


class CropKind(StrEnum):
    """How the field is brought to a network's input."""

    INSCRIBED = "inscribed"
    """The largest rectangle of the input's aspect within the field and beside the overlays."""
    MASKED = "masked"
    """The bounding box, letterboxed; everything but mucosa filled with the mucosa's mean colour."""
    DISC2SQUARE = "disc2square"
    """The largest ellipse in the field, stretched to a rectangle: all of a round field, without a border."""
    BOX = "box"
    """The bounding box, letterboxed on black; for segmentation."""


Points = NDArray[np.float64]
"""(K, 2) x, y."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a view's pixels come from: `source` in the signal is shown in `target` of the view."""

    source: Box
    target: Box
    is_bent: bool = False
    """Whether a disc within `source` was stretched to a square."""

    def to_signal(self, points: Points) -> Points:
        """Where points of the view lie in the signal.

        Args:
            points: (K, 2) x, y in pixels of the view; its first pixel reaches from 0 to 1.

        Returns:
            (K, 2) float64 x, y in signal pixels, counted in the same way.
        """
        left, top, width, height = self.target
        shares = (points - (left, top)) / (width, height)
        if self.is_bent:
            across, down = 2 * shares[:, 0] - 1, 2 * shares[:, 1] - 1
            bent = np.stack([across * np.sqrt(1 - down**2 / 2), down * np.sqrt(1 - across**2 / 2)], axis=1)
            shares = (bent + 1) / 2
        found: Points = shares * self.source[2:] + self.source[:2]
        return found


Render = Callable[[Picture, Pixels], None]


class View:
    """Cuts the field out of pictures, in one way and at one size. Not thread-safe.

    The plan is made when the field or the picture's size change; after that `inscribed` is one call of the
    resizer.

    Args:
        kind: How the field is brought to the size.
        width: Width of the network's input in pixels.
        height: Height of the network's input in pixels.
        make_resize: What cuts and scales; the CPU's resizer unless something else does the same.
    """

    def __init__(self, kind: CropKind, width: int, height: int, *, make_resize: MakeResize = Resizer) -> None:
        self.kind, self.width, self.height = CropKind(kind), width, height
        self._make_resize = make_resize
        self._field: FieldOfView | None = None
        self._render: Render | None = None

    def __call__(self, picture: Picture, field: FieldOfView, out: Pixels | None = None) -> Pixels:
        """The view of a picture, (height, width, 3) uint8 RGB, written into `out` if that is given.

        Raises:
            ValueError: the field belongs to a signal of another size.
        """
        if picture.width != field.signal_width or picture.height != field.signal_height:
            raise ValueError(
                f"the field is of a {field.signal_width}x{field.signal_height} signal, "
                f"the picture has {picture.width}x{picture.height}"
            )
        if self._render is None or field is not self._field:
            self._render, self._field = self._plan(field), field
        if out is None:
            out = np.empty((self.height, self.width, 3), np.uint8)
        self._render(picture, out)
        return out

    def placement(self, field: FieldOfView) -> Placement:
        """Which part of the signal the view shows, and where in the view it lies.

        For `disc2square` the part is the ellipse's bounding box, which the view shows bent.
        """
        whole = (0, 0, self.width, self.height)
        if self.kind is CropKind.INSCRIBED:
            return Placement(inscribed_box(field, self.width / self.height), whole)
        if self.kind is CropKind.DISC2SQUARE:
            return Placement(_ellipse_box(field), whole, is_bent=True)
        source = _even(field.box, field)
        scale = min(self.width / source[2], self.height / source[3])
        width, height = max(1, round(source[2] * scale)), max(1, round(source[3] * scale))
        return Placement(source, ((self.width - width) // 2, (self.height - height) // 2, width, height))

    def _plan(self, field: FieldOfView) -> Render:
        placement = self.placement(field)
        _, _, width, height = placement.target
        resizer = self._make_resize(width, height, placement.source)
        if self.kind is CropKind.INSCRIBED:
            return lambda picture, out: _ignore(resizer(picture, out))
        if self.kind is CropKind.DISC2SQUARE:
            return _bent(resizer, self.width, self.height)
        if self.kind is CropKind.BOX:
            return _letterboxed(resizer, placement.target)
        return _masked(resizer, placement, field)


def inscribed_box(field: FieldOfView, aspect: float) -> Box:
    """The largest box of an aspect (width / height) within the field and beside its overlays, in signal
    pixels.

    Coordinates are even, so that the chroma planes are cut at the same place. Of several largest boxes it is
    the one nearest to the field's centre.
    """
    lines = min(_LINES, field.signal_height)
    # Working pixels have the aspect of the box, so the largest box is the largest square of working pixels.
    down = lines / field.signal_height
    across = down / aspect
    columns = max(1, round(field.signal_width * across))
    across = columns / field.signal_width
    free = field.mask(columns, lines, without_overlays=True)
    free = _eroded(free, max(1, round(_MARGIN * lines)), max(1, round(_MARGIN * lines / aspect)))
    centre = ((field.x + field.width / 2) * across, (field.y + field.height / 2) * down)
    left, top, side = _largest_square(free, centre)
    if side == 0:
        return _even(field.box, field)  # a sliver of a field: there is no box to find
    x, y = 2 * int(np.ceil(left / across / 2)), 2 * int(np.ceil(top / down / 2))
    room_w, room_h = (left + side) / across - x, (top + side) / down - y
    height = 2 * int(min(room_h, room_w / aspect) // 2)
    width = 2 * int(min(height * aspect, room_w) // 2)
    return (x, y, width, height) if width >= 2 and height >= 2 else _even(field.box, field)


def _eroded(mask: Mask, rows: int, columns: int) -> Mask:
    """The mask less a margin, also along the picture's own edge, where pictures often have a dark line."""
    kernel = np.ones((2 * rows + 1, 2 * columns + 1), np.uint8)
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), rows, rows, columns, columns, cv2.BORDER_CONSTANT)
    eroded = cv2.erode(padded, kernel)[rows : rows + mask.shape[0], columns : columns + mask.shape[1]]
    return np.asarray(eroded, np.bool_)


def _largest_square(free: Mask, centre: tuple[float, float]) -> tuple[int, int, int]:
    """x, y and side of the largest square of True, by bisection over an integral image."""
    total = np.asarray(cv2.integral(free.astype(np.uint8)), np.int32)
    low, high = 0, min(free.shape)
    while low < high:
        side = (low + high + 1) // 2
        if _fits(total, side).any():
            low = side
        else:
            high = side - 1
    if low == 0:
        return 0, 0, 0
    tops, lefts = np.nonzero(_fits(total, low))
    nearest = int(np.argmin((lefts + low / 2 - centre[0]) ** 2 + (tops + low / 2 - centre[1]) ** 2))
    return int(lefts[nearest]), int(tops[nearest]), low


def _fits(total: NDArray[np.int32], side: int) -> Mask:
    inside = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    fits: Mask = inside == side * side
    return fits


def _even(box: Box, field: FieldOfView) -> Box:
    """The box shrunk to even coordinates, but never to nothing."""
    x, y, w, h = box
    left, top = min(x + x % 2, field.signal_width - 1), min(y + y % 2, field.signal_height - 1)
    width, height = (x + w - left) // 2 * 2, (y + h - top) // 2 * 2
    return (left, top, width, height) if width >= 2 and height >= 2 else (x, y, w, h)


def _ellipse_box(field: FieldOfView) -> Box:
    """The bounding box of the largest ellipse around the field's centre that stays within the field."""
    centre_x, centre_y = field.x + field.width / 2, field.y + field.height / 2
    lines = min(_LINES, field.signal_height)
    scale = lines / field.signal_height
    columns = max(1, round(field.signal_width * scale))
    mask = field.mask(columns, lines)
    across, down = columns / field.signal_width, scale
    rows, cols = np.ogrid[:lines, :columns]
    # For every pixel outside: the scale at which the box's own ellipse would reach it. The least is the
    # largest.
    reach = ((cols + 0.5) / across - centre_x) ** 2 / (field.width / 2) ** 2
    reach = reach + ((rows + 0.5) / down - centre_y) ** 2 / (field.height / 2) ** 2
    outside = reach[~mask]
    size = min(1.0, float(np.sqrt(outside.min())) if outside.size else 1.0)
    # A disc's own pixels at the rim are half outside; elsewhere the margin keeps the soft rim out.
    size *= 1 - _MARGIN if field.shape in ROUND else 1 - 2 * _MARGIN
    half_w, half_h = field.width / 2 * size, field.height / 2 * size
    left, top = int(np.ceil(centre_x - half_w)), int(np.ceil(centre_y - half_h))
    box = (left, top, max(2, int(2 * half_w)), max(2, int(2 * half_h)))
    return _even(box, field)


def _ignore(_: Pixels) -> None:
    """Results come back in `out`."""


def _bent(resizer: Resize, width: int, height: int) -> Render:
    """Elliptical grid mapping: a square's (u, v) is the disc's (u sqrt(1 - v^2/2), v sqrt(1 - u^2/2))."""
    u = ((np.arange(width) + 0.5) * 2 / width - 1)[None, :]
    v = ((np.arange(height) + 0.5) * 2 / height - 1)[:, None]
    from_x = ((u * np.sqrt(1 - v**2 / 2) + 1) * width / 2 - 0.5).astype(np.float32)
    from_y = ((v * np.sqrt(1 - u**2 / 2) + 1) * height / 2 - 0.5).astype(np.float32)
    coarse, fine = cv2.convertMaps(from_x, from_y, cv2.CV_16SC2)
    flat = np.empty((height, width, 3), np.uint8)

    def render(picture: Picture, out: Pixels) -> None:
        cv2.remap(
            resizer(picture, flat), coarse, fine, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REPLICATE
        )

    return render


def _letterboxed(resizer: Resize, target: Box) -> Render:
    x, y, width, height = target

    def render(picture: Picture, out: Pixels) -> None:
        out[:y], out[y + height :], out[:, :x], out[:, x + width :] = 0, 0, 0, 0
        resizer(picture, out[y : y + height, x : x + width])

    return render


def _masked(resizer: Resize, placement: Placement, field: FieldOfView) -> Render:
    (left, top, w, h), (x, y, width, height) = placement.source, placement.target
    whole_w, whole_h = round(field.signal_width * width / w), round(field.signal_height * height / h)
    mask = field.mask(whole_w, whole_h, without_overlays=True).astype(np.uint8)
    mask = np.asarray(
        cv2.erode(mask, np.ones((5, 5), np.uint8)), np.uint8
    )  # the rim's mixed pixels show the shape
    row, column = round(top * height / h), round(left * width / w)
    inside = np.zeros((height, width), np.uint8)
    cut = mask[row : row + height, column : column + width]
    inside[: cut.shape[0], : cut.shape[1]] = cut
    outside = inside == 0

    def render(picture: Picture, out: Pixels) -> None:
        shown = resizer(picture)
        mean = np.array(cv2.mean(shown, mask=inside)[:3]).round().astype(np.uint8)
        out[:] = mean
        shown[outside] = mean
        out[y : y + height, x : x + width] = shown

    return render
