"""Packet scan: every frame's stamp of a recording and where it can be cut, without decoding a picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from scopeline.errors import SourceError
from scopeline.sources.stream_reader import StreamReader


@dataclass(frozen=True, slots=True)
class Scan:
    """A recording's frames in the order of display."""

    stamps: list[int]
    """Of every frame, in units of the stream's time base; they grow."""
    seconds_per_unit: tuple[int, int]
    """The time base as numerator and denominator."""
    nominal_s: float
    """Duration of a frame where stamps do not tell."""
    keys: list[int]
    """Numbers of the frames at which decoding can begin: key frames such that what is decoded after them is also shown
    after them (a closed group of pictures)."""

    def stamp_s(self, frame: int) -> float:
        """Stamp in seconds, by the arithmetic of the decoder's own pictures."""
        numerator, denominator = self.seconds_per_unit
        return float(self.stamps[frame]) * numerator / denominator


def scan_packets(path: Path) -> Scan:
    """Read a recording's packets once.

    Raises:
        SourceError: it cannot be opened, is damaged, or its stamps do not name its frames (missing or repeated).
    """
    reader = StreamReader(str(path), "SLICE", 1, 5.0, Counter())
    try:
        marks = list(reader.marks())
        time_base, nominal_s = reader.time_base, reader.nominal_s
    finally:
        reader.close()
    pts = [stamp for stamp, _ in marks if stamp is not None]
    if len(pts) != len(marks) or len(set(pts)) != len(pts) or not pts:
        raise SourceError(f"{path.name}: wanted one stamp for every frame, some are missing or repeated")
    # In decoding order: a key frame is a clean cut when all before it are shown before it, all after it after it.
    before = [pts[0] - 1, *accumulate(pts, max)]
    after = list(accumulate(reversed(pts), min))[::-1]
    keys = [
        place
        for place, (stamp, is_key) in enumerate(marks)
        if is_key and before[place] < pts[place] and after[place] == stamp
    ]
    return Scan(sorted(pts), (time_base.numerator, time_base.denominator), nominal_s, keys)
