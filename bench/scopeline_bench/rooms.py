"""Rooms: two network namespaces with a cable between them. Who gets what from an engine on a non-loopback address."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
from rich.progress import Progress

from scopeline.errors import WireError
from scopeline.keys import ENGINE, KeyFolder
from scopeline_bench.live_engine import Addresses, live_engine
from scopeline_bench.outsider import Errand, Found

_ENGINE_IP, _CLIENT_IP = "10.213.77.1", "10.213.77.2"
_PATIENCE_S: Final = 60.0
_VISIT_S: Final = 3.0
_GREETING_BYTES: Final = 64
"""What any ZeroMQ socket says to whoever connects: its version and that it wants CURVE."""


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What a client got in three seconds, and whether it should."""

    who: str
    reads: bool
    """It should get what is published and replayed."""
    speaks: bool
    """It should be answered by control."""
    found: Found

    @property
    def is_right(self) -> bool:
        found = self.found
        return (
            (found.publish > 0) == self.reads
            and (found.replay > 0) == self.reads
            and (found.control > 0) == self.speaks
            and found.raw_bytes <= _GREETING_BYTES
        )


class NoRoomsError(Exception):
    """Network namespaces cannot be made here; says why."""


def measure_visits(source: Path, folder: Path, progress: Progress) -> tuple[list[Visit], str | None]:
    """An engine in one room, clients with and without keys in the other. Or no visits, and why."""
    try:
        with _two_rooms() as (engine_room, client_room):
            return _visits(source, folder, progress, engine_room, client_room), None
    except NoRoomsError as error:
        return [], f"not measured: clients in another network namespace ({error})"


def _visits(
    source: Path, folder: Path, progress: Progress, engine_room: Sequence[str], client_room: Sequence[str]
) -> list[Visit]:
    home = folder / "rooms"
    home.mkdir()
    keys = KeyFolder(folder / "keys")
    keys.create(ENGINE)
    pairs = {name: keys.create(name) for name in ("viewer", "pedal", "stranger")}
    keys.allow("viewer", pairs["viewer"].public, "subscribers")
    keys.allow("pedal", pairs["pedal"].public, "operators")
    addresses = Addresses(*(f"tcp://{_ENGINE_IP}:{port}" for port in (5557, 5559, 5558)))
    task = progress.add_task("clients in another namespace", total=6)
    visits: list[Visit] = []
    with live_engine(source, home, addresses, keys=keys.path, inside=engine_room) as engine:

        def send(key: str | None, session: str = "none", seconds: float = _VISIT_S) -> Found:
            file = str(keys.secret_file(key)) if key else None
            errand = Errand(
                publish=addresses.publish,
                control=addresses.control,
                replay=addresses.replay,
                key=file,
                session=session,
                seconds=seconds,
            )
            return _send(client_room, errand)

        end_s, session = time.monotonic() + _PATIENCE_S, ""
        while not session:
            if not engine.is_running or time.monotonic() > end_s:
                raise WireError(f"the engine did not begin: {engine.said[-2000:]}")
            session = send("pedal", seconds=1.0).session
        plan: list[tuple[str, str | None, bool, bool]] = [
            ("without a key", None, False, False),
            ("a key that is on no list", "stranger", False, False),
            ("a subscriber's key", "viewer", True, False),
            ("an operator's key", "pedal", False, True),
        ]
        for who, key, reads, speaks in plan:
            visits.append(Visit(who=who, reads=reads, speaks=speaks, found=send(key, session)))
            progress.advance(task)
        for name in ("viewer", "pedal"):
            keys.revoke(name)
            found = send(name, session)
            visits.append(Visit(who=f"{name}, revoked while it ran", reads=False, speaks=False, found=found))
            progress.advance(task)
    progress.remove_task(task)
    return visits


def _send(room: Sequence[str], errand: Errand) -> Found:
    command = [
        *room,
        sys.executable,
        "-m",
        "scopeline_bench.outsider",
        msgspec.json.encode(errand).decode(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    if done.returncode:
        raise WireError(f"a client failed: {done.stderr[-2000:]}")
    return msgspec.json.decode(done.stdout, type=Found)


@contextmanager
def _two_rooms() -> Iterator[tuple[list[str], list[str]]]:
    """The commands that run another one in the engine's room and in the clients'.

    Raises:
        NoRoomsError: the system has none, or does not let us.
    """
    rooms = [f"scopeline-{name}-{os.getpid()}" for name in ("engine", "client")]
    with ExitStack() as made:
        for room in rooms:
            _ip("netns", "add", room)
            made.callback(_ip, "netns", "delete", room)
        # The cable lies in the rooms from the start: this machine's own network never sees it.
        _ip(
            "-n", rooms[0], "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", rooms[1]
        )
        for room, address in zip(rooms, (_ENGINE_IP, _CLIENT_IP), strict=True):
            _ip("-n", room, "address", "add", f"{address}/30", "dev", "cable")
            _ip("-n", room, "link", "set", "cable", "up")
            _ip("-n", room, "link", "set", "lo", "up")
        yield ["ip", "netns", "exec", rooms[0]], ["ip", "netns", "exec", rooms[1]]


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise NoRoomsError("there is no `ip` command") from error
    except subprocess.CalledProcessError as error:
        raise NoRoomsError(f"ip {' '.join(words)}: {error.stderr.strip()}") from error
