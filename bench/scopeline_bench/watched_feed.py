"""Watched feed: one sender and one engine that watches it, from its first result on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scopeline.errors import SourceError
from scopeline_bench.engine_process import EngineProcess
from scopeline_bench.journeys import Journeys, journeys
from scopeline_bench.painter import Plant
from scopeline_bench.sender import Sender, transmission_of
from scopeline_bench.transmission import FeedKind, what_is_missing

PATIENCE_S = 30.0
"""For a first result: programs start, networks are loaded, a stream is found out."""


@dataclass(frozen=True, slots=True)
class PictureSize:
    """Size and rate of what is sent."""

    width_px: int = 1920
    height_px: int = 1080
    fps: int = 30

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px} at {self.fps} pictures/s"


@dataclass(frozen=True, slots=True)
class WatchedFeed:
    """Both ends of a feed."""

    sender: Sender
    engine: EngineProcess
    began_ns: int
    """When the first result was received."""

    def journeys(self) -> Journeys:
        """All pictures so far whose results were received."""
        return journeys(self.sender.made(), self.engine.captured(), self.engine.heard)


@contextmanager
def watched_feed(
    kind: FeedKind,
    size: PictureSize,
    pipeline: str,
    plants: Mapping[int, Plant] | None = None,
    *,
    weighs: bool = True,
) -> Iterator[WatchedFeed]:
    """A feed that is sent and watched while the block goes on; every process is gone after it.

    Args:
        kind: How it is sent.
        size: Its pictures.
        pipeline: Pipeline file, or the name of one that ships.
        plants: What the sender does to which picture.
        weighs: Whether the engine's memory is read once a second.

    Raises:
        SourceError: this machine cannot send it, or no result came.
    """
    if why := what_is_missing(kind):
        raise SourceError(f"{kind} cannot be sent from here: {why}")
    with tempfile.TemporaryDirectory(prefix="scopeline-") as place:
        folder = Path(place)
        transmission = transmission_of(
            kind, folder, width_px=size.width_px, height_px=size.height_px, fps=size.fps
        )
        with (
            Sender(transmission, folder, plants) as sender,
            EngineProcess(transmission.feed, pipeline, folder, weighs=weighs) as engine,
        ):
            sender.start()
            began_ns = engine.first_frame_ns(PATIENCE_S)
            if began_ns is None:
                raise SourceError(_silence(kind, sender, engine))
            yield WatchedFeed(sender, engine, began_ns)


def _silence(kind: str, sender: Sender, engine: EngineProcess) -> str:
    told = "; ".join(dict.fromkeys(change.text for change in engine.changes[-4:]))
    gone = " (it ended)" if sender.has_ended else ""
    return (
        f"{kind}: no result within {PATIENCE_S:.0f} s; the engine said: {told or engine.last_words() or 'nothing'}; "
        f"the sender said{gone}: {sender.complaints() or 'nothing'}"
    )
