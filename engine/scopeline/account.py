"""Account: what a subscriber received, got again, and missed, reckoned from sequence numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scopeline.wire import TOPICS, Message, StatusMessage, topic_of


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers of one topic that were sent and not received, both ends included."""

    topic: str
    first: int
    last: int


@dataclass(slots=True)
class Tally:
    """What became of the messages of one topic in one session: `before_joining + received + healed + missed` were
    sent."""

    received: int = 0
    missed: int = 0
    """Sent after the first message that reached us, and never seen."""
    before_joining: int = 0
    """Sent before the first message that reached us."""
    expected: int | None = None
    """The number that the next message will carry; None until that is known."""
    healed: int = 0
    """Missed, and got again from the engine's journal."""

    def advance_to(self, seq: int) -> None:
        """Account for everything before `seq`, of which the publisher says that it was sent."""
        if self.expected is None:
            self.before_joining = seq
        else:
            self.missed += max(0, seq - self.expected)
        self.expected = max(seq, self.expected or 0)

    def receive(self, seq: int, *, healed: bool = False) -> None:
        """Account for the message `seq` and everything before it."""
        self.advance_to(seq)
        if healed:
            self.healed += 1
        else:
            self.received += 1
        self.expected = seq + 1

    def gap_before(self, topic: str, seq: int) -> list[Gap]:
        """What is missing before the number `seq`: one stretch, or none."""
        if self.expected is None or seq <= self.expected:
            return []
        return [Gap(topic, self.expected, seq - 1)]


class Account:
    """Reckons from sequence numbers what was missed. Knows no socket and no clock.

    Two sources are compared: the `seq` of each message, and in each status message `sent`, the publisher's
    own count per topic. The second finds losses at the end of a topic, after which no message comes that
    could show a gap.

    Args:
        topics: What is counted.
        from_start: What was sent before the first message that reached us is missed too.
    """

    def __init__(self, topics: Sequence[str] = TOPICS, *, from_start: bool = False) -> None:
        self.session: str | None = None
        """The run of the engine that is being read; None before the first message."""
        self.restarts = 0
        """How often another session took over, with numbers from 0."""
        self.ended = False
        """The session said that it is over: with that, `missed` is complete."""
        self._first = 0 if from_start else None
        self.topics = self._fresh(topics)
        """This session's tallies."""

    @property
    def missed(self) -> int:
        """Messages of this session that were sent after joining and never seen, over all topics."""
        return sum(tally.missed for tally in self.topics.values())

    @property
    def healed(self) -> int:
        """Messages of this session that were missed and got again, over all topics."""
        return sum(tally.healed for tally in self.topics.values())

    def gaps_before(self, message: Message) -> list[Gap]:
        """What a message shows to be missing; `status` last, because its own counts speak of the others."""
        topics = self.topics if message.session == self.session else self._fresh(self.topics)
        own = topic_of(message)
        gaps = []
        if isinstance(message, StatusMessage):
            for topic in topics.keys() - {own}:
                gaps += topics[topic].gap_before(topic, message.sent.get(topic, 0))
        return [*sorted(gaps, key=lambda gap: gap.topic), *topics[own].gap_before(own, message.seq)]

    def count(self, message: Message, *, healed: bool = False) -> None:
        """Take one message into account; one that was got again comes before those that were sent after it."""
        if message.session != self.session:
            self._begin(message.session)
        self.topics[topic_of(message)].receive(message.seq, healed=healed)
        if isinstance(message, StatusMessage) and not healed:
            for topic in self.topics.keys() - {"status"}:
                self.topics[topic].advance_to(message.sent.get(topic, 0))
            self.ended = message.event in ("ended", "failed")

    def _begin(self, session: str) -> None:
        self.restarts += self.session is not None
        self.session, self.ended = session, False
        self.topics = self._fresh(self.topics)

    def _fresh(self, topics: Sequence[str] | dict[str, Tally]) -> dict[str, Tally]:
        return {topic: Tally(expected=self._first) for topic in topics}
