"""A `scopeline batch` in a process of its own, as a user starts it: watched, killed, started again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_PROGRAM = "from scopeline.cli import main; main()"


@dataclass(slots=True)
class Watched:
    """What a finished call came to."""

    exit_code: int
    seconds: float
    said: str
    memory_mb: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the start and the resident memory of the largest process, in 10^6 bytes."""
    went_on: bool = False
    """Whether an earlier call had done a part of it."""


def arguments(inputs: Path, out: Path, pipeline: str, more: Sequence[str] = ()) -> list[str]:
    """The command line."""
    return [sys.executable, "-c", _PROGRAM, "batch", str(inputs), "-p", pipeline, "-o", str(out), *more]


def run_batch(command: Sequence[str], *, every_s: float | None = None) -> Watched:
    """Run it to its end.

    Args:
        every_s: Seconds between two readings of the memory of it and its workers; None: none is read.
    """
    started_s = time.monotonic()
    readings: list[tuple[float, float]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while every_s is not None:
            try:
                process.wait(every_s)
                break
            except subprocess.TimeoutExpired:
                readings.append((round(time.monotonic() - started_s, 1), _largest_mb(process.pid)))
        said, _ = process.communicate()
    return Watched(process.returncode, time.monotonic() - started_s, said, readings)


def kill_batch(command: Sequence[str], after_s: float) -> bool:
    """Start it and kill it with SIGKILL after a time; False when it was done before."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def _largest_mb(pid: int) -> float:
    sizes = [0]
    try:
        root = psutil.Process(pid)
        for each in [root, *root.children(recursive=True)]:
            sizes.append(each.memory_info().rss)
    except psutil.NoSuchProcess:
        pass
    return round(max(sizes) / 1e6, 1)
