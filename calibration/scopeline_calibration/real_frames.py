"""Real frames: clips and stills of a data folder, as a bundle's network is shown them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Input
from scopeline.crop import View
from scopeline.errors import ConfigError
from scopeline.parity import Stretch
from scopeline.picture import Pixels, picture_from_file
from scopeline.seeing import see_clip, see_still
from scopeline.sources.media import MediaSource

CLIPS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".gif")
STILLS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
CLIP_FRAMES = 60
"""At most so many of one clip, from its start: many scopes say more than much of one."""
NO_PICTURES = ("masks", "mask")
"""Folders whose images are answers, not questions."""

Report = Callable[[int, int], object]
"""Called with (done, wanted)."""


@dataclass(frozen=True, slots=True)
class RealFrames:
    """Frames in a network's size, and which of them follow each other in time."""

    pixels: Pixels
    """(N, H, W, 3) uint8 RGB."""
    stretches: tuple[Stretch, ...]
    clips: int
    stills: int

    def stretches_of(self, is_left: NDArray[np.bool_]) -> tuple[Stretch, ...]:
        """The stretches among the frames that are left, (N,) bool, when the others are taken out."""
        place: NDArray[np.int64] = np.cumsum(is_left) - is_left
        found = []
        for stretch in self.stretches:
            own = is_left[stretch.first : stretch.first + len(stretch.times_s)]
            times_s = tuple(time_s for time_s, left in zip(stretch.times_s, own, strict=True) if left)
            if times_s:
                found.append(Stretch(int(place[stretch.first + int(own.argmax())]), times_s))
        return tuple(found)

    @property
    def told(self) -> str:
        """In words, for a report."""
        return f"{len(self.pixels)} real frames ({self.clips} clips, {self.stills} stills)"


def real_frames(
    data: Path,
    shown: Input,
    *,
    count: int,
    clips: Sequence[Path] = (),
    report: Report = lambda done, wanted: None,
) -> RealFrames:
    """Frames of every clip, then stills spread evenly over the folders until there are `count`.

    Args:
        data: A folder; clips and stills are found anywhere below it by their suffix.
        shown: Size and crop of the network's input.
        count: How many frames are wanted.
        clips: These clips instead of those below `data`.
        report: Told how far it is.

    Raises:
        ConfigError: there are fewer frames than wanted.
        SourceError: a clip or a still cannot be decoded.
    """
    parts: list[Pixels] = []
    stretches: list[Stretch] = []
    seen = 0
    for clip in clips or _below(data, CLIPS):
        pixels, times_s = _clip_frames(clip, shown, min(CLIP_FRAMES, count - seen))
        stretches.append(Stretch(seen, times_s))
        parts.append(pixels)
        seen += len(pixels)
        report(seen, count)
        if seen == count:
            break
    stills = _spread(_below(data, STILLS), count - seen)
    if seen + len(stills) < count:
        raise ConfigError(
            f"{data}: wanted {count} frames, found {seen} of clips and {len(stills)} stills; "
            "give a folder with more, or ask for fewer with --frames"
        )
    view = View(shown.crop, shown.width, shown.height)
    for path in stills:
        parts.append(see_still(picture_from_file(path), view)[None])
        seen += 1
        report(seen, count)
    return RealFrames(np.concatenate(parts), tuple(stretches), len(stretches), len(stills))


def _below(data: Path, suffixes: Sequence[str]) -> list[Path]:
    if not data.is_dir():
        raise ConfigError(f"{data}: wanted a folder with clips or images; name one with --data")
    found = (path for path in data.rglob("*") if path.suffix.lower() in suffixes)
    return sorted(path for path in found if not set(path.parts) & set(NO_PICTURES))


def _clip_frames(clip: Path, shown: Input, most: int) -> tuple[Pixels, tuple[float, ...]]:
    source = MediaSource(str(clip), threads=1)
    try:
        frames = []
        for frame in source.frames():
            frames.append(frame)
            if len(frames) == most:
                break
    finally:
        source.close()
    pixels = see_clip([frame.picture for frame in frames], View(shown.crop, shown.width, shown.height))
    return pixels, tuple(frame.time_s for frame in frames)


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    """`count` of the paths at even distances, or all."""
    if count <= 0 or not paths:
        return []
    places = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int))
    return [paths[place] for place in places]
