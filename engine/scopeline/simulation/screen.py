"""Screen: what a video processor draws around the endoscope's picture.

A screen is drawn once; composing a frame then copies the field into it and writes the running clock. All
names, numbers and dates on it are invented and say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""x, y, width, height in pixels of the signal."""
Fractions = tuple[float, float, float, float]
"""x, y, width, height in fractions of the frame."""

SHAPES = ("octagon", "circle", "clipped_circle", "rectangle")
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT = ("SCOPELINE DEMO", "Name: NOBODY", "ID: 000000", "Sex: - Age: -", "D.O.B.: --/--", "CVP: 0 Eh: A1")
_CLOCK_START_S = 9 * 3600
# The colon on a position display, from the anus (lower right) to the caecum, in fractions of the guide box.
_GUIDE_CURVE = (
    (0.60, 0.97), (0.56, 0.86), (0.50, 0.76), (0.58, 0.68), (0.70, 0.66), (0.74, 0.52), (0.74, 0.38),
    (0.73, 0.24), (0.62, 0.22), (0.50, 0.30), (0.38, 0.28), (0.28, 0.22), (0.25, 0.34), (0.26, 0.48),
    (0.30, 0.60),
)  # fmt: skip


def _rounded(points: tuple[tuple[float, float], ...], rounds: int = 3) -> NDArray[np.float64]:
    """Chaikin's corner cutting: the polyline as a smooth curve."""
    curve = np.array(points)
    for _ in range(rounds):
        ahead = np.diff(curve, axis=0)
        inner = np.stack([curve[:-1] + 0.25 * ahead, curve[:-1] + 0.75 * ahead], axis=1).reshape(-1, 2)
        curve = np.concatenate([curve[:1], inner, curve[-1:]])
    return curve


_SCOPE_CURVE = _rounded(_GUIDE_CURVE)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a processor puts things, in fractions of the frame, so that it can be drawn at any size."""

    name: str
    shape: str
    """One of SHAPES."""
    native: tuple[int, int]
    """Width and height in pixels that the processor really sends."""
    field: Fractions
    """Box around the field. A circle is the largest disc in it; a clipped circle fills the box's width."""
    corner: tuple[float, float] = (0.21, 0.24)
    """Octagon only: the cut corners, in fractions of the field's width and height."""
    guide: Fractions | None = None
    """The green position box."""
    black_box: Fractions | None = None
    """A box inside the field that the processor paints black."""
    text: tuple[float, float] | None = None
    """Left end of the first text line."""
    guide_colour: tuple[int, int, int] = (22, 163, 138)
    background: int = 3
    """Grey level outside the field; a real "black" is rarely 0."""


# Geometries as found in recordings: a 576-line signal, a 5:4 computer signal and two high-definition ones.
LAYOUTS = (
    Layout("sd-octagon", "octagon", (720, 576), (0.065, 0.035, 0.865, 0.915),
           guide=(0.045, 0.655, 0.31, 0.295), text=(0.012, 0.05)),
    Layout("sxga-octagon", "octagon", (1280, 1024), (0.262, 0.045, 0.716, 0.905),
           guide=(0.045, 0.650, 0.31, 0.295), text=(0.02, 0.09)),
    Layout("hd-circle", "circle", (1920, 1080), (0.330, 0.025, 0.540, 0.930), text=(0.03, 0.10)),
    Layout("hd-clipped", "clipped_circle", (1350, 1080), (0.190, 0.060, 0.790, 0.880),
           guide=(0.045, 0.650, 0.31, 0.295), text=(0.012, 0.08)),
    Layout("hd-rectangle", "rectangle", (1920, 1080), (0.240, 0.030, 0.735, 0.915), text=(0.03, 0.10)),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """A drawn screen, ready to take pictures."""

    name: str
    width: int
    height: int
    shape: str
    mask: Mask
    """(H, W), True where the field is; overlays on the field count as field."""
    field_box: Box
    """The mask's bounding box: the truth for whoever looks for the field."""
    guide_box: Box | None
    black_box: Box | None
    layer: Pixels = field(repr=False)
    """(H, W, 3) the empty screen."""
    overlays: tuple[tuple[Box, Pixels], ...] = field(repr=False)
    """What lies on top of the field."""
    clock_at: tuple[int, int] | None
    text_on_field: tuple[NDArray[np.intp], NDArray[np.intp], Pixels] = field(repr=False)
    """Rows, columns and (N, 3) colours of the letters that reach into the field."""
    rim: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]] = field(repr=False)
    """Rows, columns and opacity of the half-covered pixels at the edge."""

    def compose(
        self, mucosa_pixels: Pixels, time_s: float, *, inserted: float = 1.0, out: Pixels | None = None
    ) -> Pixels:
        """The full frame, (height, width, 3) uint8 RGB, freshly made or written into `out`.

        Args:
            mucosa_pixels: The field's content, (h, w, 3) uint8 RGB; scaled when not the size of `field_box`.
            time_s: What the running clock shows.
            inserted: Share of the colon that the scope on the position display reaches, 0..1.
        """
        x, y, width, height = self.field_box
        if mucosa_pixels.shape[:2] != (height, width):
            mucosa_pixels = np.asarray(cv2.resize(mucosa_pixels, (width, height)), np.uint8)
        pixels = np.empty_like(self.layer) if out is None else out
        np.copyto(pixels, self.layer)
        inside = pixels[y : y + height, x : x + width]
        # Six times faster than numpy's copyto with a mask.
        cv2.copyTo(mucosa_pixels, self.mask[y : y + height, x : x + width].view(np.uint8), inside)
        self._soften_rim(pixels, mucosa_pixels)
        rows, columns, colours = self.text_on_field
        pixels[rows, columns] = colours
        for (left, top, w, h), patch in self.overlays:
            pixels[top : top + h, left : left + w] = patch
        if self.guide_box is not None:
            _draw_guide_curve(pixels, self.guide_box, inserted)
        if self.clock_at is not None:
            _write(pixels, _clock(time_s), self.clock_at, _text_scale(self.height), 235)
        return pixels

    def _soften_rim(self, pixels: Pixels, mucosa_pixels: Pixels) -> None:
        rows, columns, opacity = self.rim
        x, y, _, _ = self.field_box
        behind = self.layer[rows, columns].astype(np.float32)
        front = mucosa_pixels[rows - y, columns - x].astype(np.float32)
        pixels[rows, columns] = (behind + (front - behind) * opacity).astype(np.uint8)


def screen_named(name: str, width: int | None = None, height: int | None = None) -> Screen:
    """One of LAYOUTS by name, at its own size or scaled to another one.

    Raises:
        ValueError: there is no such layout.
    """
    for layout in LAYOUTS:
        if layout.name == name:
            return draw_screen(layout, width or layout.native[0], height or layout.native[1])
    raise ValueError(f"screen must be one of {', '.join(layout.name for layout in LAYOUTS)}, got {name}")


def random_screen(
    rng: np.random.Generator, shape: str, width: int, height: int, *, guide: bool, text: bool
) -> Screen:
    """A screen that no processor has: position, size and colours jittered. For test suites and training."""
    share_w, share_h = rng.uniform(0.66, 0.88), rng.uniform(0.80, 0.92)
    field_at = (rng.uniform(0.03, 0.97 - share_w), rng.uniform(0.015, 0.94 - share_h), share_w, share_h)
    guide_w = rng.uniform(0.285, 0.325)
    guide_h = rng.uniform(0.084, 0.107) / guide_w
    at = (0.2 + rng.uniform(-0.015, 0.015) - guide_w / 2, 0.8 + rng.uniform(-0.015, 0.015) - guide_h / 2)
    layout = Layout(
        name=f"random-{shape}",
        shape=shape,
        native=(width, height),
        field=field_at,
        corner=(rng.uniform(0.12, 0.26), rng.uniform(0.14, 0.30)),
        guide=(*at, guide_w, guide_h) if guide else None,
        text=(rng.uniform(0.008, 0.02), rng.uniform(0.04, 0.10)) if text else None,
        guide_colour=_guide_colour(rng),
        background=int(rng.integers(0, 9)),
    )
    return draw_screen(layout, width, height)


def draw_screen(layout: Layout, width: int, height: int) -> Screen:
    """Draws a layout at a size in pixels."""
    opacity = _field_opacity(layout, width, height)
    mask: Mask = opacity >= 128
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    layer = np.full((height, width, 3), layout.background, np.uint8)
    clock_at = _write_text(layer, layout)
    _draw_icons(layer, (x, y, w, h))
    rows, columns = np.nonzero((layer[..., 0] > layout.background) & (opacity > 0))
    text = rows, columns, layer[rows, columns]
    layer[opacity > 0] = layout.background
    guide_box = _pixel_box(layout.guide, width, height)
    black_box = _pixel_box(layout.black_box, width, height)
    overlays: list[tuple[Box, Pixels]] = []
    if guide_box is not None:
        overlays.append((guide_box, _guide_patch(guide_box, layout.guide_colour)))
    if black_box is not None:
        overlays.append((black_box, np.zeros((black_box[3], black_box[2], 3), np.uint8)))
    return Screen(
        name=layout.name, width=width, height=height, shape=layout.shape, mask=mask, field_box=(x, y, w, h),
        guide_box=guide_box, black_box=black_box, layer=layer, overlays=tuple(overlays), clock_at=clock_at,
        text_on_field=text, rim=_rim(opacity, (x, y, w, h)),
    )  # fmt: skip


def _field_opacity(layout: Layout, width: int, height: int) -> NDArray[np.uint8]:
    if layout.shape not in SHAPES:
        raise ValueError(f"shape must be one of {', '.join(SHAPES)}, got {layout.shape}")
    x, y, w, h = (v * s for v, s in zip(layout.field, (width, height, width, height), strict=True))
    opacity = np.zeros((height, width), np.uint8)
    centre, half_w, half_h = (x + w / 2, y + h / 2), w / 2, h / 2
    if layout.shape == "octagon":
        _fill(opacity, _octagon(centre, half_w, half_h, layout.corner))
    elif layout.shape == "rectangle":
        _fill(opacity, _octagon(centre, half_w, half_h, (0.0, 0.0)))
    elif layout.shape == "circle":
        _fill_disc(opacity, centre, min(half_w, half_h))
    else:
        # The disc must reach beyond the box above and below, or nothing would be clipped.
        half_w = max(half_w, half_h * 1.08)
        half_h = min(half_h, half_w / 1.08)
        half_w = min(half_w, width * 0.48)
        half_h = min(half_h, half_w / 1.08)
        _fill_disc(opacity, (min(max(centre[0], half_w + 2), width - half_w - 2), centre[1]), half_w)
        opacity[: round(centre[1] - half_h)] = 0
        opacity[round(centre[1] + half_h) :] = 0
    return opacity


def _octagon(
    centre: tuple[float, float], half_w: float, half_h: float, corner: tuple[float, float]
) -> list[tuple[float, float]]:
    a, b = half_w * (1 - 2 * corner[0]), half_h * (1 - 2 * corner[1])
    around = ((-a, -half_h), (a, -half_h), (half_w, -b), (half_w, b), (a, half_h), (-a, half_h), (-half_w, b),
              (-half_w, -b))  # fmt: skip
    return [(centre[0] + dx, centre[1] + dy) for dx, dy in around]


def _fill(opacity: NDArray[np.uint8], points: list[tuple[float, float]]) -> None:
    fixed = np.round(np.array(points) * 16).astype(np.int32)
    cv2.fillPoly(opacity, [fixed], 255, lineType=cv2.LINE_AA, shift=4)


def _fill_disc(opacity: NDArray[np.uint8], centre: tuple[float, float], radius: float) -> None:
    at = (round(centre[0] * 16), round(centre[1] * 16))
    cv2.circle(opacity, at, round(radius * 16), 255, -1, lineType=cv2.LINE_AA, shift=4)


def _rim(
    opacity: NDArray[np.uint8], box: Box
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    x, y, w, h = box
    rows, columns = np.nonzero((opacity > 0) & (opacity < 255))
    within = (rows >= y) & (rows < y + h) & (columns >= x) & (columns < x + w)
    rows, columns = rows[within], columns[within]
    return rows, columns, (opacity[rows, columns, None] / np.float32(255)).astype(np.float32)


def _pixel_box(box: Fractions | None, width: int, height: int) -> Box | None:
    if box is None:
        return None
    x, y, w, h = box
    return round(x * width), round(y * height), round(w * width), round(h * height)


def _guide_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Green as measured on 97 real position boxes: OpenCV hue 72-87, median 84; the rest wide."""
    hue = np.clip(rng.normal(83, 2.5), 73, 87)
    hsv = np.array([[[hue, rng.uniform(170, 245), rng.uniform(115, 195)]]], np.uint8)
    red, green, blue = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    return int(red), int(green), int(blue)


def _guide_patch(box: Box, colour: tuple[int, int, int]) -> Pixels:
    _, _, w, h = box
    patch = np.empty((h, w, 3), np.uint8)
    patch[:] = colour
    dark = tuple(int(c * 0.35) for c in colour)
    # The little patient symbol: head and body, at the lower left as on real displays.
    cv2.circle(patch, (int(w * 0.10), int(h * 0.80)), max(1, h // 40), (225, 235, 230), -1, cv2.LINE_AA)
    cv2.line(
        patch, (int(w * 0.07), int(h * 0.90)), (int(w * 0.14), int(h * 0.84)), (225, 235, 230), 1, cv2.LINE_AA
    )
    cv2.circle(patch, (int(w * 0.50), int(h * 0.08)), max(1, h // 36), dark, 1, cv2.LINE_AA)
    return patch


def _draw_guide_curve(pixels: Pixels, box: Box, inserted: float) -> None:
    x, y, w, h = box
    count = max(2, math.ceil(len(_SCOPE_CURVE) * min(max(inserted, 0.0), 1.0)))
    fixed = np.round((_SCOPE_CURVE[:count] * (w, h) + (x, y)) * 16).astype(np.int32)
    cv2.polylines(pixels, [fixed], False, (35, 52, 48), max(1, h // 90), cv2.LINE_AA, shift=4)


def _draw_icons(layer: Pixels, field_box: Box) -> None:
    """A headphone-like symbol at the lower right of the field, as processors show their remote switch."""
    x, y, w, h = field_box
    size = max(4, layer.shape[0] // 70)
    at = (min(x + w + size, layer.shape[1] - size - 2), y + int(h * 0.80))
    cv2.ellipse(layer, at, (size, size), 0, 180, 360, (170, 170, 170), 1, cv2.LINE_AA)
    for side in (-1, 1):
        cv2.line(layer, (at[0] + side * size, at[1]), (at[0] + side * size, at[1] + size), (170, 170, 170), 1)


def _write_text(layer: Pixels, layout: Layout) -> tuple[int, int] | None:
    """Writes the patient lines and returns where the clock goes, below them."""
    if layout.text is None:
        return None
    height, width = layer.shape[:2]
    x, y, step = int(layout.text[0] * width), int(layout.text[1] * height), max(10, height // 26)
    for line in _TEXT:
        _write(layer, line, (x, y), _text_scale(height), 225)
        y += step
    return x, y + step


def _text_scale(height: int) -> float:
    return max(0.3, height / 1700)


def _write(pixels: Pixels, text: str, at: tuple[int, int], scale: float, grey: int) -> None:
    cv2.putText(pixels, text, at, _FONT, scale, (grey, grey, grey), 1, cv2.LINE_AA)


def _clock(time_s: float) -> str:
    seconds = _CLOCK_START_S + int(time_s)
    return f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
