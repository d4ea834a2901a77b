"""Healer: asks a running engine's replay socket for messages that were missed, and never waits for ever."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import zmq

from scopeline.account import Gap
from scopeline.endpoint import ZmqContext, ZmqSocket
from scopeline.keys import ClientKeys
from scopeline.replay import MOST_MESSAGES, End, Refusal

PATIENCE_S: Final = 2.0
"""For one page of a thousand messages, which takes some 50 ms: who has not answered by then does not answer."""
REST_S: Final = 5.0
"""After a failure nobody is asked for so long: a dead engine costs a reader one `PATIENCE_S` and not one per gap."""


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to one request."""

    gap: Gap
    payloads: list[bytes]
    """In order; what is not in the journal is not here."""


class Healer:
    """Gets gaps page by page over one DEALER socket. Belongs to one thread.

    Args:
        context: Whose owner ends it after `close`.
        keys: Where the engine asks for keys.
    """

    def __init__(self, context: ZmqContext, keys: ClientKeys | None = None) -> None:
        self.trouble = ""
        """Why the last request failed, for people; empty when it did not."""
        self._context, self._keys = context, keys
        self._socket: ZmqSocket | None = None
        self._connected_to = ""
        self._session = ""
        self._waiting: deque[Gap] = deque()
        self._payloads: list[bytes] = []
        self._give_up_s = 0.0
        self._rest_until_s = 0.0

    @property
    def busy(self) -> bool:
        """A page is under way."""
        return bool(self._waiting)

    def begin(self, address: str, session: str, gaps: Sequence[Gap]) -> None:
        """Ask for what was missed, unless asking failed just now; `take` gives the pages."""
        if not gaps or time.monotonic() < self._rest_until_s:
            return
        self._session = session
        self._waiting.extend(page for gap in gaps for page in _pages(gap))
        try:
            self._connect(address)
        except zmq.ZMQError as error:
            self._give_up(f"cannot connect to {address}: {error.strerror}")
            return
        self._ask()

    def take(self, timeout_s: float | None) -> Page | None:
        """The next page; None when it is not here in time. After a failure the page holds what had come."""
        if not self._waiting:
            return None
        if self._socket is None:
            return self._finish()
        patience_s = max(0.0, self._give_up_s - time.monotonic())
        wait_s = patience_s if timeout_s is None else min(timeout_s, patience_s)
        if self._socket.poll(round(wait_s * 1000)):
            return self._read(self._socket)
        if time.monotonic() < self._give_up_s:
            return None
        self._give_up(f"no answer from {self._connected_to} within {PATIENCE_S:g} s")
        return self._finish()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None

    def _connect(self, address: str) -> None:
        if self._socket is not None and self._connected_to == address:
            return
        self.close()
        socket = self._context.socket(zmq.DEALER)
        try:
            socket.rcvhwm = 0  # one page at a time is asked for: that is the bound
            socket.linger = 0
            socket.ipv6 = "[" in address
            if self._keys is not None:
                self._keys.unlock(socket)
            socket.connect(address)
        except zmq.ZMQError:
            socket.close(linger=0)
            raise
        self._socket, self._connected_to = socket, address

    def _ask(self) -> None:
        assert self._socket is not None
        gap = self._waiting[0]
        request = {
            "session": self._session,
            "topic": gap.topic,
            "from_seq": gap.first,
            "to_seq": gap.last,
        }
        self._payloads = []
        self._give_up_s = time.monotonic() + PATIENCE_S
        try:
            self._socket.send(msgspec.json.encode(request), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            self._give_up(f"{self._connected_to} takes no request: {error.strerror}")

    def _read(self, socket: ZmqSocket) -> Page | None:
        """Everything that lies there, up to the end of the page; None when that is not there yet."""
        gap = self._waiting[0]
        while len(self._payloads) <= gap.last - gap.first + 1:
            try:
                parts = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None
            if len(parts) == 2 and parts[0] == gap.topic.encode():
                self._payloads.append(parts[1])
                continue
            self.trouble = self._trouble_in(parts)
            if self.trouble:
                self._give_up(self.trouble)
            return self._finish()
        self._give_up(f"{self._connected_to} sends more than was asked for")
        return self._finish()

    def _trouble_in(self, parts: list[bytes]) -> str:
        """What is wrong with the part that is no message; empty for a proper end."""
        try:
            kind, content = parts
            if kind == b"error":
                return msgspec.json.decode(content, type=Refusal).error
            end = msgspec.json.decode(content, type=End)
        except (ValueError, msgspec.DecodeError) as error:
            return f"{self._connected_to} sends what docs/wire.md does not describe: {error}"
        gap = self._waiting[0]
        asked = (self._session, gap.topic, gap.first, gap.last)
        if kind != b"end" or (end.session, end.topic, end.from_seq, end.to_seq) != asked:
            return f"{self._connected_to} answers what was not asked"
        return ""

    def _finish(self) -> Page:
        """The page at hand, and the next one asked for."""
        page = Page(self._waiting.popleft(), self._payloads)
        self._payloads = []
        if self._waiting and self._socket is not None:
            self._ask()
        return page

    def _give_up(self, why: str) -> None:
        """Hang up, so that a late answer is not taken for that to a later question."""
        self.trouble = why
        self._rest_until_s = time.monotonic() + REST_S
        self.close()


def _pages(gap: Gap) -> list[Gap]:
    starts = range(gap.first, gap.last + 1, MOST_MESSAGES)
    return [Gap(gap.topic, start, min(start + MOST_MESSAGES - 1, gap.last)) for start in starts]
