"""Subscriber: reads a running engine's messages and knows what it missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import msgspec
import zmq

from scopeline.errors import WireError
from scopeline.keys import ClientKeys
from scopeline.wire import DEFAULT_ADDRESS, TOPICS, Decoder, FrameMessage, Message, StatusMessage, topic_of

HIGH_WATER_MARK: Final = 10_000
"""Messages kept on this side while nobody takes them; the publisher keeps as many again."""

STALE_MS: Final = 500.0
"""An assessment older than this is not shown as the present: at 60 frames/s it is 30 frames behind the
picture."""


@dataclass(slots=True)
class Tally:
    """What became of the messages of one topic in one session: `before_joining + received + missed` were
    sent."""

    received: int = 0
    missed: int = 0
    """Sent after the first message that reached us, and never seen."""
    before_joining: int = 0
    """Sent before the first message that reached us."""
    expected: int | None = None
    """The number that the next message will carry; None until that is known."""

    def advance_to(self, seq: int) -> None:
        """Account for everything before `seq`, of which the publisher says that it was sent."""
        if self.expected is None:
            self.before_joining = seq
        else:
            self.missed += max(0, seq - self.expected)
        self.expected = max(seq, self.expected or 0)

    def receive(self, seq: int) -> None:
        """Account for the message `seq` and everything before it."""
        self.advance_to(seq)
        self.received += 1
        self.expected = seq + 1


class Account:
    """Reckons from sequence numbers what was missed. Knows no socket and no clock.

    Two sources are compared: the `seq` of each message, and in each status message `sent`, the publisher's
    own count per topic. The second finds losses at the end of a topic, after which no message comes that
    could show a gap."""

    def __init__(self, topics: Sequence[str] = TOPICS) -> None:
        self.session: str | None = None
        """The run of the engine that is being read; None before the first message."""
        self.restarts = 0
        """How often another session took over, with numbers from 0."""
        self.ended = False
        """The session said that it is over: with that, `missed` is complete."""
        self.topics: dict[str, Tally] = {topic: Tally() for topic in topics}
        """This session's tallies."""

    @property
    def missed(self) -> int:
        """Messages of this session that were sent after joining and never seen, over all topics."""
        return sum(tally.missed for tally in self.topics.values())

    def count(self, message: Message) -> None:
        """Take one message into account."""
        if message.session != self.session:
            self._begin(message.session)
        self.topics[topic_of(message)].receive(message.seq)
        if isinstance(message, StatusMessage):
            for topic in self.topics.keys() - {"status"}:
                self.topics[topic].advance_to(message.sent.get(topic, 0))
            self.ended = message.event in ("ended", "failed")

    def _begin(self, session: str) -> None:
        self.restarts += self.session is not None
        self.session, self.ended = session, False
        self.topics = {topic: Tally() for topic in self.topics}


class StaleView:
    """The age of the newest frame that was seen, so that a display never shows an old assessment as the
    present.

    Age is `now_ns - captured_ns`, both `time.monotonic_ns()`: from the moment the driver handed the frame
    over to the moment the display looks. On one machine all processes share that clock (Linux, macOS,
    Windows), containers too; between machines, after a restart of the machine, and for journals the
    difference means nothing. An age below zero is therefore stale."""

    def __init__(self, stale_ms: float = STALE_MS) -> None:
        self.stale_ms = stale_ms
        self.captured_ns: int | None = None
        """When the newest frame was captured."""

    def see(self, message: Message) -> None:
        """Remember the capture time of a frame; other messages say nothing of the present."""
        if isinstance(message, FrameMessage):
            self.captured_ns = message.captured_ns

    def age_ms(self, now_ns: int) -> float | None:
        """Milliseconds since the newest frame was captured; None before the first."""
        return None if self.captured_ns is None else (now_ns - self.captured_ns) / 1e6

    def is_stale(self, now_ns: int) -> bool:
        """True when nothing may be shown as the present."""
        age_ms = self.age_ms(now_ns)
        return age_ms is None or not 0 <= age_ms <= self.stale_ms


class Subscriber:
    """A connection to a running engine, used as a context manager by one thread.

    Iterating gives messages until the session ends. The engine need not be there yet, and may be restarted:
    ZeroMQ connects again by itself, and `account.restarts` tells.

    Args:
        address: what the engine's `[sinks]` or `--publish` says.
        topics: what to read; `status` is always among them, for the counts that prove completeness.
        high_water_mark: messages kept while they are not taken.
        keys: needed when the engine asks for keys.

    Raises:
        WireError: the address is not one, or a message does not fit the schema.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        topics: Sequence[str] = TOPICS,
        *,
        high_water_mark: int = HIGH_WATER_MARK,
        keys: ClientKeys | None = None,
    ) -> None:
        unknown = sorted(set(topics) - set(TOPICS))
        if unknown:
            raise WireError(f"topics are {', '.join(TOPICS)}; got {', '.join(unknown)}")
        # `status` last: a publisher that waits for it then knows that the others are in force.
        wanted = [*(topic for topic in topics if topic != "status"), "status"]
        self.address = address
        self.account = Account(wanted)
        self.stale = StaleView()
        self.skipped = 0
        """Frames that `take_newest` read and passed over."""
        self._decoder = Decoder()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.rcvhwm = high_water_mark
        self._socket.ipv6 = "[" in address
        if keys is not None:
            keys.unlock(self._socket)
        for topic in wanted:
            self._socket.subscribe(topic.encode())
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise WireError(
                f"cannot connect to {address}: {error.strerror}; try {DEFAULT_ADDRESS}"
            ) from error

    @property
    def missed(self) -> dict[str, int]:
        """Messages of the session that were never seen, by topic."""
        return {topic: tally.missed for topic, tally in self.account.topics.items()}

    def take(self, timeout_s: float | None = None) -> Message | None:
        """The next message, the oldest first; None when none came in time. Without a timeout it waits for
        ever."""
        if not self._socket.poll(None if timeout_s is None else max(0, round(timeout_s * 1000))):
            return None
        message = self._decode(self._socket.recv_multipart())
        self.account.count(message)
        self.stale.see(message)
        return message

    def take_newest(self, timeout_s: float | None = None) -> list[Message]:
        """Everything that has arrived, in order, but of the frames the newest only; empty when nothing came
        in time.

        For a reader that is slower than the stream: it sees the present instead of slow motion. All messages
        are counted, segments, fields and status all delivered, and the frames passed over are in `skipped`.
        """
        messages: list[Message] = []
        message = self.take(timeout_s)
        while message is not None:
            messages.append(message)
            message = self.take(0)
        frames = [each for each in messages if isinstance(each, FrameMessage)]
        self.skipped += max(0, len(frames) - 1)
        return [each for each in messages if not isinstance(each, FrameMessage) or each is frames[-1]]

    def __iter__(self) -> Iterator[Message]:
        while not self.account.ended:
            message = self.take()
            if message is not None:
                yield message

    def close(self) -> None:
        """Leave. May be called twice."""
        self._socket.close(linger=0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decode(self, parts: list[bytes]) -> Message:
        try:
            _, payload = parts
            return self._decoder.decode(payload)
        except (ValueError, msgspec.DecodeError) as error:
            raise WireError(
                f"a message from {self.address} is not what docs/wire.md describes: {error}. Is a Scopeline "
                "of another version publishing there, or another program?"
            ) from error
