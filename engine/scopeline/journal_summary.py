"""JournalSummary: what a run came to, told from its journal alone, however the run ended."""

from __future__ import annotations

from collections import Counter

import msgspec

from scopeline.journal_reader import JournalReader, Verdict
from scopeline.latency import LatencyHistogram
from scopeline.summary import Summary, summarize
from scopeline.tally import Tally
from scopeline.wire import NOTICE, FrameMessage, LedgerReport, Message, StatusMessage, topic_of

SCHEMA = 1


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a status told."""

    at_s: float
    """Seconds from the first message in the journal."""
    what: str
    text: str


class JournalSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run as its journal knows it; journal.json of an export."""

    schema: int = SCHEMA
    notice: str = NOTICE
    session: str | None
    version: str | None
    intact: bool
    """The chain holds from the first record to the last."""
    ended: str
    """How the run ended, in words."""
    messages: dict[str, int]
    """By topic, as they are here."""
    absent: dict[str, int]
    """By topic: numbers between the first and the last that are not here."""
    ledger: LedgerReport | None
    """The newest; captured = published + in_flight + lost."""
    latency_ms: dict[str, float]
    """Capture to publish: p50, p95, p99, max."""
    weather: list[Happening]
    """Each change of the feed's signal."""
    incidents: list[Happening]
    troubles: list[Happening]
    marks: list[Happening]
    results: Summary
    """As of a finished run: frames, field of view, procedure, segments."""


def summarise_journal(reader: JournalReader) -> tuple[JournalSummary, Tally, Verdict]:
    """The summary, with what it rests on.

    Raises:
        JournalError: the journal cannot be read.
    """
    verdict, story = reader.verify(), _Story()
    for message in reader.messages():
        story.add(message)
    return story.told(verdict), story.tally, verdict


class _Story:
    """Adds up the messages of one run."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._latency = LatencyHistogram()
        self._ledger: LedgerReport | None = None
        self._messages: Counter[str] = Counter()
        self._absent: Counter[str] = Counter()
        self._expected: dict[str, int] = {}
        self._signal = ""
        self._told: dict[str, list[Happening]] = {
            kind: [] for kind in ("signal", "incident", "trouble", "mark")
        }

    def add(self, message: Message) -> None:
        self.tally.add(message)
        topic = topic_of(message)
        self._messages[topic] += 1
        self._absent[topic] += message.seq - self._expected.get(topic, message.seq)
        self._expected[topic] = message.seq + 1
        if isinstance(message, FrameMessage):
            self._ledger = message.ledger
            self._latency.add((message.published_ns - message.captured_ns) / 1e6)
        elif isinstance(message, StatusMessage):
            self._ledger = message.ledger
            self._add_status(message)

    def _add_status(self, message: StatusMessage) -> None:
        assert self.tally.first_ns is not None
        at_s = round((message.published_ns - self.tally.first_ns) / 1e9, 3)
        if message.signal != self._signal:
            self._signal = message.signal
            self._told["signal"].append(Happening(at_s=at_s, what=message.signal, text=message.text))
        if message.event in ("incident", "trouble", "mark"):
            happening = Happening(at_s=at_s, what=message.incident or message.event, text=message.text)
            self._told[message.event].append(happening)

    def told(self, verdict: Verdict) -> JournalSummary:
        ended = self.tally.ended
        return JournalSummary(
            session=verdict.session,
            version=verdict.version,
            intact=verdict.intact,
            ended=f"{ended.event}: {ended.text}"
            if ended
            else "no end in the journal: cut off, or still running",
            messages=dict(self._messages),
            absent=dict(+self._absent),
            ledger=self._ledger,
            latency_ms=self._latency.summary(),
            weather=self._told["signal"],
            incidents=self._told["incident"],
            troubles=self._told["trouble"],
            marks=self._told["mark"],
            results=summarize(self.tally),
        )
