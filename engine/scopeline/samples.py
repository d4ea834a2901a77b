"""Samples: a few rows and points of a picture in its own pixel format, read where they lie, nothing converted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Picture, Pixels, Resizer

Channel: TypeAlias = NDArray[np.uint8]
"""(rows, columns) uint8: one channel at the sampled points."""

ROWS, COLUMNS = 64, 96
"""Least number of sampled rows and points in a row, where the picture has as many."""

_LEAST_ROWS, _MOST_BYTES = 24, 1 << 17
"""Large and packed formats are sampled in fewer rows: reading them is what costs."""

_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one channel lies: its plane, and in a row of it the first byte and the bytes from pixel to pixel."""

    plane: int
    first: int = 0
    step: int = 1
    shift: int = 0
    """For 16-bit samples: by how much the 8 bits that count are shifted."""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where brightness lies, and where the colours do: (U, V) or (R, G, B); none in a grey format."""

    light: _Place
    colours: tuple[_Place, ...] = ()


def _packed(*first: int, step: int) -> _Layout:
    places = tuple(_Place(0, each, step) for each in first)
    return _Layout(places[1], places)  # of red, green and blue, green is nearly brightness


_LAYOUTS: dict[str, _Layout] = {
    "gray": _Layout(_Place(0)),
    "yuyv422": _Layout(_Place(0, 0, 2), (_Place(0, 1, 4), _Place(0, 3, 4))),
    "yvyu422": _Layout(_Place(0, 0, 2), (_Place(0, 3, 4), _Place(0, 1, 4))),
    "uyvy422": _Layout(_Place(0, 1, 2), (_Place(0, 0, 4), _Place(0, 2, 4))),
    "nv12": _Layout(_Place(0), (_Place(1, 0, 2), _Place(1, 1, 2))),
    "nv16": _Layout(_Place(0), (_Place(1, 0, 2), _Place(1, 1, 2))),
    "nv21": _Layout(_Place(0), (_Place(1, 1, 2), _Place(1, 0, 2))),
    "p010le": _Layout(
        _Place(0, 0, 2, 8, True), (_Place(1, 0, 4, 8, True), _Place(1, 2, 4, 8, True))
    ),
    "rgb24": _packed(0, 1, 2, step=3),
    "bgr24": _packed(2, 1, 0, step=3),
    "rgba": _packed(0, 1, 2, step=4),
    "rgb0": _packed(0, 1, 2, step=4),
    "bgra": _packed(2, 1, 0, step=4),
    "bgr0": _packed(2, 1, 0, step=4),
    "argb": _packed(1, 2, 3, step=4),
    "0rgb": _packed(1, 2, 3, step=4),
    "abgr": _packed(3, 2, 1, step=4),
    "0bgr": _packed(3, 2, 1, step=4),
    "gbrp": _Layout(_Place(0), (_Place(2), _Place(0), _Place(1))),
}  # fmt: skip


class Sampler:
    """Samples pictures of any pixel format. Those whose layout it does not know are scaled down first, which costs ten
    times as much."""

    def __init__(self) -> None:
        self._layouts = dict(_LAYOUTS)
        self._small = Resizer(4 * COLUMNS, 2 * ROWS)

    def sample(self, picture: Picture) -> Samples:
        """The picture's samples; they hold on to the picture."""
        name = picture.format.name
        layout = self._layouts.get(name) or _planar(picture)
        if layout is None:
            return Samples(_RgbRows(self._small(picture)), _LAYOUTS["rgb24"], full_range=True)
        self._layouts[name] = layout
        full = name.startswith("yuvj") or picture.color_range == _FULL_RANGE or len(layout.colours) != 2
        return Samples(_PlaneRows(picture), layout, full_range=full)


class _PlaneRows:
    """Rows of a decoded picture's planes."""

    def __init__(self, picture: Picture) -> None:
        self._planes = picture.planes  # each reading makes them anew
        self._count = min(max(_MOST_BYTES // self._planes[0].line_size, _LEAST_ROWS), ROWS)

    def __call__(self, plane: int) -> Channel:
        """(rows, bytes) of a plane, one row in so many. Rows may end in padding."""
        found = self._planes[plane]
        rows = np.frombuffer(memoryview(found), np.uint8).reshape(found.height, found.line_size)
        step = max(found.height // self._count, 1)
        return rows[step // 2 :: step]

    def width(self, plane: int) -> int:
        return int(self._planes[plane].width)


class _RgbRows:
    """Rows of RGB pixels."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels

    def __call__(self, plane: int) -> Channel:
        rows = self._pixels.reshape(len(self._pixels), -1)
        return rows[1::2]

    def width(self, plane: int) -> int:
        return int(self._pixels.shape[1])


class Samples:
    """What was sampled of one picture."""

    def __init__(self, rows: _PlaneRows | _RgbRows, layout: _Layout, *, full_range: bool) -> None:
        self._rows, self._layout = rows, layout
        self.full_range = full_range
        """Whether black is 0; otherwise it is 16 in 8 bits."""
        self._width_px = rows.width(0)
        self._whole: Channel | None = None
        self._light: Channel | None = None

    def whole_rows(self) -> Channel:
        """(rows, bytes) of the first plane, whatever its bytes mean: to tell whether a picture repeats."""
        if self._whole is None:
            self._whole = np.ascontiguousarray(self._rows(0)[:, : self._width_px * self._layout.light.step])
        return self._whole

    def light(self) -> Channel:
        """Brightness (green, in an RGB format) at about `ROWS` x `COLUMNS` points."""
        if self._light is None:
            light = self._layout.light
            self._light = np.ascontiguousarray(self._points(self.whole_rows(), light, self._width_px))
        return self._light

    def colours(self) -> tuple[Channel, ...]:
        """(U, V) or (R, G, B) at about `ROWS` x `COLUMNS` points each; nothing in a grey format."""
        return tuple(self._channel(place) for place in self._layout.colours)

    def rgb(self) -> Pixels:
        """(rows, columns, 3) uint8 RGB of the sampled points (BT.601; near enough to name a colour)."""
        light, colours = self.light(), self.colours()
        if not colours:
            return np.repeat(light[..., None], 3, axis=2)
        if len(colours) == 3:
            return np.dstack(colours)
        down = _nearest(len(light), len(colours[0]))
        across = _nearest(light.shape[1], colours[0].shape[1])
        blueness, redness = (each[down[:, None], across] for each in colours)
        return yuv_to_rgb(light, blueness, redness, self.full_range)

    def _channel(self, place: _Place) -> Channel:
        light = self._layout.light
        if place.plane != light.plane:
            return self._points(self._rows(place.plane), place, self._rows.width(place.plane))
        # Packed chroma lies in the plane of brightness, but comes half as often.
        return self._points(self.whole_rows(), place, self._width_px * light.step // place.step)

    def _points(self, rows: Channel, place: _Place, count: int) -> Channel:
        """About `COLUMNS` of the `count` samples of a channel in a row."""
        stride = max(count // COLUMNS, 1)
        first = place.first + stride // 2 * place.step
        if not place.wide:
            return rows[:, first : count * place.step : stride * place.step]
        pairs = np.ascontiguousarray(rows[:, : count * place.step]).view("<u2")
        return np.asarray(pairs[:, first // 2 :: stride * place.step // 2] >> place.shift, np.uint8)


def _nearest(count: int, of: int) -> NDArray[np.intp]:
    """For each of `count` points, the nearest of others that are spread over the same length."""
    return np.asarray((np.arange(count) + 0.5) * of / count, np.intp)


def yuv_to_rgb(light: Channel, blueness: Channel, redness: Channel, full_range: bool) -> Pixels:
    """(..., 3) uint8 RGB from Y, U and V by ITU-R BT.601."""
    y, u, v = light.astype(np.float32), blueness.astype(np.float32) - 128, redness.astype(np.float32) - 128
    if not full_range:
        y, u, v = (y - 16) * (255 / 219), u * (255 / 224), v * (255 / 224)
    rgb = np.stack([y + 1.402 * v, y - 0.344 * u - 0.714 * v, y + 1.772 * u], axis=-1)
    return np.asarray(np.clip(np.round(rgb), 0, 255), np.uint8)


def _planar(picture: Picture) -> _Layout | None:
    """The layout of planar YUV and grey formats of 8 to 16 bits; None for others."""
    name, components = picture.format.name, picture.format.components
    if name.endswith("be") or not name.startswith(("yuv4", "yuvj4", "yuva4", "gray")):
        return None
    bits = components[0].bits
    wide = bits > 8
    places = tuple(_Place(plane, 0, 1 + wide, bits - 8, wide) for plane in range(min(len(components), 3)))
    return _Layout(places[0], places[1:])
