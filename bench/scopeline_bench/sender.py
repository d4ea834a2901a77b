"""Sender: one transmission that runs beside the bench, can be killed like a box whose plug is pulled, and come back."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from scopeline_bench.clip import cache_folder
from scopeline_bench.painter import PaintOrder, Plant, loop_plan
from scopeline_bench.scope_loop import draw_loop
from scopeline_bench.stamps import Rows64, read_stamps
from scopeline_bench.transmission import FeedKind, Transmission

PICTURES = 30
LIFE = 100_000
"""The first number of each life is a multiple of this: a number says which life its picture is from."""


class Sender:
    """Painter and transmitter, which live and die together, as often as wanted. A context manager; nothing stays.

    Args:
        transmission: What is sent.
        folder: For stamps and logs.
        plants: What is done to which picture of each life.
    """

    def __init__(
        self, transmission: Transmission, folder: Path, plants: Mapping[int, Plant] | None = None
    ) -> None:
        self.transmission = transmission
        self._plants = dict(plants or {})
        self.lives = 0
        self._folder = folder
        self._loop = draw_loop(loop_plan(transmission, PICTURES), cache_folder())
        self._child: subprocess.Popen[bytes] | None = None
        if transmission.kind == "raw":
            os.mkfifo(transmission.pipe)

    def start(self) -> int:
        """Begin another life; the number of its first picture."""
        first = self.lives * LIFE
        self.lives += 1
        order = PaintOrder(
            transmission=self.transmission,
            loop=str(self._loop),
            pictures=PICTURES,
            made=str(self._folder / "made"),
            first=first,
            log=str(self._folder / "transmitter.log"),
            plants=self._plants,
        )
        words = [sys.executable, "-m", "scopeline_bench.painter", msgspec.json.encode(order).decode()]
        # A session of its own: it is ended together with its transmitter.
        self._child = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
        return first

    def kill(self) -> int:
        """SIGKILL for painter and transmitter; `time.monotonic_ns()` of that moment."""
        now_ns = time.monotonic_ns()
        child = self._child
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            assert child.stdin is not None
            child.stdin.close()
            self._child = None
        return now_ns

    @property
    def has_ended(self) -> bool:
        """It ended by itself: its transmitter gave up."""
        return self._child is not None and self._child.poll() is not None

    def made(self) -> Rows64:
        """(N, 2): number and `made_ns` of every picture of all lives so far."""
        return read_stamps(self._folder / "made", 2)

    def first_made_ns(self, first: int) -> int | None:
        """When the first picture of a life was made, None before it was."""
        rows = self.made()
        rows = rows[rows[:, 0] >= first]
        return int(rows[0, 1]) if len(rows) else None

    def complaints(self) -> str:
        """The last thing that a transmitter said of itself; empty when it was content."""
        log = self._folder / "transmitter.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        return lines[-1] if lines else ""

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def transmission_of(kind: FeedKind, folder: Path, *, width_px: int, height_px: int, fps: int) -> Transmission:
    """A transmission of that kind at a free port, or with a named pipe in the folder."""
    pipe = str(folder / "card") if kind == "raw" else ""
    return Transmission(
        kind=kind, width_px=width_px, height_px=height_px, fps=fps, port=_free_port(), pipe=pipe
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
