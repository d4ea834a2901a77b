"""The field suite: how well the field of view and the position display are found, measured against the truth.

D1 draws screens of every shape over moving mucosa and feeds the tracker as an engine would; D2 looks for the position
display in real frames whose boxes were drawn by hand. The screens are invented, so D1 says that the geometry is right
and not that every real processor is known.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from scopeline.errors import ConfigError
from scopeline.field_tracker import FieldTracker
from scopeline.overlay import OverlayKind, box_iou, find_overlays
from scopeline.picture import Pixels, picture_from_file, picture_from_rgb, rgb_pixels
from scopeline.simulation.mucosa import paint_wall
from scopeline.simulation.screen import SHAPES, Screen, random_screen

WIDTH, HEIGHT = 720, 576
MUST_IOU, TRY_IOU, MUST_LOCK_S = 0.95, 0.98, 3.0
MUST_GUIDE_IOU = 0.90
STEPS = 2 * len(SHAPES)
"""Of a whole run: every shape measured, every shape left alone."""
_FEED_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class ShapeFigures:
    """D1 for one shape. IoU is of the content's bounding box, after three seconds of pictures."""

    shape: str
    fields: int
    iou_p5: float
    iou_median: float
    iou_least: float
    first_iou_p5: float
    """The same at the very first lock."""
    lock_s_most: float
    """Stream time until the first lock, infinite when there was none."""


@dataclass(frozen=True, slots=True)
class StaticFigures:
    """What happened in minutes of one unchanging screen with moving mucosa, flashes and black pictures."""

    shape: str
    minutes: float
    changes_settling: int
    """New geometries within the first three seconds after the first lock."""
    changes_later: int


@dataclass(frozen=True, slots=True)
class GuideFigures:
    """D2: the position display in real frames."""

    boxed: int
    unboxed: int
    missed: int
    false_boxes: int
    iou_least: float
    iou_median: float


@dataclass(frozen=True, slots=True)
class FieldFigures:
    """All acceptance figures of the field of view."""

    shapes: tuple[ShapeFigures, ...]
    static: tuple[StaticFigures, ...]
    guide: GuideFigures | None
    """None without the real frames."""

    @property
    def passed(self) -> bool:
        """Whether every required figure is reached."""
        guide = self.guide
        return (
            all(f.iou_p5 >= MUST_IOU and f.lock_s_most <= MUST_LOCK_S for f in self.shapes)
            and all(f.changes_later == 0 for f in self.static)
            and (
                guide is None or (guide.missed + guide.false_boxes == 0 and guide.iou_least >= MUST_GUIDE_IOU)
            )
        )


class Content:
    """Moving mucosa: a texture that drifts, a dark lumen that wanders over it, a shadow that sweeps the rim."""

    def __init__(self, texture: Pixels, rng: np.random.Generator, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._texture = np.asarray(cv2.resize(texture, (width * 5 // 4, height * 5 // 4)), np.uint8)
        self._shade = _shade(width, height, float(rng.uniform(0.10, 0.30)))
        self._phase = rng.uniform(0, 2 * np.pi, 4)
        self._speed = rng.uniform(0.15, 0.9, 2)

    def at(self, time_s: float) -> Pixels:
        """The content at a moment, (height, width, 3) uint8 RGB."""
        drift = 0.5 + 0.5 * np.sin(0.4 * time_s + self._phase[:2])
        left, top = int(drift[0] * self._width / 4), int(drift[1] * self._height / 4)
        # The lumen's centre goes as far as the rim, where it bites into the field.
        where = 0.5 + 0.48 * np.sin(self._speed * time_s + self._phase[2:])
        x, y = int(where[0] * self._width), int(where[1] * self._height)
        shade = self._shade[self._height - y : 2 * self._height - y, self._width - x : 2 * self._width - x]
        texture = self._texture[top : top + self._height, left : left + self._width]
        return np.asarray(cv2.multiply(texture, shade, scale=1 / 255), np.uint8)


def _shade(width: int, height: int, radius: float) -> Pixels:
    """Twice the content's size: black in the middle, fully lit from `radius` (of the width and height) on."""
    columns = (np.arange(2 * width) - width) / width
    rows = (np.arange(2 * height) - height) / height
    distance = np.hypot(columns[None, :], rows[:, None])
    lit = (255 * np.clip((distance / radius) ** 1.5, 0.02, 1)).astype(np.uint8)
    return np.repeat(lit[..., None], 3, axis=2)


def textures_from(folder: Path | None, count: int = 60) -> list[Pixels]:
    """Real mucosa from `<folder>/images/mes/1..3`, borders and overlays cut off; painted walls without a folder."""
    if folder is None:
        grades = [(organ, grade) for organ in ("rectum", "transverse") for grade in range(4)]
        return [paint_wall(organ, grade, 7, size_px=256).colour for organ, grade in grades]
    paths = [
        p for grade in "123" for p in sorted((folder / "images" / "mes" / grade).glob("*"))[: count // 3]
    ]
    if not paths:
        raise ConfigError(
            f"{folder}: wanted the data folder, with images/mes/1, 2 and 3 in it; found no pictures there"
        )
    return [np.ascontiguousarray(rgb_pixels(picture_from_file(path))[20:165, 60:205]) for path in paths]


def frames_of(
    screen: Screen, content: Content, rng: np.random.Generator, times_s: Sequence[float]
) -> Iterator[Pixels]:
    """The screen's frames at those times, with sensor noise."""
    noise = rng.normal(0, 2, (4, screen.height, screen.width, 1)).astype(np.int8)
    for index, time_s in enumerate(times_s):
        pixels = screen.compose(content.at(time_s), time_s)
        moved: NDArray[np.int16] = pixels.astype(np.int16)
        moved += noise[index % len(noise)]
        yield np.clip(moved, 0, 255).astype(np.uint8)


def measure_shape(shape: str, textures: Sequence[Pixels], *, fields: int, seed: int) -> ShapeFigures:
    """D1 for one shape: random screens, half with a position display, most with text, three seconds of each."""
    last, first, locks = [], [], []
    times_s = np.arange(0, MUST_LOCK_S + _FEED_EVERY_S / 2, _FEED_EVERY_S).tolist()
    for index in range(fields):
        rng = np.random.default_rng((seed, SHAPES.index(shape), index))
        screen = random_screen(rng, shape, WIDTH, HEIGHT, guide=index % 2 == 0, text=bool(rng.random() < 0.6))
        content = Content(textures[int(rng.integers(len(textures)))], rng, *screen.field_box[2:])
        tracker, locked_s, first_iou = FieldTracker(), float("inf"), 0.0
        for time_s, pixels in zip(times_s, frames_of(screen, content, rng, times_s), strict=True):
            event = tracker.observe(picture_from_rgb(pixels), time_s)
            if event is not None and event.field is not None and event.kind == "locked":
                locked_s, first_iou = time_s, box_iou(event.field.box, screen.field_box)
        field = tracker.field
        last.append(0.0 if field is None else box_iou(field.box, screen.field_box))
        first.append(first_iou)
        locks.append(locked_s)
    return ShapeFigures(
        shape=shape,
        fields=fields,
        iou_p5=float(np.quantile(last, 0.05)),
        iou_median=float(np.median(last)),
        iou_least=min(last),
        first_iou_p5=float(np.quantile(first, 0.05)),
        lock_s_most=max(locks),
    )


def measure_static(shape: str, textures: Sequence[Pixels], *, minutes: float, seed: int) -> StaticFigures:
    """Minutes of one screen. Once in 40 s the picture is white for one frame, black for three seconds or a test
    card for two."""
    rng = np.random.default_rng((seed, SHAPES.index(shape), 99))
    screen = random_screen(rng, shape, WIDTH, HEIGHT, guide=False, text=True)
    content = Content(textures[int(rng.integers(len(textures)))], rng, *screen.field_box[2:])
    quick = np.arange(0, 4, 0.1)
    times_s = np.concatenate([quick, np.arange(4, minutes * 60, 0.5)]).tolist()
    tracker, first_s, settling, later = FieldTracker(), float("inf"), 0, 0
    for time_s, pixels in zip(times_s, frames_of(screen, content, rng, times_s), strict=True):
        event = tracker.observe(picture_from_rgb(_disturbed(pixels, time_s)), time_s)
        if event is None:
            continue
        if event.kind == "locked" and first_s == float("inf"):
            first_s = time_s
        elif time_s <= first_s + MUST_LOCK_S:
            settling += 1
        else:
            later += 1
    return StaticFigures(shape, minutes, settling, later)


def _disturbed(pixels: Pixels, time_s: float) -> Pixels:
    turn, within_s = divmod(time_s, 40.0)
    if turn == 0:
        return pixels
    kind = int(turn) % 3
    if kind == 0 and within_s < 0.5:
        return np.full_like(pixels, 255)
    if kind == 1 and within_s < 3:
        return np.zeros_like(pixels)
    if kind == 2 and within_s < 2:
        bars = np.repeat(np.array([235, 200, 160, 120, 90, 60, 40, 235], np.uint8), pixels.shape[1] // 8)
        return np.broadcast_to(bars[None, :, None], pixels.shape).copy()
    return pixels


def measure_guide(data: Path, boxes: Path) -> GuideFigures:
    """D2 on the real frames that the box list names.

    Args:
        data: Folder that holds `images/`.
        boxes: CSV of path, x, y, width, height in pixels; empty numbers for a frame without a box.
    """
    ious, missed, false_boxes, unboxed = [], 0, 0, 0
    with boxes.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        pixels = rgb_pixels(picture_from_file(data / "images" / row["path"]))
        found = next((o.box for o in find_overlays(pixels) if o.kind is OverlayKind.SCOPE_GUIDE), None)
        if not row["x"]:
            unboxed += 1
            false_boxes += found is not None
            continue
        truth = (int(row["x"]), int(row["y"]), int(row["width"]), int(row["height"]))
        missed += found is None
        ious.append(0.0 if found is None else box_iou(found, truth))
    return GuideFigures(len(ious), unboxed, missed, false_boxes, min(ious), float(np.median(ious)))


def run(
    *,
    data: Path | None = None,
    boxes: Path | None = None,
    fields: int = 60,
    minutes: float = 10,
    seed: int = 2024,
    done: Callable[[], object] = lambda: None,
) -> FieldFigures:
    """Measure everything.

    Args:
        data: Folder with the real images; painted mucosa and no D2 without it.
        boxes: The hand-drawn boxes; no D2 without them.
        fields: Random screens per shape.
        minutes: Length of the unchanging screens.
        seed: Of screens and content.
        done: Called after each of the `STEPS`.
    """
    textures = textures_from(data)

    def shape_figures(shape: str) -> ShapeFigures:
        figures = measure_shape(shape, textures, fields=fields, seed=seed)
        done()
        return figures

    def static_figures(shape: str) -> StaticFigures:
        figures = measure_static(shape, textures, minutes=minutes, seed=seed)
        done()
        return figures

    return FieldFigures(
        shapes=tuple(shape_figures(shape) for shape in SHAPES),
        static=tuple(static_figures(shape) for shape in SHAPES),
        guide=measure_guide(data, boxes) if data is not None and boxes is not None else None,
    )


def report(figures: FieldFigures) -> str:
    """The figures as a table for a terminal, each beside its bar."""
    lines = [f"field of view, IoU of the bounding box (must {MUST_IOU} at p5, try {TRY_IOU})"]
    for f in figures.shapes:
        lines.append(
            f"  {f.shape:<15} n {f.fields:3d}  p5 {f.iou_p5:.4f}  median {f.iou_median:.4f}  least {f.iou_least:.4f}"
            f"  at first lock p5 {f.first_iou_p5:.4f}  locked within {f.lock_s_most:.1f} s"
        )
    for s in figures.static:
        lines.append(
            f"  {s.shape:<15} {s.minutes:g} min unchanging: {s.changes_later} changes"
            f" ({s.changes_settling} while settling)"
        )
    if figures.guide is not None:
        g = figures.guide
        lines.append(
            f"position display, {g.boxed} real frames with and {g.unboxed} without: {g.missed} missed, "
            f"{g.false_boxes} false, IoU least {g.iou_least:.3f} median {g.iou_median:.3f} (must {MUST_GUIDE_IOU})"
        )
    lines.append("passed" if figures.passed else "NOT passed")
    return "\n".join(lines)


def main(
    data: Path | None = None, boxes: Path | None = None, *, fields: int = 60, minutes: float = 10
) -> bool:
    """Measure, print, and say whether every required figure is reached."""
    with Progress(transient=True) as progress:
        task = progress.add_task("measuring the field of view", total=STEPS)
        figures = run(
            data=data, boxes=boxes, fields=fields, minutes=minutes, done=lambda: progress.advance(task)
        )
    print(report(figures))
    return figures.passed
