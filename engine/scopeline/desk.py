"""Desk: one thread at the sockets where others may speak: control, replay, and the keys of all who connect."""

from __future__ import annotations

import logging
import socket as os_socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec
import zmq

from scopeline.control import Control, Refusal
from scopeline.doorkeeper import Doorkeeper
from scopeline.endpoint import ZmqContext, ZmqSocket, bind
from scopeline.errors import ScopelineError
from scopeline.keys import EngineKeys, Role

MOST_ANSWERS: Final = 64
"""Replays under way at once, of all peers; who asks beyond that is told to ask again."""
MOST_BYTES: Final = 4096
"""Longest message part; a peer that sends more is cut off without an answer. Somewhat more than the longest request, so
that one that is a little too long still learns why."""
PATIENCE_NS: Final = 5_000_000_000
"""A peer that takes nothing of its replay for so long loses the rest of it. A subscriber that reads takes a thousand
messages in some milliseconds."""

REQUESTS_PER_S: Final = 500
"""Requests read from one socket per second; more wait in the sender. An operator gives a few per minute; without a
bound a flood would take as much of the interpreter as it likes from the stages. libzmq gives every peer its turn, so
that who sends one request does not wait behind a thousand of another's."""
MESSAGES_PER_S: Final = 5000
"""Messages replayed per second, to all readers together."""

FAREWELL_NS: Final = 500_000_000
"""How long replay is still offered after `stop`; the publishing socket delivers for as long."""

_TURNS: Final = 64
"""Messages taken from, or sent to, one socket or peer before the others have their turn."""
_RETRY_MS: Final = 10
"""How often a peer whose pipe was full is tried again. libzmq's POLLOUT on a ROUTER says that some peer has room, not
which, and would have us spin."""
_REST_MS: Final = 20
"""How long a socket is left alone whose allowance is spent."""
_LINGER_MS: Final = 200
_HIGH_WATER_MARK: Final = 1000

_log = logging.getLogger(__name__)


class Replaying(Protocol):
    """Answers requests for missed messages, e.g. `scopeline.replay.Replayer`. Worked by the desk's thread."""

    def answer(self, request: bytes) -> Iterator[tuple[bytes, bytes]]:
        """`(topic, payload)` of each message asked for, made as they are taken."""
        ...


class Desk:
    """Serves the control and the replay socket, and asks every peer of the context for its key. A `Companion`.

    The sockets are bound by the constructor, so that a wrong address is told at the start and nobody finds a closed
    door after it; `work` serves them in a thread of its own. That hands them from one thread to another, which libzmq
    allows where a full memory barrier lies between: starting and joining a thread is one. Close the desk only when
    `work` has returned, or was never started.

    Args:
        context: Shared with the publishing socket, so that its peers are asked for their keys here too. Whoever made it
            ends it, after `close`.
        control: Address for operators and who answers there; None without control.
        replay: Address for subscribers that missed something and who answers there; None without replay.
        keys: With keys every peer of every socket that was locked with them must have one that is allowed; without, the
            sockets stay on this machine.

    Raises:
        SinkError: an address is none, is taken, or could be reached by strangers without keys.
    """

    name = "desk"

    def __init__(
        self,
        context: ZmqContext,
        *,
        control: tuple[str, Control] | None = None,
        replay: tuple[str, Replaying] | None = None,
        keys: EngineKeys | None = None,
    ) -> None:
        self._stopping = False
        self._counters: list[_ControlCounter | _ReplayCounter] = []
        self._replay: _ReplayCounter | None = None
        self.control_address: str | None = None
        """Where control really listens."""
        self.replay_address: str | None = None
        """Where replay really listens."""
        with ExitStack() as opened:
            # A pair of the operating system's own: it may be written from any thread and from a signal handler.
            self._bell, self._button = os_socket.socketpair()
            for end in (self._bell, self._button):
                opened.callback(end.close)
                end.setblocking(False)
            self._doorkeeper = Doorkeeper(context, keys) if keys is not None else None
            if self._doorkeeper is not None:
                opened.callback(self._doorkeeper.close)
            if control is not None:
                address, clerk = control
                socket = _open(opened, context, "operators", keys)
                self.control_address = bind(
                    socket, address, doing="listen for control", keyed=keys is not None
                )
                self._counters.append(_ControlCounter(socket, clerk, _may_speak("operators", keys)))
            if replay is not None:
                address, replayer = replay
                socket = _open(opened, context, "subscribers", keys)
                self.replay_address = bind(socket, address, doing="offer replay", keyed=keys is not None)
                self._replay = _ReplayCounter(socket, replayer, _may_speak("subscribers", keys))
                self._counters.append(self._replay)
            self._opened = opened.pop_all()

    @property
    def turned_away(self) -> int:
        """Handshakes refused for want of a key that is allowed."""
        return self._doorkeeper.turned_away if self._doorkeeper is not None else 0

    @property
    def replays_dropped(self) -> int:
        """Replays that were not finished because the peer took nothing of them, or was gone."""
        return self._replay.dropped if self._replay is not None else 0

    def work(self) -> None:
        """Serve until `stop`, and replay for `FAREWELL_NS` more: the last message tells a reader what it missed."""
        poller = zmq.Poller()
        poller.register(self._bell, zmq.POLLIN)
        if self._doorkeeper is not None:
            poller.register(self._doorkeeper.socket, zmq.POLLIN)
        for counter in self._counters:
            poller.register(counter.socket, zmq.POLLIN)
        wait_ms: int | None = None
        until_ns: int | None = None
        while until_ns is None or time.monotonic_ns() < until_ns:
            ready = dict(poller.poll(wait_ms))
            if self._stopping and until_ns is None:
                if self._replay is None:
                    return
                until_ns = time.monotonic_ns() + FAREWELL_NS
                poller.unregister(self._bell)  # it goes on ringing
            if self._doorkeeper is not None and self._doorkeeper.socket in ready:
                self._doorkeeper.serve()
            for counter in self._counters:
                if counter.socket in ready:
                    counter.serve()
            wait_ms = self._replay.send_some() if self._replay is not None else None
            for counter in self._counters:
                is_spent = counter.pace.allowance() < 1
                poller.modify(counter.socket, 0 if is_spent else zmq.POLLIN)
                if is_spent:
                    wait_ms = _REST_MS if wait_ms is None else min(wait_ms, _REST_MS)
            if until_ns is not None:
                left_ms = max(0, until_ns - time.monotonic_ns()) // 1_000_000
                wait_ms = left_ms if wait_ms is None else min(wait_ms, left_ms)

    def stop(self) -> None:
        """Make `work` return. From any thread, any number of times, also before `work` and from a signal handler."""
        self._stopping = True
        with suppress(OSError):  # full of earlier rings, or closed: either way it is known
            self._button.send(b"!")

    def close(self) -> None:
        """Give the addresses back. May be called twice."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Pace:
    """An allowance that is spent by work and comes back with time."""

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._most = float(max(_TURNS, per_s // 10))
        self._left = self._most
        self._at_ns = time.monotonic_ns()

    def allowance(self) -> int:
        """How much may be done now."""
        now_ns = time.monotonic_ns()
        self._left = min(self._most, self._left + (now_ns - self._at_ns) * 1e-9 * self._per_s)
        self._at_ns = now_ns
        return min(_TURNS, int(self._left))

    def spend(self) -> None:
        self._left -= 1.0


@dataclass(frozen=True, slots=True)
class _Letter:
    """One message from a peer."""

    envelope: list[bytes]
    """Goes before the answer: the peer's routing id, and the empty part that a REQ socket puts after it."""
    body: bytes | None
    """None: there is not one part but none or several."""
    user: bytes | None
    """The public key the peer proved to have; None without keys."""


class _ControlCounter:
    """The control socket."""

    def __init__(
        self, socket: ZmqSocket, control: Control, may_speak: Callable[[bytes | None], bool]
    ) -> None:
        self.socket = socket
        self.pace = _Pace(REQUESTS_PER_S)
        self._control = control
        self._may_speak = may_speak

    def serve(self) -> None:
        for letter in _letters(self.socket, self.pace):
            answer = self._answer(letter, time.monotonic_ns())
            with suppress(
                zmq.ZMQError
            ):  # gone, or it reads none of its answers: it does not want this one either
                self.socket.send_multipart([*letter.envelope, answer], zmq.NOBLOCK)

    def _answer(self, letter: _Letter, heard_ns: int) -> bytes:
        if letter.body is None:
            return self._control.refuse("a request is one part", heard_ns)
        if not self._may_speak(letter.user):
            return self._control.refuse("this key is not allowed here any more", heard_ns)
        return self._control.answer(letter.body, heard_ns)


@dataclass(slots=True)
class _Reader:
    """A peer and the answers that it still has to get, one after the other."""

    answers: deque[tuple[list[bytes], Iterator[tuple[bytes, bytes]]]]
    """Envelope and messages of each."""
    held: tuple[bytes, bytes] | None
    """A message of the first answer that the peer had no room for."""
    moved_ns: int
    """When it last took something."""


class _ReplayCounter:
    """The replay socket: long answers, sent in turns to all who asked."""

    def __init__(
        self, socket: ZmqSocket, replayer: Replaying, may_speak: Callable[[bytes | None], bool]
    ) -> None:
        self.socket = socket
        self.pace = _Pace(REQUESTS_PER_S)
        self._sending = _Pace(MESSAGES_PER_S)
        self._replayer = replayer
        self._may_speak = may_speak
        self._readers: dict[bytes, _Reader] = {}
        self.dropped = 0

    def serve(self) -> None:
        for letter in _letters(self.socket, self.pace):
            if not self._may_speak(letter.user):
                self._refuse(letter.envelope, "this key is not allowed here any more")
            elif sum(len(reader.answers) for reader in self._readers.values()) >= MOST_ANSWERS:
                self._refuse(letter.envelope, "too many replays are under way; ask again")
            else:
                empty = _Reader(deque(), None, time.monotonic_ns())
                reader = self._readers.setdefault(letter.envelope[0], empty)
                # Several parts are no request: the replayer says what one looks like.
                reader.answers.append((letter.envelope, self._replayer.answer(letter.body or b"")))

    def send_some(self) -> int | None:
        """Send what the peers take now; returns how long to wait before the next try, None for ever."""
        stuck = True
        for peer, reader in list(self._readers.items()):
            stuck = not self._send_to(reader) and stuck
            if not reader.answers:
                del self._readers[peer]
        if not self._readers:
            return None
        return _RETRY_MS if stuck else 0

    def _send_to(self, reader: _Reader) -> bool:
        """Send one turn's messages; False when none could be sent now."""
        moved = False
        for _ in range(self._sending.allowance()):
            envelope, messages = reader.answers[0]
            try:
                message = reader.held or next(messages, None)
                if message is None:
                    reader.answers.popleft()
                    return True
                self.socket.send_multipart([*envelope, *message], zmq.NOBLOCK)
                self._sending.spend()
            except zmq.Again:
                reader.held = message
                if time.monotonic_ns() - reader.moved_ns > PATIENCE_NS:
                    self._drop(reader, "the peer does not read")
                return moved
            except zmq.ZMQError as error:
                self._drop(reader, f"the peer is gone ({error.strerror})")
                return True
            except (ScopelineError, OSError, ValueError) as error:
                reader.answers.popleft()
                self.dropped += 1
                _log.info("a replay failed: %s", error)
                self._refuse(envelope, f"the replay failed: {error}")
                return True
            reader.held, reader.moved_ns = None, time.monotonic_ns()
            moved = True
        return moved

    def _drop(self, reader: _Reader, why: str) -> None:
        self.dropped += len(reader.answers)
        reader.answers.clear()
        _log.info("a replay was dropped: %s", why)

    def _refuse(self, envelope: list[bytes], why: str) -> None:
        answer = [*envelope, b"error", msgspec.json.encode(Refusal(error=why))]
        with suppress(zmq.ZMQError):
            self.socket.send_multipart(answer, zmq.NOBLOCK)


def _open(opened: ExitStack, context: ZmqContext, role: Role, keys: EngineKeys | None) -> ZmqSocket:
    socket = context.socket(zmq.ROUTER)
    opened.callback(socket.close, linger=_LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # sending to a full or absent peer is an error, not silence
    socket.sndhwm = socket.rcvhwm = _HIGH_WATER_MARK
    if keys is not None:
        keys.lock(socket, role)
    else:
        # Any domain makes libzmq refuse the protocol of libzmq 2 and 3, in which bytes that are no ZeroMQ at all pass
        # for hundreds of messages. Its peers all had one routing id; libzmq ignores the second, and when that one has
        # filled its pipe and gone, keeps its file descriptor for ever (199 of 200; of 100,000 messages of garbage, 10).
        # It remains possible on purpose. Heartbeats would end it, but abort us: "Assertion failed: !_io_error".
        socket.setsockopt_string(zmq.ZAP_DOMAIN, "open")
    return socket


def _may_speak(role: Role, keys: EngineKeys | None) -> Callable[[bytes | None], bool]:
    """Asked for every message, so that a revoked key is silenced on a connection that stands."""
    if keys is None:
        return lambda user: True
    return lambda user: user is not None and keys.admits(role, user)


def _letters(socket: ZmqSocket, pace: _Pace) -> Iterator[_Letter]:
    """What lies in the socket, a bounded number, so that a flood here does not hold up the others."""
    for _ in range(pace.allowance()):
        try:
            parts = socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        pace.spend()
        bodies = parts[1:]
        envelope = [parts[0].bytes]
        if len(bodies) > 1 and not len(bodies[0].buffer):
            envelope.append(b"")
            del bodies[0]
        yield _Letter(envelope, bodies[0].bytes if len(bodies) == 1 else None, _user(parts[-1]))


def _user(part: zmq.Frame) -> bytes | None:
    try:
        return str(part.get("User-Id")).encode()
    except zmq.ZMQError:
        return None
