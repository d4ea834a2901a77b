"""Painter: a process that stands in for the scope: it makes numbered pictures on time and hands them to a transmitter.

A picture is made when its number is burnt in; that moment is written down before anything else happens to it. Its
number is that of its place in time: a place that went by while the transmitter still took the picture before is a
number that was never made, as a camera leaves one out. It ends, and its transmitter with it, when its standard input
ends.

    python -m scopeline_bench.painter '{"transmission": {...}, ...}'
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from scopeline_bench.scope_loop import LoopPlan, ScopeLoop
from scopeline_bench.stamps import StampWriter
from scopeline_bench.transmission import Transmission

_PIPE_BYTES = 1 << 20


class Plant(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to one picture, so that a meter can be checked against it."""

    held_s: float = 0.0
    """Between its making and its way into the transmitter."""
    is_lost: bool = False
    """It is made and never sent."""
    ahead: int = 0
    """It shows the number of the picture so many places later (or earlier)."""


class PaintOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a painter is told to do."""

    transmission: Transmission
    loop: str
    """File of raw pictures."""
    pictures: int
    """How many are in it."""
    made: str
    """File of stamps: number, `time.monotonic_ns()`."""
    first: int
    """Number of the first picture."""
    log: str
    """File that gets what the transmitter complains of."""
    plants: dict[int, Plant] = {}
    """By place of the picture."""


_AS_IT_IS = Plant()


def main() -> None:
    """Work off the order in the first argument."""
    order = msgspec.json.decode(sys.argv[1], type=PaintOrder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the bench's to answer
    loop = ScopeLoop(Path(order.loop), loop_plan(order.transmission, order.pictures))
    stamps = StampWriter(Path(order.made))
    outlet = _named_pipe(order) if order.transmission.kind == "raw" else _program(order)
    with contextlib.closing(stamps), contextlib.suppress(BrokenPipeError), outlet as pipe:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(pipe, False)
        for place in _places(order.transmission.fps):
            plant = order.plants.get(place, _AS_IT_IS)
            number = order.first + place + plant.ahead
            content = loop.picture(number)
            made_ns = time.monotonic_ns()
            stamps.write(number, made_ns)
            if plant.held_s and not _waits_until(made_ns + round(plant.held_s * 1e9)):
                return
            if not plant.is_lost and not _write(pipe, content):
                return


def loop_plan(transmission: Transmission, pictures: int) -> LoopPlan:
    """The pictures that a transmission shows."""
    return LoopPlan(
        transmission.width_px, transmission.height_px, transmission.fps, transmission.pixel_format, pictures
    )


def _places(fps: int) -> Iterator[int]:
    """Places in time, counted from now, each when it has come; ends with standard input."""
    start_ns, place = time.monotonic_ns(), 0
    while _waits_until(start_ns + place * 1_000_000_000 // fps):
        yield place
        place = max(place + 1, -(-(time.monotonic_ns() - start_ns) * fps // 1_000_000_000))


def _waits_until(deadline_ns: int) -> bool:
    """False when standard input has ended."""
    left_s = max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9)
    readable, _, _ = select.select([sys.stdin], [], [], left_s)
    return not readable


def _write(pipe: int, content: memoryview) -> bool:
    """False when standard input ended meanwhile: who listens for a reader that never comes takes nothing."""
    while content:
        readable, _, _ = select.select([sys.stdin], [pipe], [])
        if readable:
            return False
        content = content[os.write(pipe, content) :]
    return True


@contextlib.contextmanager
def _program(order: PaintOrder) -> Iterator[int]:
    with Path(order.log).open("ab") as log:
        program = subprocess.Popen(
            order.transmission.command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log
        )
    assert program.stdin is not None
    try:
        yield program.stdin.fileno()
    finally:
        program.kill()
        program.wait()
        with contextlib.suppress(BrokenPipeError):
            program.stdin.close()


@contextlib.contextmanager
def _named_pipe(order: PaintOrder) -> Iterator[int]:
    """Open for writing as soon as somebody reads."""
    while True:
        try:
            pipe = os.open(order.transmission.pipe, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError:  # nobody reads yet
            if not _waits_until(time.monotonic_ns() + 20_000_000):
                return
    try:
        yield pipe
    finally:
        os.close(pipe)


if __name__ == "__main__":
    main()
