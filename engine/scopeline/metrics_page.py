"""Metrics page: serves the metrics over HTTP to whoever asks on this machine.

One client at a time, each with a fixed time to ask and to take its answer, so that none can hold it up or keep it from
ending. The page is small and asked for every few seconds; a server with a thread per client would be more to go wrong.
"""

from __future__ import annotations

import ipaddress
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from scopeline.errors import ConfigError, SinkError

DEFAULT_METRICS: Final = "127.0.0.1:9464"
"""The port that OpenTelemetry's Prometheus exporters use."""
ASK_S: Final = 0.4
"""How long a client may take to ask."""
TAKE_S: Final = 0.4
"""How long it may take to accept its answer; with `ASK_S` less than the second in which `work` must end."""
_MOST_BYTES: Final = 8192
_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class MetricsPage:
    """Serves `GET /metrics`. A `Companion`.

    The address is bound by the constructor, so that a wrong one is told at the start.

    Args:
        address: `127.0.0.1:9464`, `[::1]:9464` or `localhost:9464`; port 0 takes any that is free.
        page: Makes the page, called for every request.

    Raises:
        ConfigError: the address is none, or could be reached from another machine.
        SinkError: it is taken.
    """

    name = "metrics"

    def __init__(self, address: str, page: Callable[[], bytes]) -> None:
        host, port = _parse(address)
        self._page = page
        self._working = threading.Lock()
        self._wake, self._waken = socket.socketpair()
        self._listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((host, port))
            self._listener.listen()
            self._listener.setblocking(False)
        except OSError as error:
            self._close_sockets()
            raise SinkError(
                f"metrics on {address}: {error.strerror}; another program has it: choose another port"
            ) from error
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._listener.getsockname()[1]}/metrics"

    def work(self) -> None:
        """Answer requests until `stop`."""
        with self._working, selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._wake in ready:
                    return
                with suppress(OSError):  # a client that went away is its own affair
                    self._serve_one()

    def stop(self) -> None:
        """Make `work` return within a second. From any thread, any number of times, also before `work`."""
        with suppress(OSError):  # closed already
            self._waken.send(b"\0")

    def close(self) -> None:
        """Give the address back. Ends `work` and waits for that, if it still goes on: a second Ctrl-C unwinds a run
        whose threads nobody waited for, and one that sleeps on closed sockets would keep the process for ever."""
        self.stop()
        with self._working:
            self._close_sockets()

    def _close_sockets(self) -> None:
        for each in (self._listener, self._wake, self._waken):
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve_one(self) -> None:
        client, _ = self._listener.accept()
        with client:
            answer = self._answer(_request_line(client))
            client.settimeout(TAKE_S)
            client.sendall(answer)

    def _answer(self, request: str) -> bytes:
        method, _, rest = request.partition(" ")
        path, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1."):
            return _response("400 Bad Request", b"wanted an HTTP/1 request\n")
        if method not in {"GET", "HEAD"}:
            return _response("405 Method Not Allowed", b"wanted GET\n")
        if path.partition("?")[0] != "/metrics":
            return _response("404 Not Found", b"the page is /metrics\n")
        whole = _response("200 OK", self._page())
        return whole if method == "GET" else whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _request_line(client: socket.socket) -> str:
    """The first line of a request that is read to the end of its head; empty when it does not come in time."""
    until_s, head = time.monotonic() + ASK_S, b""
    while b"\r\n\r\n" not in head and len(head) < _MOST_BYTES:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return ""
        client.settimeout(left_s)
        try:
            piece = client.recv(_MOST_BYTES)
        except TimeoutError:
            return ""
        if not piece:
            return ""
        head += piece
    return head.partition(b"\r\n")[0].decode("latin-1")


def _response(status: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {_CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    if not port.isdecimal() or int(port) > 65535 or not _is_address(host):
        raise ConfigError(f"metrics: wanted an address such as {DEFAULT_METRICS}, got {address!r}")
    if not ipaddress.ip_address(host).is_loopback:
        raise ConfigError(
            f"metrics: wanted an address of this machine (127.0.0.1, [::1]), got {address!r}: the page knows no "
            "key, so whoever reaches the port could read it. Let a Prometheus or agent on this machine scrape it, "
            "or put a proxy with TLS and a password before it"
        )
    return host, int(port)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
