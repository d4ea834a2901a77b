"""Renderer: the pictures of a simulated procedure, any frame in any order, always the same.

Everything that stands still is painted beforehand (walls, rooms, the screen, noise); a frame is one lookup in
the wall, light, a disturbance perhaps, noise, the screen and the bar code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from scopeline.picture import Pixels
from scopeline.simulation.barcode import burn
from scopeline.simulation.disturbance import Spoiler
from scopeline.simulation.procedure import ORGANS, Procedure, TrueSegment
from scopeline.simulation.screen import Screen, screen_named
from scopeline.simulation.view import Pose, Room, Tunnel, random_look

_VIEW_LINES_MAX = 544  # views are enlarged to the field beyond this: a lens is not sharper, and time is
_CROSSING_S = 0.4  # from one stretch into the next
_NOISE_LEVEL = 2.2
_NOISE_TILES = 8


class Renderer:
    """Draws the frames of a procedure.

    Args:
        procedure: What happens when.
        screen: The processor's screen; the procedure's own if None.
    """

    def __init__(self, procedure: Procedure, screen: Screen | None = None) -> None:
        self.procedure = procedure
        self.screen = screen or screen_named(procedure.screen, procedure.width, procedure.height)
        _, _, field_w, field_h = self.screen.field_box
        self._height = min(field_h, _VIEW_LINES_MAX)
        self._width = round(field_w * self._height / field_h)
        self._look = random_look(np.random.default_rng((procedure.seed, 1)))
        self._motion = Motion(procedure)
        self._spoiler = Spoiler(procedure.seed, self._width, self._height)
        self._views: dict[tuple[str, int | None], Tunnel | Room] = {}
        self._noise = _sensor_noise(procedure.seed, self._width, self._height)

    def paint_ahead(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Paints all walls now, about 1 s and 25 MB each; otherwise each is painted when it is first seen.

        For a live feed, which must not stand still meanwhile. Ends when `is_wanted` says no.
        """
        for segment in self.procedure.segments:
            if not is_wanted():
                return
            self._view(segment, segment.start_s)

    def render(self, index: int, out: Pixels | None = None) -> Pixels:
        """Frame `index`, (height, width, 3) uint8 RGB, written into `out` if that is given.

        Raises:
            IndexError: there is no such frame.
        """
        truth = self.procedure.truth_at(index)
        field = self.render_field(index)
        pixels = self.screen.compose(
            field, truth.time_s, inserted=self._motion.inserted(truth.time_s), out=out
        )
        if truth.disturbance == "black":
            pixels[:] = 0
        burn(pixels, index)
        return pixels

    def render_field(self, index: int) -> Pixels:
        """The field's content alone, at the size it is rendered, (h, w, 3) uint8 RGB."""
        disturbance = self.procedure.disturbance_at(index / self.procedure.fps)
        if disturbance is not None and disturbance.kind == "freeze":
            # The processor holds the last picture before: the very same pixels, while its clock runs on.
            index = max(math.ceil(disturbance.start_s * self.procedure.fps) - 1, 0)
            disturbance = None
        time_s = index / self.procedure.fps
        pixels = self._crossing(time_s)
        if disturbance is not None:
            pixels = self._spoiler.spoil(pixels, disturbance, time_s)
        return self._with_noise(pixels, index)

    def frames(self) -> Iterator[Pixels]:
        """Every frame in order, freshly made."""
        return (self.render(index) for index in range(self.procedure.frame_count))

    def _crossing(self, time_s: float) -> Pixels:
        """The view; near a border between two stretches, one fading into the other."""
        before = self.procedure.segment_at(max(time_s - _CROSSING_S / 2, 0))
        after = self.procedure.segment_at(time_s + _CROSSING_S / 2)
        pixels = self._view(before, time_s)
        if after == before:
            return pixels
        share = (time_s - after.start_s) / _CROSSING_S + 0.5
        return np.asarray(cv2.addWeighted(pixels, 1 - share, self._view(after, time_s), share, 0), np.uint8)

    def _view(self, segment: TrueSegment, time_s: float) -> Pixels:
        key = segment.organ, segment.mes
        if key not in self._views:
            self._views[key] = self._painted(segment)
        return self._views[key].view(self._motion.pose(segment.organ, time_s))

    def _painted(self, segment: TrueSegment) -> Tunnel | Room:
        seed = self.procedure.seed * 101 + ORGANS.index(segment.organ)
        if segment.mes is None:
            return Room(seed, self._look, self._width, self._height)
        return Tunnel(segment.organ, segment.mes, seed, self._look, self._width, self._height)

    def _with_noise(self, pixels: Pixels, index: int) -> Pixels:
        tile = self._noise[index * 5 % _NOISE_TILES]
        return np.asarray(cv2.add(pixels, tile, dst=pixels), np.uint8)


class Motion:
    """How the scope moves: smooth functions of a clock that stops while the scope is held still.

    A hand is never quite still: a tremor of a third of a pixel goes on.
    """

    def __init__(self, procedure: Procedure) -> None:
        self._procedure = procedure
        rng = np.random.default_rng((procedure.seed, 2))
        self._phases = tuple(float(phase) for phase in rng.uniform(0, 2 * math.pi, 8))
        self._speed = float(rng.uniform(0.22, 0.38))
        times_s = np.arange(0, procedure.duration_s + 1, 0.02)
        moving = np.ones_like(times_s)
        for start_s, end_s in procedure.static_stretches:
            # Slows down within half a second before, and starts again after.
            moving *= np.clip(np.maximum(start_s - times_s, times_s - end_s) / 0.5, 0, 1)
        self._times_s, self._clock = times_s, np.concatenate([[0.0], np.cumsum(moving[:-1]) * 0.02])

    def pose(self, organ: str, time_s: float) -> Pose:
        """Where the scope is at a moment of the stream."""
        p = self._phases
        t = float(np.interp(time_s, self._times_s, self._clock))
        wide = 0.62 if organ == "sigmoid" else 0.30
        around = 0.35 * t + p[0] if organ == "sigmoid" else 2 * math.pi * t / 9.1 + p[0]
        tremor = 0.0012 * math.sin(time_s * 2 * math.pi * 1.7)
        x = wide * math.cos(around) + 0.13 * math.sin(2 * math.pi * t / 3.7 + p[1]) + tremor
        y = (
            0.7 * wide * math.sin(around)
            + 0.10 * math.sin(2 * math.pi * t / 4.9 + p[2])
            + self._shake(time_s)
        )
        return Pose(
            travel=self._speed * t + 0.35 * math.sin(2 * math.pi * t / 7.3 + p[3]),
            roll=0.6 + 0.5 * math.sin(2 * math.pi * t / 13.0 + p[4]),
            lumen=(x, y),
            zoom=1 + 0.10 * math.sin(2 * math.pi * t / 5.6 + p[5]),
        )

    def inserted(self, time_s: float) -> float:
        """Share of the colon that the scope has still to leave, 1 at the start."""
        return max(0.06, 1 - time_s / self._procedure.duration_s)

    def _shake(self, time_s: float) -> float:
        disturbance = self._procedure.disturbance_at(time_s)
        if disturbance is None or disturbance.kind != "blur":
            return 0.0
        since_s = time_s - disturbance.start_s
        left_s = disturbance.end_s - time_s
        return 0.15 * math.sin(2 * math.pi * 2.3 * since_s) * min(1.0, 4 * since_s, 4 * left_s)


def _sensor_noise(seed: int, width: int, height: int) -> list[Pixels]:
    """A few pictures of noise to add, clipped at 0: a dark pixel only ever gets brighter."""
    rng = np.random.default_rng((seed, 3))
    large = rng.normal(_NOISE_LEVEL, _NOISE_LEVEL, (height + 64, width + 64, 3))
    pool = np.clip(large, 0, 255).astype(np.uint8)
    tiles = []
    for _ in range(_NOISE_TILES):
        top, left = rng.integers(0, 64, 2)
        tiles.append(np.ascontiguousarray(pool[top : top + height, left : left + width]))
    return tiles
