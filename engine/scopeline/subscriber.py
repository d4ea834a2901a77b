"""Subscriber: reads a running engine's messages and knows what it missed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

import msgspec
import zmq

from scopeline.account import Account
from scopeline.endpoint import ZmqContext
from scopeline.errors import WireError
from scopeline.healer import Healer, Page
from scopeline.keys import ClientKeys
from scopeline.latest import Latest, StaleView, latest_of
from scopeline.wire import (
    DEFAULT_ADDRESS,
    TOPICS,
    Decoder,
    FrameMessage,
    Message,
    StatusMessage,
    topic_of,
)

HIGH_WATER_MARK: Final = 10_000
"""Messages kept on this side while nobody takes them; the publisher keeps as many again."""


class Subscriber:
    """A connection to a running engine, used as a context manager by one thread.

    Iterating gives messages until the session ends. The engine need not be there yet, and may be restarted:
    ZeroMQ connects again by itself, and `account.restarts` tells.

    What was missed is asked for again where the engine keeps a journal (its status then names a `replay` address), and
    comes before the message that showed the loss, topic by topic, each in order. `missed` is what could not be had. A
    display that only wants the present says `heal=False` and asks for the `latest`.

    Args:
        address: what the engine's `[sinks]` or `--publish` says.
        topics: what to read; `status` is always among them, for the counts that prove completeness.
        high_water_mark: messages kept while they are not taken.
        heal: ask for what was missed.
        from_start: also for what was published before we came. Messages are then given out from the first status on,
            which comes within five seconds.
        replay: where to ask, when the address that the status names cannot be reached from here (a tunnel).
        keys: where the engine asks for keys.

    Raises:
        WireError: the address is not one, or a message does not fit the schema.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        topics: Sequence[str] = TOPICS,
        *,
        high_water_mark: int = HIGH_WATER_MARK,
        heal: bool = True,
        from_start: bool = False,
        replay: str | None = None,
        keys: ClientKeys | None = None,
    ) -> None:
        unknown = sorted(set(topics) - set(TOPICS))
        if unknown:
            raise WireError(f"topics are {', '.join(TOPICS)}; got {', '.join(unknown)}")
        # `status` last: a publisher that waits for it then knows that the others are in force.
        wanted = [*(topic for topic in topics if topic != "status"), "status"]
        self.address = address
        self.account = Account(wanted, from_start=from_start)
        self.stale = StaleView()
        self.skipped = 0
        """Frames that `take_newest` read and passed over."""
        self._heal, self._from_start = heal or from_start, from_start
        self._replay, self._replay_told = replay, replay
        self._told_by: str | None = None
        """The session whose status named where to ask."""
        self._held: deque[tuple[Message, bool]] = deque()
        """To be given out, with whether each was got again; the last one waits for the pages before it."""
        self._showed: Message | None = None
        self._newest: dict[str, Message] = {}
        self._decoder = Decoder()
        self._context: ZmqContext = zmq.Context()
        self._healer = Healer(self._context, keys)
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

    @property
    def healed(self) -> dict[str, int]:
        """Messages of the session that were missed and got again, by topic."""
        return {topic: tally.healed for topic, tally in self.account.topics.items()}

    @property
    def heal_trouble(self) -> str:
        """Why asking for missed messages failed the last time; empty when it did not."""
        return self._healer.trouble

    def take(self, timeout_s: float | None = None) -> Message | None:
        """The next message, the oldest first; None when none came in time. Without a timeout it waits for
        ever.

        While missed messages are asked for (`healer.PATIENCE_S` per thousand of them at most) nothing else is given
        out."""
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            if self._held:
                return self._give_out(*self._held.popleft())
            left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
            if self._showed is not None:
                if not self._take_page(left_s):
                    return None
            elif self._socket.poll(None if left_s is None else round(left_s * 1000)):
                self._receive(self._decode(self._socket.recv_multipart()))
            else:
                return None

    def take_newest(self, timeout_s: float | None = None) -> list[Message]:
        """Everything that has arrived, in order, but of the frames the newest only; empty when nothing came
        in time.

        For a reader that is slower than the stream: it sees the present instead of slow motion. All messages
        are counted, segments, fields and status all delivered, and the frames passed over are in `skipped`.
        """
        messages: list[Message] = []
        message = self.take(timeout_s)
        while message is not None and len(messages) < HIGH_WATER_MARK:
            messages.append(message)
            message = self.take(0)
        frames = [each for each in messages if isinstance(each, FrameMessage)]
        self.skipped += max(0, len(frames) - 1)
        return [each for each in messages if not isinstance(each, FrameMessage) or each is frames[-1]]

    def latest(self, timeout_s: float | None = 0.0) -> Latest:
        """The newest message of each topic in this session, after waiting for something new for so long at most."""
        self.take_newest(timeout_s)
        return latest_of(self._newest, time.monotonic_ns())

    def __iter__(self) -> Iterator[Message]:
        while not self.account.ended:
            message = self.take()
            if message is not None:
                yield message

    def close(self) -> None:
        """Leave. May be called twice."""
        self._healer.close()
        self._socket.close(linger=0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _receive(self, message: Message) -> None:
        """A message came: give it out, or first ask for what it shows to be missing."""
        if isinstance(message, StatusMessage):
            self._replay_told = self._replay or message.replay
            self._told_by = message.session
        elif self._from_start and self._told_by != message.session:
            return  # nobody knows where to ask yet; it is got again with everything before it
        address = self._replay_told if self._replay or self._told_by == message.session else None
        gaps = self.account.gaps_before(message) if self._heal and address is not None else []
        if gaps and address is not None:
            self._healer.begin(address, message.session, gaps)
        if self._healer.busy:
            self._showed = message
        else:
            self._held.append((message, False))

    def _take_page(self, timeout_s: float | None) -> bool:
        """Hold what was got again; False when it is not here in time."""
        page = self._healer.take(timeout_s)
        if page is None:
            return False
        assert self._showed is not None
        self._held.extend((message, True) for message in self._messages_of(page, self._showed.session))
        if not self._healer.busy:
            self._held.append((self._showed, False))
            self._showed = None
        return True

    def _messages_of(self, page: Page, session: str) -> Iterator[Message]:
        """The page's messages, without any that are not what was asked for."""
        expected = page.gap.first
        for payload in page.payloads:
            try:
                message = self._decoder.decode(payload)
            except msgspec.DecodeError as error:
                self._healer.trouble = f"what came again is no message: {error}"
                return
            fits = message.session == session and topic_of(message) == page.gap.topic
            if fits and expected <= message.seq <= page.gap.last:
                expected = message.seq + 1
                yield message

    def _give_out(self, message: Message, healed: bool) -> Message:
        if message.session != self.account.session:
            self._newest.clear()
        self.account.count(message, healed=healed)
        self._newest[topic_of(message)] = message
        if not healed:
            self.stale.see(message)
        return message

    def _decode(self, parts: list[bytes]) -> Message:
        try:
            _, payload = parts
            return self._decoder.decode(payload)
        except (ValueError, msgspec.DecodeError) as error:
            raise WireError(
                f"a message from {self.address} is not what docs/wire.md describes: {error}. Is a Scopeline "
                "of another version publishing there, or another program?"
            ) from error
