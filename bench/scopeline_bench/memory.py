"""Whether a long run keeps anything: memory, threads, open files and sockets."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import psutil  # type: ignore[import-untyped]
from rich.console import Console

from scopeline.assemble import assemble
from scopeline.ports import Sink
from scopeline.sinks.zeromq import ZmqSink
from scopeline.sources.media import MediaSource
from scopeline.wire import FrameMessage, Message
from scopeline_bench.clip import SMALL
from scopeline_bench.contenders import Job, pipeline
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.report import Rows, describe, publish
from scopeline_bench.stage import bundle_folder, drawn_clip, progress_bar

EVERY = 1000
"""Frames between two readings."""
GROWTH_SHARE, GROWTH_MB = 0.01, 2.0
"""What may be gained after the first thousand frames; whichever is more."""


class Belongings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process holds."""

    threads: int
    files: int
    """Open descriptors: files, sockets, pipes, wake-up counters."""
    sockets: int


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What one run held while it went on and afterwards."""

    frames: list[int]
    rss_mb: list[float]
    """Resident memory in 10^6 bytes after as many frames."""
    before: Belongings
    after: Belongings
    seconds: float

    @property
    def growth_mb(self) -> float:
        """The highest reading after the first one, less the first."""
        return max(self.rss_mb[1:]) - self.rss_mb[0]

    @property
    def allowed_mb(self) -> float:
        return max(GROWTH_MB, GROWTH_SHARE * self.rss_mb[0])

    @property
    def slope_mb(self) -> float:
        """Least-squares growth per 1000 frames, the first reading included."""
        return float(np.polyfit(np.array(self.frames) / 1000, self.rss_mb, 1)[0])

    @property
    def is_flat(self) -> bool:
        return self.growth_mb <= self.allowed_mb

    @property
    def is_clean(self) -> bool:
        """Nothing is open that was not open before."""
        after, before = self.after, self.before
        return (
            after.threads <= before.threads
            and after.files <= before.files
            and after.sockets <= before.sockets
        )


def main(bundle: str, *, frames: int, out: Path | None) -> bool:
    """Measure, print, save; whether the run kept nothing."""
    console, machine = Console(), this_machine()
    with progress_bar(console) as progress:
        clip = drawn_clip(replace(SMALL, frames=frames), progress)
    console.print(f"one run over {frames} frames of {clip.name}")
    kept = measure_memory(
        clip,
        bundle_folder(bundle),
        say=lambda count, rss_mb: console.print(f"{count:6d} frames: {rss_mb:.1f} MB"),
    )
    publish("memory", console, out, machine, [_table(kept)], _notes(kept, machine), kept)
    return kept.is_flat and kept.is_clean


def measure_memory(
    clip: Path,
    bundle: Path,
    *,
    every: int = EVERY,
    say: Callable[[int, float], None] = lambda count, rss_mb: None,
) -> Kept:
    """One recorded run in this process, with a ZeroMQ socket that nobody listens to.

    Args:
        every: Frames between two readings.
        say: Called with each reading, in the concluding thread.
    """
    frames: list[int] = []
    readings: list[float] = []
    process = psutil.Process()

    def hear(message: Message) -> None:
        if isinstance(message, FrameMessage) and (message.frame + 1) % every == 0:
            frames.append(message.frame + 1)
            readings.append(process.memory_info().rss / 1e6)
            say(frames[-1], readings[-1])

    before = belongings()
    sinks: list[Callable[[], Sink]] = [lambda: ZmqSink("tcp://127.0.0.1:*")]
    job = Job(clip=str(clip), bundle=str(bundle), box=(0, 0, 1, 1))
    engine = assemble(
        pipeline(job), MediaSource(clip, threads=1), sinks, live=False, bulk=True, on_message=hear
    )
    seconds = engine.run().seconds
    del engine
    gc.collect()
    return Kept(frames=frames, rss_mb=readings, before=before, after=belongings(), seconds=seconds)


def belongings() -> Belongings:
    """What this process holds now."""
    process = psutil.Process()
    return Belongings(
        threads=process.num_threads(),
        files=process.num_fds(),
        sockets=len(process.net_connections(kind="all")),
    )


def _table(kept: Kept) -> Rows:
    rows = [(f"{count}", f"{mb:.1f}") for count, mb in zip(kept.frames, kept.rss_mb, strict=True)]
    return Rows(title="resident memory over one run", columns=("frames", "MB"), rows=tuple(rows))


def _notes(kept: Kept, machine: Machine) -> list[str]:
    before, after = kept.before, kept.after
    return [
        f"{'flat' if kept.is_flat else 'NOT FLAT'}: {kept.growth_mb:+.1f} MB after the first reading, "
        f"{kept.allowed_mb:.1f} allowed; slope {kept.slope_mb:+.2f} MB per 1000 frames.",
        f"{'nothing left open' if kept.is_clean else 'LEFT OPEN'}: before and after, threads {before.threads} and "
        f"{after.threads}, descriptors {before.files} and {after.files}, sockets {before.sockets} and {after.sockets}.",
        f"{kept.frames[-1]} frames in {kept.seconds:.0f} s.",
        describe(machine, load()),
    ]
