"""Stills: numbered or named pictures that together are a recording."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from scopeline.errors import SourceError
from scopeline.picture import Stamped, picture_from_file

_NUMBER = re.compile(r"%0?(\d*)d")


def is_pattern(place: str) -> bool:
    """Whether it stands for many files: `img_%04d.jpg` or `frames/*.png`. An existing file never does."""
    if "://" in place or os.path.exists(place):
        return False
    return bool(_NUMBER.search(place)) or glob.has_magic(place)


def find_stills(pattern: str) -> list[Path]:
    """The files that a pattern means, in order of their numbers (`img_9` before `img_10`). Gaps are allowed:
    FFmpeg's own reader of numbered files takes the first gap for the end and sorts globs by character."""
    number = _NUMBER.search(pattern)
    if number is None:
        return sorted((Path(path) for path in glob.glob(pattern) if os.path.isfile(path)), key=_natural)
    before, after = pattern[: number.start()], pattern[number.end() :]
    digits = rf"\d{{{number.group(1)},}}" if number.group(1) else r"\d+"
    wanted = re.compile(re.escape(before) + digits + re.escape(after))
    found = glob.glob(glob.escape(before) + "*" + glob.escape(after))
    return sorted((Path(path) for path in found if wanted.fullmatch(path)), key=_natural)


class StillReader:
    """Image files one after the other, each of any size and format.

    Args:
        pattern: `img_%04d.jpg` or `frames/*.png`.
        fps: Pictures per second of stream time.
        damaged: Where damage is counted.

    Raises:
        SourceError: no file matches.
    """

    codec, field_order, has_audio = "stills", 0, False

    def __init__(self, pattern: str, fps: float, damaged: Counter[str]) -> None:
        self._paths, self._damaged = find_stills(pattern), damaged
        if not self._paths:
            raise SourceError(
                f"{pattern}: wanted image files of this pattern, found none; check folder and ending"
            )
        self.is_closed = False
        self.fps: float | None = fps
        self.nominal_s = 1 / fps
        self.frame_count: int | None = len(self._paths)
        self.duration_s: float | None = len(self._paths) / fps

    def pictures(self) -> Iterator[Stamped]:
        """Pictures that came out whole. A damaged one keeps its place in time."""
        for number, path in enumerate(self._paths):
            if self.is_closed:
                return
            try:
                picture = picture_from_file(path)
            except SourceError:
                self._damaged["damaged packet"] += 1
                continue
            if picture.is_corrupt:
                self._damaged["corrupt picture"] += 1
            else:
                yield picture, number * self.nominal_s

    def close(self) -> None:
        """Make `pictures` return after the file in hand; no file stays open between two."""
        self.is_closed = True


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]
