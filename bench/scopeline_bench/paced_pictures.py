"""Paced pictures: a card's feed without a card: 1080p pictures that are ready, each handed over and stamped when its
time has come. What is measured behind it is the engine and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import numpy as np

from scopeline.frame import Frame
from scopeline.picture import Picture, picture_as_from_card
from scopeline.simulation.procedure import simulate_procedure
from scopeline.simulation.renderer import Renderer
from scopeline.sources.pace import Pace


def drawn_pictures(count: int, *, width: int = 1920, height: int = 1080) -> list[Picture]:
    """Pictures of a simulated procedure in the format of a card (yuv420p)."""
    procedure = simulate_procedure(seed=0, duration_s=60, fps=25, width=width, height=height)
    renderer, pixels = Renderer(procedure), np.empty((height, width, 3), np.uint8)
    return [picture_as_from_card(renderer.render(250 + place, pixels)) for place in range(count)]


class PacedPictures:
    """The same pictures to and fro, at a rate, for a time.

    Args:
        pictures: Two or more.
        fps: Frames per second.
        seconds: Length of the feed.
    """

    def __init__(self, pictures: list[Picture], *, fps: float, seconds: float) -> None:
        self.name = "paced pictures"
        self.duration_s: float | None = seconds
        self._pictures = [*pictures, *pictures[-2:0:-1]]
        self._fps, self._count = fps, round(fps * seconds)
        self._pace, self._closed = Pace(), threading.Event()

    @property
    def damaged(self) -> Mapping[str, int]:
        """Always empty."""
        return {}

    def frames(self) -> Iterator[Frame]:
        """Frames, each at its time."""
        start_ns = self._pace.now_ns()
        for seq in range(self._count):
            if self._closed.is_set() or not self._pace.wait_until(start_ns + round(seq / self._fps * 1e9)):
                return
            picture = self._pictures[seq % len(self._pictures)]
            yield Frame(seq, self._pace.now_ns(), seq / self._fps, picture)

    def close(self) -> None:
        """Make `frames` return."""
        self._closed.set()
        self._pace.stop()
