"""LiveEngine: `scopeline live` in a process of its own, as a user runs it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

_PROGRAM: Final = (sys.executable, "-c", "from scopeline.cli import main; main()")
_END_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where an engine's three sockets are."""

    publish: str
    control: str
    replay: str

    @classmethod
    def on(cls, host: str) -> Addresses:
        """Ports that nobody listens on now, on this machine."""
        with socket.socket() as a, socket.socket() as b, socket.socket() as c:
            for probe in (a, b, c):
                probe.bind(("127.0.0.1", 0))
            return cls(*(f"tcp://{host}:{probe.getsockname()[1]}" for probe in (a, b, c)))


class LiveEngine:
    """A running engine."""

    def __init__(self, process: subprocess.Popen[bytes], addresses: Addresses, log: Path) -> None:
        self._process, self._log = process, log
        self._watched = psutil.Process(process.pid)
        self.addresses = addresses

    @property
    def memory_mb(self) -> float:
        """Resident memory."""
        return float(self._watched.memory_info().rss) / 1e6

    @property
    def processor_s(self) -> float:
        """Processor time so far, user and system."""
        spent = self._watched.cpu_times()
        return float(spent.user + spent.system)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """What it wrote to its terminal."""
        return self._log.read_text("utf-8", "replace")

    def end(self) -> int:
        """Stop it as a service manager does; returns its exit code, 130 for an orderly end."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


@contextmanager
def live_engine(
    source: Path, folder: Path, addresses: Addresses, *, keys: Path | None = None, inside: Sequence[str] = ()
) -> Iterator[LiveEngine]:
    """An engine that replays a recording at its own pace, with journal, replay and control.

    Args:
        folder: For its journal and what it writes to its terminal.
        keys: Folder of keys.
        inside: Command that runs another one somewhere else: `ip netns exec room`.
    """
    log = folder / "terminal.log"
    words = ["live", str(source), "--pipeline", "demo", "--journal", str(folder / "journal")]
    words += ["--publish", addresses.publish, "--control", addresses.control, "--replay", addresses.replay]
    words += ["--keys", str(keys)] if keys else []
    with (
        log.open("wb") as terminal,
        subprocess.Popen(
            [*inside, *_PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=terminal, stderr=subprocess.STDOUT
        ) as process,
    ):
        engine = LiveEngine(process, addresses, log)
        try:
            yield engine
        finally:
            engine.end()
