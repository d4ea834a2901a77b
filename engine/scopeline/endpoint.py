"""Endpoint: where a socket of ours may listen, and the words for why it may not."""

from __future__ import annotations

import errno
import ipaddress
import socket as os_socket
from pathlib import Path
from typing import Final, TypeAlias

import zmq

from scopeline.errors import SinkError

ZmqContext: TypeAlias = "zmq.Context[zmq.Socket[bytes]]"
ZmqSocket: TypeAlias = "zmq.Socket[bytes]"

DEFAULT_REPLAY: Final = "tcp://127.0.0.1:5558"
DEFAULT_CONTROL: Final = "tcp://127.0.0.1:5559"

HANDSHAKE_MS: Final = 5_000
"""A peer that connects and then does not speak ZeroMQ is cut off after this; libzmq itself waits 30 s."""


def bind(socket: ZmqSocket, address: str, *, doing: str, keyed: bool) -> str:
    """Bind the socket, and return where it is really bound: with the port that was free, if any port would do.

    Args:
        address: `tcp://127.0.0.1:5557`, `tcp://[::1]:5557`, `tcp://127.0.0.1:*` for a free port, or `ipc://<path>`.
        doing: What the socket is for, as in "cannot publish on ...".
        keyed: The socket asks every peer for a key; without that it stays on this machine.

    Raises:
        SinkError: the address is no address, is taken, or could be reached by strangers.
    """
    endpoint = _checked(address, doing, keyed)
    socket.handshake_ivl = HANDSHAKE_MS
    socket.ipv6 = endpoint.startswith("tcp://[")
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            raise SinkError(_TAKEN.format(doing=doing, address=address)) from error
        raise SinkError(f"cannot {doing} on {address}: {error.strerror}") from error
    return socket.get_string(zmq.LAST_ENDPOINT)


def _checked(address: str, doing: str, keyed: bool) -> str:
    """The address in the form libzmq binds, after refusing what leaves this machine without keys."""
    transport, _, rest = address.partition("://")
    if transport == "ipc" and rest:
        _refuse_taken_path(address, rest, doing)
        return address
    host, _, port = rest.rpartition(":")
    if transport != "tcp" or not host or not (port.isdecimal() or port == "*"):
        raise SinkError(f"the address must be tcp://127.0.0.1:<port> or ipc://<path>, got {address!r}")
    if port.isdecimal() and int(port) > 65535:
        raise SinkError(f"the port must be at most 65535, or * for a free one, got {address!r}")
    if not keyed and not _is_loopback(host):
        raise SinkError(
            f"without keys the address must be on this machine (127.0.0.1, [::1] or ipc://), got {address!r}: "
            f"whoever reaches this port could come in. {_HOW_TO_OPEN}"
        )
    return f"tcp://{'127.0.0.1' if host == 'localhost' else host}:{'*' if port == '0' else port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _refuse_taken_path(address: str, path: str, doing: str) -> None:
    """libzmq would unlink the socket file of a running engine and take its place; tcp refuses by itself."""
    if path.startswith(("@", "*")) or not Path(path).is_socket():
        return
    with os_socket.socket(os_socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return  # left over from an engine that was killed
    raise SinkError(_TAKEN.format(doing=doing, address=address))


_TAKEN: Final = (
    "cannot {doing} on {address}: somebody else does already, perhaps another scopeline. "
    "Stop it, or choose another port; tcp://127.0.0.1:* takes any free one"
)
_HOW_TO_OPEN: Final = (
    "Make keys with `scopeline keys new engine` and admit readers with `scopeline keys allow` (docs/operator.md), "
    "or stay on tcp://127.0.0.1 and let other machines in through a tunnel, e.g. ssh -L 5557:127.0.0.1:5557"
)
