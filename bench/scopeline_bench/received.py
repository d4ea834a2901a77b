"""Received: payloads by topic and number, to be compared byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from scopeline.account import Gap


class _Numbered(msgspec.Struct, frozen=True):
    session: str
    seq: int


class Received:
    """The messages of one session that somebody has."""

    def __init__(self) -> None:
        self.session = ""
        self.payloads: dict[tuple[str, int], bytes] = {}
        self.twice = 0
        """Messages that came a second time."""
        self._decoder = msgspec.json.Decoder(_Numbered)

    def add(self, topic: bytes, payload: bytes) -> None:
        numbered = self._decoder.decode(payload)
        self.session = numbered.session
        key = (topic.decode(), numbered.seq)
        self.twice += key in self.payloads
        self.payloads[key] = payload

    def __len__(self) -> int:
        return len(self.payloads)

    def not_in(self, other: Received) -> int:
        """How many the other has not, or has with other bytes."""
        return sum(other.payloads.get(key) != payload for key, payload in self.payloads.items())

    def without(self, other: Received) -> Received:
        """What the other has not."""
        rest = Received()
        rest.session = self.session
        rest.payloads = {key: payload for key, payload in self.payloads.items() if key not in other.payloads}
        return rest

    def stretches(self) -> Iterator[Gap]:
        """The numbers as stretches without a hole."""
        open_gap: Gap | None = None
        for topic, seq in sorted(self.payloads):
            if open_gap is not None and (topic, seq) == (open_gap.topic, open_gap.last + 1):
                open_gap = Gap(topic, open_gap.first, seq)
                continue
            if open_gap is not None:
                yield open_gap
            open_gap = Gap(topic, seq, seq)
        if open_gap is not None:
            yield open_gap
