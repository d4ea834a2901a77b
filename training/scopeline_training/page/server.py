"""Server: the page on this machine's own address, until it is stopped."""

from __future__ import annotations

import ipaddress
import socket

import uvicorn
from fastapi import FastAPI

from scopeline.errors import ConfigError


class PageServer:
    """Serves the page. The address is taken here, so that a taken port is told at once.

    Args:
        app: The page.
        address: Of this machine only.
        port: 0 takes a free one.

    Raises:
        ConfigError: the address can be reached from outside, or the port is taken.
    """

    def __init__(self, app: FastAPI, *, address: str = "127.0.0.1", port: int = 0) -> None:
        check_loopback(address)
        try:
            self._socket = socket.create_server((address, port))
        except OSError as error:
            raise ConfigError(
                f"page: cannot take {address}:{port} ({error.strerror}); choose another with --port"
            ) from error
        self._address, self._port = address, int(self._socket.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", ws="none", loop="asyncio")
        )

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return f"http://{self._address}:{self._port}/"

    def run(self) -> None:
        """Serve until `stop`, or Ctrl-C in the main thread."""
        with self._socket:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Make `run` return. From any thread."""
        self._server.should_exit = True


def check_loopback(address: str) -> None:
    """Refuses addresses that others could reach.

    Raises:
        ConfigError: says why, and what to do instead.
    """
    try:
        is_own = address == "localhost" or (
            ipaddress.ip_address(address).is_loopback and ipaddress.ip_address(address).version == 4
        )
    except ValueError:
        is_own = False
    if not is_own:
        raise ConfigError(
            f"page: wanted this machine's own address (127.0.0.1), got {address!r}: the page has neither password nor "
            "encryption, and pictures of patients would cross the network in the clear; to use it from elsewhere "
            "make a tunnel: ssh -L 8765:127.0.0.1:8765 THIS_MACHINE"
        )
