"""Synthetic feed: a simulated procedure as if it came from a capture card. Needs no data and no device."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import numpy as np

from scopeline.frame import Frame
from scopeline.picture import picture_as_from_card
from scopeline.simulation.procedure import Procedure
from scopeline.simulation.renderer import Renderer
from scopeline.sources.pace import Pace


class SyntheticSource:
    """Frames of a simulated procedure, rendered while they are asked for.

    A frame's stamp is taken when its picture is ready in the format of a card (yuv420p): rendering is the
    scope's work and not ours.

    Args:
        procedure: What happens when; even width and height.
        live: Deliver every frame when its time has come, as a card would; otherwise at once.
        pace: The clock, and the wait of a live feed.

    Raises:
        ValueError: width or height are odd.
    """

    def __init__(self, procedure: Procedure, *, live: bool = False, pace: Pace | None = None) -> None:
        if procedure.width % 2 or procedure.height % 2:
            raise ValueError(f"a synthetic feed wants an even size, got {procedure.width}x{procedure.height}")
        self.name = f"synthetic-{procedure.seed}"
        self.procedure = procedure
        self._live, self._pace = live, pace or Pace()
        self._closed = threading.Event()

    @property
    def damaged(self) -> Mapping[str, int]:
        """Always empty: nothing breaks on the way."""
        return {}

    @property
    def duration_s(self) -> float | None:
        return self.procedure.duration_s

    def frames(self) -> Iterator[Frame]:
        """Every frame of the procedure in order, until the end or `close`."""
        renderer = Renderer(self.procedure)
        if self._live:
            renderer.paint_ahead(lambda: not self._closed.is_set())
        pixels = np.empty((self.procedure.height, self.procedure.width, 3), np.uint8)
        start_ns = self._pace.now_ns()
        for index in range(self.procedure.frame_count):
            if self._closed.is_set():
                return
            picture = picture_as_from_card(renderer.render(index, pixels))
            time_s = index / self.procedure.fps
            if self._live and not self._pace.wait_until(start_ns + round(time_s * 1e9)):
                return
            yield Frame(index, self._pace.now_ns(), time_s, picture)

    def close(self) -> None:
        """Make `frames` return. From any thread, any number of times."""
        self._closed.set()
        self._pace.stop()
