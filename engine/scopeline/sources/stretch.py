"""Stretch: some frames of a recording, with the numbers and times that one pass over the whole gives them."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from scopeline.errors import SourceError
from scopeline.frame import Frame
from scopeline.picture import INTERLACED_ORDERS, Straightener
from scopeline.sources.packet_scan import Scan
from scopeline.sources.stream_reader import StreamReader
from scopeline.sources.timeline import State, Timeline


class NotInPieces(SourceError):
    """A recording that does not decode in pieces to what it decodes to as a whole; it must be worked on in one pass."""


class StretchSource:
    """Frames `first` to `end` of a recording.

    Args:
        video: The recording.
        scan: Its packets.
        first: Number of the first frame.
        end: Number of the first frame that does not belong to it any more.
        timeline: What the timeline remembers of the frames before.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, video: Path, scan: Scan, *, first: int, end: int, timeline: State) -> None:
        self.name = video.name
        self._scan, self._first, self._end = scan, first, end
        self._damaged: Counter[str] = Counter()
        key = max((scan.keys[place - 1] for place in [bisect_right(scan.keys, first)] if place), default=0)
        # From the start nothing is sought: one pass does not either, and what precedes the first key frame is counted.
        start_pts = scan.stamps[key] if key else None
        self._reader = StreamReader(str(video), "SLICE", 1, 5.0, self._damaged, start_pts=start_pts)
        self._timeline = Timeline(scan.nominal_s)
        self._timeline.restore(timeline)
        self._number = key
        self.duration_s = self._reader.duration_s

    @property
    def damaged(self) -> Mapping[str, int]:
        """As of `MediaSource`; of a stretch that was read, nothing or `truncated`."""
        return dict(self._damaged)

    @property
    def timeline(self) -> State:
        """What the timeline remembers now."""
        return self._timeline.state

    def frames(self) -> Iterator[Frame]:
        """The stretch, and one frame more where the recording goes on: whoever begins there must see the same one.

        Raises:
            NotInPieces: pictures are damaged, interlaced, or not those that the packets promised.
        """
        if self._reader.field_order in INTERLACED_ORDERS:
            raise self._refusal("is interlaced")
        straightener = Straightener(self._reader.field_order)
        for picture, stamp_s in straightener.straightened(self._reader.pictures()):
            number, self._number = self._number, self._number + 1
            if self._damaged:
                break
            if picture.interlaced_frame:
                raise self._refusal("has interlaced pictures")
            if number >= len(self._scan.stamps) or stamp_s != self._scan.stamp_s(number):
                raise self._refusal(f"has another picture than its packets promised at frame {number}")
            if number < self._first:
                continue
            if number >= self._end:
                yield Frame(number, time.monotonic_ns(), 0.0, picture)
                return
            yield Frame(number, time.monotonic_ns(), self._timeline.next(stamp_s), picture)
        if self._reader.is_closed:
            return
        if set(self._damaged) - {"truncated"} or self._number != len(self._scan.stamps):
            raise self._refusal(f"is damaged ({dict(self._damaged)}, {self._number} frames)")

    def close(self) -> None:
        """Make `frames` return. From any thread, any number of times."""
        self._reader.close()

    def _refusal(self, what: str) -> NotInPieces:
        return NotInPieces(f"{self.name}: {what}; it is worked on in one pass")
