"""LossyRelay: a subscriber that keeps what it received and passes it on with planted losses."""

from __future__ import annotations

import random
import threading

import zmq

from scopeline.wire import TOPICS
from scopeline_bench.received import Received

_LOSES_EVERY = 60
"""Messages between two losses, on average."""
_LONGEST_LOSS = 60
_QUIET_MS = 500
"""So long without a message after the sender's death means that nothing is left in the sockets."""


class LossyRelay:
    """Stands between an engine and a subscriber, like a network that drops. `work` belongs to one thread.

    Args:
        upstream: The engine's address.
        downstream: Where the subscriber listens.
        seed: Decides what is lost.
    """

    def __init__(self, upstream: str, downstream: str, seed: int) -> None:
        self._upstream, self._downstream = upstream, downstream
        self._chance = random.Random(seed)
        self._sender_is_dead = threading.Event()
        self.first = threading.Event()
        """Set when the first frame came."""
        self.received = Received()
        """Everything that came: what a subscriber had when the engine died."""
        self.lost = Received()
        """What was not passed on."""

    def work(self) -> None:
        """Pass on until the sender is dead and the sockets are empty."""
        with (
            zmq.Context() as context,
            context.socket(zmq.XPUB) as below,
            context.socket(zmq.SUB) as above,
        ):
            below.linger = 0
            below.sndhwm = above.rcvhwm = 0
            below.bind(self._downstream)
            while below.recv() != b"\1status":  # the subscriber asks for it last
                pass
            above.connect(self._upstream)
            for topic in TOPICS:
                above.subscribe(topic)
            self._pass_on(above, below)

    def sender_died(self) -> None:
        self._sender_is_dead.set()

    def _pass_on(self, above: zmq.Socket[bytes], below: zmq.Socket[bytes]) -> None:
        losing, seen_status = 0, False
        while above.poll(_QUIET_MS) or not self._sender_is_dead.is_set():
            if not above.poll(0):
                continue
            topic, payload = above.recv_multipart()
            self.received.add(topic, payload)
            if topic == b"frame":
                self.first.set()
            seen_status |= topic == b"status"  # it says where to ask for what is lost afterwards
            if losing == 0 and seen_status and self._chance.random() < 1 / _LOSES_EVERY:
                losing = self._chance.randint(1, _LONGEST_LOSS)
            if losing and topic != b"status":
                losing -= 1
                self.lost.add(topic, payload)
            else:
                below.send_multipart([topic, payload])
