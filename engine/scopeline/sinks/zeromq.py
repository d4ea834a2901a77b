"""ZmqSink: publishes messages over ZeroMQ, without ever waiting for a subscriber."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from typing import Final

import zmq

from scopeline.endpoint import ZmqContext, bind
from scopeline.keys import EngineKeys
from scopeline.wire import DEFAULT_ADDRESS, TOPICS, Encoder, Encoding, Message

HIGH_WATER_MARK: Final = 10_000
"""Messages kept for one subscriber that does not read: close to 3 minutes at 60 frames/s. A frame message of
two heads takes 1.4 kB, so that one stuck subscriber costs 14 MB and never more; and a burst of 10,000
messages, sent faster than a Python subscriber can read them, arrives whole."""

LINGER_MS: Final = 500
"""How long `close` may go on delivering. The house rule is `linger=0`, but that throws away what the I/O
thread has not given to the kernel yet, and with it the end of the stream: of 10,000 messages to a subscriber
that read, 9,730 and 9,979 arrived. With 500 ms all of them did; `close` returns when the last byte is handed
over (0.13 s there, else at once), and a stuck subscriber holds up the end of a run by half a second and no
more."""

_SUBSCRIPTION_LIMIT_BYTES: Final = 1024
"""Subscribers send topics and nothing else; a peer that sends more is cut off. 256 would be enough for topics, but the
limit holds for the handshake too, and the message in which a client proves its key has 257 bytes and a few more."""
_SUBSCRIPTIONS_PER_PUBLISH: Final = 64
"""A peer that subscribes without end costs each `publish` this many readings and no more."""


class ZmqSink:
    """Publishes each message as the multipart `[topic, payload]`. Made, worked and closed by one thread.

    `publish` never waits. What a subscriber does not take is kept for it up to the high-water mark and
    dropped beyond, for this subscriber alone; `seq` and `sent` tell it how many it missed. `CONFLATE` is not
    used: on multipart messages it delivers payloads without their topic.

    Args:
        address: `tcp://127.0.0.1:5557`, `tcp://[::1]:5557`, `tcp://127.0.0.1:*` for a free port, or `ipc://<path>`.
        encoding: `json` or `msgpack`.
        high_water_mark: messages kept for each subscriber that lags.
        context: to share with a `Desk`, which asks this socket's peers for their keys; whoever made it ends it, after
            `close`. One of the sink's own when left out.
        keys: only subscribers whose key is allowed get anything. Needed for an address that other machines can reach.
            Without a `Desk` (or another `Doorkeeper`) at work in the same context nobody is let in.

    Raises:
        SinkError: the address is no address, is taken, or could be reached by strangers without keys.
    """

    address: str
    """Where the socket is really bound: with the port that was free, if any port would do."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        encoding: Encoding = "json",
        high_water_mark: int = HIGH_WATER_MARK,
        context: ZmqContext | None = None,
        keys: EngineKeys | None = None,
    ) -> None:
        self._encoder = Encoder(encoding)
        self._subscriptions: Counter[bytes] = Counter()
        with ExitStack() as opened:
            if context is None:
                context = zmq.Context()
                opened.callback(context.term)
            # XPUB is PUB that also tells who subscribes to what.
            self._socket = context.socket(zmq.XPUB)
            opened.callback(self._socket.close, linger=0)
            self._socket.sndhwm = high_water_mark
            self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
            self._socket.setsockopt(zmq.MAXMSGSIZE, _SUBSCRIPTION_LIMIT_BYTES)
            if keys is not None:
                keys.lock(self._socket, "subscribers")
            self.address = bind(self._socket, address, doing="publish", keyed=keys is not None)
            self._opened = opened.pop_all()

    def publish(self, message: Message) -> None:
        """Hand one message to all subscribers, and return at once."""
        self._note_subscriptions()
        self._socket.send_multipart(self._encoder.encode(message), zmq.NOBLOCK)

    def subscribers(self, topic: str = "status") -> int:
        """How many subscribers want this topic now."""
        self._note_subscriptions()
        return sum(
            count for prefix, count in self._subscriptions.items() if topic.encode().startswith(prefix)
        )

    def wait_for_subscriber(self, timeout_s: float, *, topic: str = "status", count: int = 1) -> bool:
        """Wait until `count` subscribers want the topic; False when they did not come in time.

        `scopeline.subscriber.Subscriber` asks for `status` last: when that is known, its other topics are.
        """
        end_s = time.monotonic() + timeout_s
        while self.subscribers(topic) < count:
            left_ms = round((end_s - time.monotonic()) * 1000)
            if left_ms <= 0 or not self._socket.poll(left_ms):
                return self.subscribers(topic) >= count
        return True

    def close(self) -> None:
        """Deliver what is still taken within half a second, then give the address back. May be called
        twice."""
        self._socket.close(linger=LINGER_MS)
        self._opened.close()

    def _note_subscriptions(self) -> None:
        for _ in range(_SUBSCRIPTIONS_PER_PUBLISH):
            if not int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
                return
            wish = self._socket.recv(zmq.NOBLOCK)
            if not any(topic.encode().startswith(wish[1:]) for topic in TOPICS):
                continue  # a peer may ask for anything; only what we have is counted, so that nothing grows
            if wish[:1] == b"\1":
                self._subscriptions[wish[1:]] += 1
            elif wish[:1] == b"\0" and self._subscriptions[wish[1:]] > 0:
                self._subscriptions[wish[1:]] -= 1
