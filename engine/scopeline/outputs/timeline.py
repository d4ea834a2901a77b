"""Timeline: a run of any length in a few hundred columns, for strips in reports."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from scopeline.wire import FrameMessage

COLUMNS: Final = 480


@dataclass(slots=True)
class Column:
    """What the frames of one stretch say."""

    frames: int = 0
    usable: int = 0
    tags: dict[str, Counter[str]] = field(default_factory=dict)
    """How often each label was held, by head."""
    marked: int = 0
    """Frames on which a mask head marks anything."""

    @property
    def usable_share(self) -> float | None:
        return self.usable / self.frames if self.frames else None

    def tag(self, head: str) -> str | None:
        """The label that was held longest; None when none was."""
        held = self.tags.get(head)
        return held.most_common(1)[0][0] if held else None

    def add(self, frame: FrameMessage) -> None:
        self.frames += 1
        self.usable += frame.reason is None
        self.marked += any(mask.regions for mask in frame.masks.values())
        for name, head in frame.smoothed.items():
            if head.tag is not None:
                self.tags.setdefault(name, Counter())[head.tag] += 1


class Timeline:
    """A run in stretches of equal length: at most `COLUMNS`, fewer where that would leave gaps.

    Args:
        stream_s: Stream time of the last frame, in seconds.
        count: How many frames there are.
    """

    def __init__(self, stream_s: float, count: int) -> None:
        self._stream_s = stream_s
        self.columns = [Column() for _ in range(max(min(COLUMNS, count // 2), 1))]

    def add(self, frame: FrameMessage) -> None:
        """Take the next frame."""
        last = len(self.columns) - 1
        place = int(frame.time_s / self._stream_s * (last + 1)) if self._stream_s > 0 else 0
        self.columns[min(place, last)].add(frame)
