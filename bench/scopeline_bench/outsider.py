"""Outsider: a client in a process of its own that takes what it can get. `python -m scopeline_bench.outsider JSON`."""

from __future__ import annotations

import json
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import zmq

from scopeline.keys import client_keys

_GREETING = b"\xff" + b"\0" * 8 + b"\x7f\3\1" + b"NULL".ljust(20, b"\0") + b"\0" * 32


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go and for how long."""

    publish: str
    control: str
    replay: str
    key: str | None
    """Secret key file; None to come without a key."""
    session: str
    seconds: float


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was to be had, in messages."""

    publish: int
    replay: int
    control: int
    raw_bytes: int
    """The most that a plain TCP connection to one of the sockets was told."""
    session: str
    """As control says, or empty."""


def run(errand: Errand) -> Found:
    """Connect to everything at once and collect."""
    keys = client_keys(Path(errand.key)) if errand.key else None
    with zmq.Context() as context:
        kinds = {errand.publish: zmq.SUB, errand.replay: zmq.DEALER, errand.control: zmq.DEALER}
        sockets = {address: context.socket(kind) for address, kind in kinds.items()}
        poller = zmq.Poller()
        for address, client in sockets.items():
            client.linger = 0
            if keys is not None:
                keys.unlock(client)
            client.connect(address)
            poller.register(client, zmq.POLLIN)
        sockets[errand.publish].subscribe(b"")
        wish = {"session": errand.session, "topic": "frame", "from_seq": 0, "to_seq": 9}
        sockets[errand.replay].send(json.dumps(wish).encode())
        sockets[errand.control].send(b'{"do": "status"}')
        got: dict[str, list[list[bytes]]] = {address: [] for address in sockets}
        end_s = time.monotonic() + errand.seconds
        while (left_ms := round((end_s - time.monotonic()) * 1000)) > 0:
            ready = dict(poller.poll(left_ms))
            for address, client in sockets.items():
                if client in ready:
                    got[address].append(client.recv_multipart())
        for client in sockets.values():
            client.close()
    answers = got[errand.control]
    return Found(
        publish=len(got[errand.publish]),
        replay=len(got[errand.replay]),
        control=len(answers),
        raw_bytes=max(_listen_raw(address) for address in sockets),
        session=json.loads(answers[0][-1]).get("session", "") if answers else "",
    )


def _listen_raw(address: str) -> int:
    """Bytes that come to a connection which greets without a key and asks for everything."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    heard = 0
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0) as raw:
        ready = b"\x05READY\x0bSocket-Type\0\0\0\x03SUB"
        raw.sendall(_GREETING + b"\x04" + bytes([len(ready)]) + ready + b"\x00\x01\x01")
        while part := raw.recv(4096):
            heard += len(part)
    return heard


if __name__ == "__main__":
    print(msgspec.json.encode(run(msgspec.json.decode(sys.argv[1], type=Errand))).decode())
