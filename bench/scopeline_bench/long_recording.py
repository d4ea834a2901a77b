"""Whether a long recording needs no more memory than a short one, and is the same in pieces as in one pass."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
from rich.console import Console

from scopeline.archive.code import code_hash
from scopeline.run_stamps import digests
from scopeline_bench.batch_process import Watched, arguments, run_batch
from scopeline_bench.clip import ClipPlan
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.report import Rows, describe, publish
from scopeline_bench.stage import drawn_clip, progress_bar

_PLAN = ClipPlan(1920, 1080, 25, 1, 6.0, loop=250)
"""At other frame rates the bit rate goes with it: a picture has as many bytes and costs as much to decode."""
_EVERY_S = 2.0
_SETTLED_SHARE = 0.2
"""Growth is reckoned from here on: by then every buffer has been used once."""
ALLOWED_SHARE, ALLOWED_MB = 0.05, 10.0


class Long(msgspec.Struct, frozen=True, kw_only=True):
    """What the two runs came to."""

    frames: int
    fps: int
    workers: int
    chunk_minutes: float
    pieces_s: float
    one_pass_s: float
    memory_mb: dict[str, list[tuple[float, float]]]
    """By run: seconds and resident memory of the largest process."""
    went_on: list[str]
    """Runs of which an earlier call had done a part; time and memory are those of the last one."""
    different: list[str]

    def growth_mb(self, run: str) -> float:
        """The highest reading after the first fifth, less the first after it."""
        sizes = [mb for _, mb in self.memory_mb[run]]
        settled = sizes[int(len(sizes) * _SETTLED_SHARE) :]
        return round(max(settled) - settled[0], 1) if settled else 0.0

    def is_flat(self, run: str) -> bool:
        sizes = [mb for _, mb in self.memory_mb[run]]
        return self.growth_mb(run) <= max(ALLOWED_MB, ALLOWED_SHARE * max(sizes, default=0.0))


def main(
    *,
    minutes: float,
    fps: int,
    workers: int,
    chunk_minutes: float,
    pipeline: str,
    work: Path | None,
    out: Path | None,
) -> bool:
    """Measure, print, save; whether memory was flat and the results were the same."""
    console, machine = Console(), this_machine()
    with progress_bar(console) as progress:
        clip = drawn_clip(_plan(minutes, fps), progress)
    with _place(work) as root:
        more = ["--workers", str(workers), "--chunk-minutes", str(chunk_minutes)]
        pieces = _run(arguments(clip, root / "pieces", pipeline, more), root / "pieces")
        console.print(f"in pieces: {pieces.seconds:.0f} s, exit code {pieces.exit_code}")
        more = ["--workers", "1", "--chunk-minutes", str(2 * minutes)]
        whole = _run(arguments(clip, root / "whole", pipeline, more), root / "whole")
        console.print(f"in one pass: {whole.seconds:.0f} s, exit code {whole.exit_code}")
        here, there = (digests(root / name / clip.stem) for name in ("pieces", "whole"))
    kept = Long(
        frames=round(60 * minutes * fps),
        fps=fps,
        workers=workers,
        chunk_minutes=chunk_minutes,
        pieces_s=round(pieces.seconds, 1),
        one_pass_s=round(whole.seconds, 1),
        memory_mb={"pieces": pieces.memory_mb, "one pass": whole.memory_mb},
        went_on=[name for name, run in (("pieces", pieces), ("one pass", whole)) if run.went_on],
        different=[name for name in sorted({*here, *there}) if here.get(name) != there.get(name)],
    )
    publish("long", console, out, machine, [_table(kept)], _notes(kept, machine, pieces, whole), kept)
    return not kept.different and all(kept.is_flat(run) for run in kept.memory_mb)


@contextlib.contextmanager
def _place(work: Path | None) -> Iterator[Path]:
    """A folder of this state of the code: ways that two states have gone would be compared otherwise."""
    if work is not None:
        place = work / code_hash().removeprefix("sha256:")
        place.mkdir(parents=True, exist_ok=True)
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="scopeline-long-") as folder:
        yield Path(folder)


def _run(command: Sequence[str], results: Path) -> Watched:
    """The run, or what an earlier call has kept of it."""
    kept = results.with_suffix(".json")
    if kept.is_file():
        return msgspec.json.decode(kept.read_bytes(), type=Watched)
    went_on = results.exists()
    watched = replace(run_batch(command, every_s=_EVERY_S), went_on=went_on)
    if watched.exit_code == 0:
        kept.write_bytes(msgspec.json.encode(watched))
    return watched


def _plan(minutes: float, fps: int) -> ClipPlan:
    return replace(_PLAN, fps=fps, mbit_s=_PLAN.mbit_s * fps / _PLAN.fps, frames=round(60 * minutes * fps))


def _table(kept: Long) -> Rows:
    rows = tuple(
        (
            run,
            f"{seconds}",
            f"{max((mb for _, mb in kept.memory_mb[run]), default=0.0):.0f}",
            f"{kept.growth_mb(run):+.1f}",
        )
        for run, seconds in (("pieces", kept.pieces_s), ("one pass", kept.one_pass_s))
    )
    title = f"{kept.frames} frames of 1080p at {kept.fps} frames/s"
    columns = ("run", "s", "largest process, MB", "growth after the first fifth, MB")
    return Rows(title=title, columns=columns, rows=rows)


def _notes(kept: Long, machine: Machine, pieces: Watched, whole: Watched) -> list[str]:
    same = f"DIFFERENT: {', '.join(kept.different)}" if kept.different else "the same, run stamps left out"
    return [
        f"Results in pieces of {kept.chunk_minutes:g} minutes with {kept.workers} workers and in one pass: {same}.",
        f"Exit codes {pieces.exit_code} and {whole.exit_code}.",
        *(
            f"Run {name}: goes on with what an earlier call had done; time and memory are of the last."
            for name in kept.went_on
        ),
        describe(machine, load()),
    ]
