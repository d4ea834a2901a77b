"""JournalIndex: where in a session's journal files a sequence number is to be looked for."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

EVERY: Final = 256
"""An entry per topic at most every so many records: a look-up reads 256 lines (some 0.2 ms), and the index of a full
journal of 8 GiB takes 4 MB."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a line begins."""

    file: int
    offset: int


@dataclass(slots=True)
class _Entries:
    """One topic's: `places[i]` lies at or before every record with a number from `numbers[i]` on."""

    numbers: list[int] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    next_at: int = 0
    """Count of all records from which on the next one of this topic gets an entry."""


class JournalIndex:
    """Sparse: filled by the thread that writes, read by the one that replays, forgotten with the files."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._topics: dict[str, _Entries] = defaultdict(_Entries)
        self._count = 0

    def note(self, topic: str, seq: int, place: Place) -> None:
        """A record was written. Numbers of a topic grow."""
        self._count += 1
        entries = self._topics.get(topic)
        if entries is not None and self._count < entries.next_at:
            return
        with self._lock:
            entries = self._topics[topic]
            entries.next_at = self._count + EVERY
            entries.places.append(place)
            entries.numbers.append(seq)

    def begin_file(self) -> None:
        """The next record of each topic gets an entry: what a file holds is found without the one before it."""
        with self._lock:
            for entries in self._topics.values():
                entries.next_at = 0

    def forget(self, file: int) -> None:
        """This file and all before it are gone."""
        with self._lock:
            for entries in self._topics.values():
                gone = bisect_right(entries.places, file, key=lambda place: place.file)
                del entries.places[:gone], entries.numbers[:gone]

    def find(self, topic: str, seq: int) -> Place | None:
        """A place from which on the number is met soon, if it is there; None when the topic is not there at all.

        The first place of the topic when the number is older than what is kept.
        """
        with self._lock:
            entries = self._topics.get(topic)
            if entries is None or not entries.numbers:
                return None
            return entries.places[max(0, bisect_right(entries.numbers, seq) - 1)]
