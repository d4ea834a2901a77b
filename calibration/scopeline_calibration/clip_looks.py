"""ClipLooks: what a clip's pictures come to, in one pass: where light ever was, and what never changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.errors import SourceError
from scopeline.overlay import Box, Grey, find_scope_guide
from scopeline.picture import Picture, Pixels, Resizer
from scopeline.sources.media import MediaSource

LINES = 480
"""Height at which a field is fitted: boxes of eighteen clips came within 2 pixels of hand-drawn ones at 360, 480 and
720 lines alike, at 240 (which the engine uses) within 6."""
TEXT_LINES = 720
"""Height at which text is sought: its strokes are gone in smaller pictures."""
FEWEST = 10
"""Pictures without which nothing can be said of what stays."""

_CHUNK = 6
_MOST_CHUNKS = 96
_USUAL = 0.9
"""Light must have been in a place in a tenth of the clip: a test card or a flash leaves no trace."""
_DRAWN = 60
"""Grey level from which something dark may be a letter."""

Numbers = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClipLooks:
    """One clip, summed up."""

    name: str
    signal: tuple[int, int]
    """Width and height."""
    pictures: int
    whole: Grey
    """(h, w) at most `LINES` high: how bright each place was, flashes and rare pictures left out."""
    thirds: tuple[Grey, ...]
    """The same for the clip's beginning, middle and end."""
    guides: tuple[Box | None, ...]
    """The position display of every picture looked at, in pixels of `whole`."""
    mean: Numbers
    """(H, W) at most `TEXT_LINES` high: mean of the brightest channel."""
    spread: Numbers
    """(H, W) standard deviation over time."""
    drawn: Numbers
    """(H, W) share of the pictures, 0..1, in which the place was bright."""
    example: Pixels
    """(H, W, 3) a picture from the middle of the clip, to draw on."""

    @property
    def overview(self) -> tuple[int, int]:
        """Width and height of `whole`."""
        return self.whole.shape[1], self.whole.shape[0]


def look_at_clip(path: Path, *, longest_s: float, done: Callable[[float], object]) -> ClipLooks:
    """Watch a clip.

    Args:
        path: A recording.
        longest_s: Seconds of stream time after which enough was seen.
        done: Called with the stream time after every picture.

    Raises:
        SourceError: the clip cannot be opened, has too few pictures, or its size changes.
    """
    source = MediaSource(path, threads=1)
    try:
        watch: _Watch | None = None
        for frame in source.frames():
            if frame.time_s > longest_s:
                break
            watch = watch or _Watch(path, frame.picture)
            watch.take(frame.picture)
            done(frame.time_s)
    finally:
        source.close()
    if watch is None or watch.count < FEWEST:
        seen = 0 if watch is None else watch.count
        raise SourceError(
            f"{path}: wanted at least {FEWEST} pictures to fit a scope profile, the clip has {seen}"
        )
    return watch.looks()


class _Watch:
    """The sums that grow while a clip is watched; memory does not."""

    def __init__(self, path: Path, first: Picture) -> None:
        self._path, self._signal = path, (first.width, first.height)
        small, large = _within(first, LINES), _within(first, TEXT_LINES)
        self._small, self._large = Resizer(*small), Resizer(*large)
        self._previous: Grey | None = None
        self._chunks: list[Grey] = []
        self._chunk: list[Grey] = []
        self._per_chunk = _CHUNK
        self._guides: list[Box | None] = []
        shape = large[::-1]
        self._sum, self._squares = np.zeros(shape, np.float64), np.zeros(shape, np.float64)
        self._bright = np.zeros(shape, np.int64)
        self._example: Pixels | None = None
        self.count = 0

    def take(self, picture: Picture) -> None:
        if (picture.width, picture.height) != self._signal:
            raise SourceError(
                f"{self._path}: wanted one signal, its size changes from {self._signal[0]}x{self._signal[1]} to "
                f"{picture.width}x{picture.height} at picture {self.count}; cut the clip there"
            )
        small, large = self._small(picture), self._large(picture)
        bright = _brightest(small)
        self._guides.append(find_scope_guide(small))
        # A flash is in one picture only, what two in a row show was there.
        steady = bright if self._previous is None else np.asarray(cv2.min(bright, self._previous), np.uint8)
        self._previous = bright
        if self.count:
            self._keep(steady)
        level = _brightest(large)
        self._sum += level
        self._squares += np.square(level, dtype=np.float64)
        self._bright += level >= _DRAWN
        # Of the 1st, 2nd, 4th, 8th ... picture the last is from the second half of the clip.
        if self.count & (self.count - 1) == 0:
            self._example = large
        self.count += 1

    def looks(self) -> ClipLooks:
        if self._chunk:
            self._chunks.append(_most(self._chunk))
        mean = self._sum / self.count
        spread = np.sqrt(np.maximum(self._squares / self.count - mean**2, 0))
        assert self._example is not None
        return ClipLooks(
            name=self._path.stem,
            signal=self._signal,
            pictures=self.count,
            whole=_usual(self._chunks),
            thirds=tuple(_usual(part) for part in _in_three(self._chunks)),
            guides=tuple(self._guides),
            mean=mean.astype(np.float32),
            spread=spread.astype(np.float32),
            drawn=(self._bright / self.count).astype(np.float32),
            example=self._example,
        )

    def _keep(self, steady: Grey) -> None:
        self._chunk.append(steady)
        if len(self._chunk) < self._per_chunk:
            return
        self._chunks.append(_most(self._chunk))
        self._chunk = []
        if len(self._chunks) == _MOST_CHUNKS:
            self._chunks = [_most(self._chunks[at : at + 2]) for at in range(0, _MOST_CHUNKS, 2)]
            self._per_chunk *= 2


def _within(picture: Picture, lines: int) -> tuple[int, int]:
    """Width and height of a picture made no higher than that many lines."""
    if picture.height <= lines:
        return picture.width, picture.height
    return max(1, round(picture.width * lines / picture.height)), lines


def _brightest(pixels: Pixels) -> Grey:
    red, green, blue = cv2.split(pixels)
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


def _most(pictures: Sequence[Grey]) -> Grey:
    most: Grey = np.stack(pictures).max(axis=0)
    return most


def _usual(chunks: Sequence[Grey]) -> Grey:
    ordered = np.sort(np.stack(chunks), axis=0)
    usual: Grey = ordered[int(_USUAL * (len(chunks) - 1))]
    return usual


def _in_three(chunks: Sequence[Grey]) -> list[Sequence[Grey]]:
    """Beginning, middle and end; fewer parts of a clip that is too short for three."""
    parts = min(3, len(chunks))
    edges = [round(part * len(chunks) / parts) for part in range(parts + 1)]
    return [chunks[start:stop] for start, stop in pairwise(edges)]
