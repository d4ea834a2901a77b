"""Doorkeeper: answers libzmq's question, at every handshake, whether a key may come in (ZAP, RFC 27 of ZeroMQ)."""

from __future__ import annotations

from typing import Final

import zmq
from zmq.utils import z85

from scopeline.endpoint import ZmqContext
from scopeline.keys import EngineKeys

_ADDRESS: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"
_MECHANISM: Final = b"CURVE"


class Doorkeeper:
    """The one ZAP handler of a context. Every socket of the context that was locked with `EngineKeys.lock` asks it.

    pyzmq's own `Authenticator` does the same as a coroutine for an event loop; we have none, and need one mechanism of
    its four. A peer that is let in carries its public key with every message (property `User-Id`).
    """

    def __init__(self, context: ZmqContext, keys: EngineKeys) -> None:
        self._keys = keys
        self.socket = context.socket(zmq.REP)
        self.socket.bind(_ADDRESS)
        self.turned_away = 0
        """Handshakes that were refused."""

    def serve(self) -> None:
        """Answer one question; the poller said that there is one."""
        self.socket.send_multipart(self._answer(self.socket.recv_multipart()))

    def close(self) -> None:
        """Leave. From here on nobody new is let in."""
        self.socket.close(linger=0)

    def _answer(self, question: list[bytes]) -> list[bytes]:
        # version, request id, domain, peer's address, its routing id, mechanism, credentials
        request = question[1] if len(question) > 1 else b""
        user = self._user(question)
        if user is None:
            self.turned_away += 1
            return [_VERSION, request, b"400", b"this key is not allowed here", b"", b""]
        return [_VERSION, request, b"200", b"OK", user, b""]

    def _user(self, question: list[bytes]) -> bytes | None:
        if (
            len(question) != 7
            or question[0] != _VERSION
            or question[5] != _MECHANISM
            or len(question[6]) != 32
        ):
            return None
        key: bytes = z85.encode(question[6])
        return key if self._keys.admits(question[2].decode("ascii", "replace"), key) else None
