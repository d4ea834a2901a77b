"""ZmqSink: publishes messages over ZeroMQ, without ever waiting for a subscriber."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Final

import zmq

from scopeline.errors import SinkError
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

_SUBSCRIPTION_LIMIT_BYTES: Final = 256
"""Subscribers send topics and nothing else; a peer that sends more is cut off."""
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

    Raises:
        SinkError: the address is not on this machine, is taken, or is no address.
    """

    address: str
    """Where the socket is really bound: with the port that was free, if any port would do."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        encoding: Encoding = "json",
        high_water_mark: int = HIGH_WATER_MARK,
    ) -> None:
        endpoint = _checked(address)
        self._encoder = Encoder(encoding)
        self._subscriptions: Counter[bytes] = Counter()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        # XPUB is PUB that also tells who subscribes to what.
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.sndhwm = high_water_mark
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _SUBSCRIPTION_LIMIT_BYTES)
        self._socket.ipv6 = endpoint.startswith("tcp://[")
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self._socket.close(linger=0)
            self._context.term()
            raise SinkError(_why_not_bound(address, error)) from error
        self.address = self._socket.get_string(zmq.LAST_ENDPOINT)

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
        if not self._socket.closed:
            self._socket.close(linger=LINGER_MS)
            self._context.term()

    def _note_subscriptions(self) -> None:
        for _ in range(_SUBSCRIPTIONS_PER_PUBLISH):
            if not self._socket.poll(0):
                return
            wish = self._socket.recv(zmq.NOBLOCK)
            if not any(topic.encode().startswith(wish[1:]) for topic in TOPICS):
                continue  # a peer may ask for anything; only what we have is counted, so that nothing grows
            if wish[:1] == b"\1":
                self._subscriptions[wish[1:]] += 1
            elif wish[:1] == b"\0" and self._subscriptions[wish[1:]] > 0:
                self._subscriptions[wish[1:]] -= 1


def _checked(address: str) -> str:
    """The address in the form libzmq binds, after refusing what leaves this machine."""
    transport, _, rest = address.partition("://")
    if transport == "ipc" and rest:
        _refuse_taken_path(address, rest)
        return address
    host, _, port = rest.rpartition(":")
    if transport != "tcp" or not host or not (port.isdecimal() or port == "*"):
        raise SinkError(f"the address must be tcp://127.0.0.1:<port> or ipc://<path>, got {address!r}")
    if not _is_loopback(host):
        raise SinkError(
            f"the address must be on this machine (127.0.0.1, [::1] or ipc://), got {address!r}: whoever "
            "reaches this port could read along, and this version has no keys yet to keep strangers out. Publish "
            "on tcp://127.0.0.1 and let other machines in through a tunnel, e.g. ssh -L 5557:127.0.0.1:5557"
        )
    return f"tcp://{'127.0.0.1' if host == 'localhost' else host}:{'*' if port == '0' else port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _refuse_taken_path(address: str, path: str) -> None:
    """libzmq would unlink the socket file of a running publisher and take its place; tcp refuses by
    itself."""
    if path.startswith(("@", "*")) or not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return  # left over from a publisher that was killed
    raise SinkError(_TAKEN.format(address=address))


_TAKEN: Final = (
    "cannot publish on {address}: somebody else does already, perhaps another scopeline. "
    "Stop it, or choose another port; tcp://127.0.0.1:* takes any free one"
)


def _why_not_bound(address: str, error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return _TAKEN.format(address=address)
    return f"cannot publish on {address}: {error.strerror}"
