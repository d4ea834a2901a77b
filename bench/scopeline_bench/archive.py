"""Whether an archive survives being killed: generated and real clips, broken ones among them, `kill -9` at random."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from scopeline.archive.manifest import MANIFEST, read_manifest
from scopeline.archive.recordings import find_recordings
from scopeline.run_stamps import digests
from scopeline.simulation.film import render_video
from scopeline.simulation.procedure import simulate_procedure
from scopeline_bench.batch_process import arguments, kill_batch, run_batch
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.report import Rows, describe, publish

DRAWN = 8
"""Different clips that are drawn; more are copies with another time of change, which makes them other recordings."""
_BROKEN = ("letter", "empty", "cut", "noise", "headless")


class Survived(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs came to."""

    clips: int
    broken: int
    workers: int
    undisturbed_s: float
    exit_code: int
    results: int
    reasons: list[str]
    kills: int
    killed_after_s: list[float]
    resumed_exit_code: int
    different: list[str]
    """Files of results that differ from those of the undisturbed run, run stamps left out."""

    @property
    def is_right(self) -> bool:
        told = self.results == self.clips and len(self.reasons) == self.broken
        return (
            told
            and not self.different
            and self.exit_code == self.resumed_exit_code == (1 if self.broken else 0)
        )


def main(
    *,
    clips: int,
    broken: int,
    kills: int,
    workers: int,
    seconds: float,
    real: Path | None,
    pipeline: str,
    chunk_minutes: float,
    out: Path | None,
) -> bool:
    """Make the archive, run it undisturbed, run it killed and resumed, compare, print, save."""
    console, machine = Console(), this_machine()
    with tempfile.TemporaryDirectory(prefix="scopeline-archive-") as folder:
        root = Path(folder)
        recordings = root / "recordings"
        make_archive(recordings, clips=clips, broken=broken, seconds=seconds, real=real)
        console.print(f"{clips} clips and {broken} broken ones are made")
        more = ["--workers", str(workers), "--chunk-minutes", str(chunk_minutes)]
        kept = survive(recordings, root, pipeline, more, clips, broken, kills, workers, console)
    publish("archive", console, out, machine, [_table(kept)], _notes(kept, machine), kept)
    return kept.is_right


def survive(
    recordings: Path,
    root: Path,
    pipeline: str,
    more: Sequence[str],
    clips: int,
    broken: int,
    kills: int,
    workers: int,
    console: Console,
) -> Survived:
    """One undisturbed run, and one that is killed `kills` times at random moments and resumed each time."""
    whole = run_batch(arguments(recordings, root / "whole", pipeline, more))
    console.print(f"undisturbed: {whole.seconds:.0f} s, exit code {whole.exit_code}")
    chance = random.Random(1)
    moments: list[float] = []
    command = arguments(recordings, root / "killed", pipeline, more)
    while len(moments) < kills:
        # On average a kill per share of the undisturbed run; starting up is a second or two of it.
        after_s = round(chance.uniform(0.3, 1.7) * whole.seconds / (kills + 1) + chance.uniform(0.0, 3.0), 2)
        if not kill_batch(command, after_s):
            break
        moments.append(after_s)
        console.print(f"killed after {after_s:.1f} s, {len(_complete(root / 'killed'))} results are there")
    resumed = run_batch(command)
    entries = read_manifest(root / "whole" / MANIFEST).values()
    return Survived(
        clips=clips,
        broken=broken,
        workers=workers,
        undisturbed_s=round(whole.seconds, 1),
        exit_code=whole.exit_code,
        results=len(_complete(root / "killed")),
        reasons=sorted(entry.reason for entry in entries if entry.state == "failed"),
        kills=len(moments),
        killed_after_s=moments,
        resumed_exit_code=resumed.exit_code,
        different=differences(root / "whole", root / "killed"),
    )


def differences(one: Path, other: Path) -> list[str]:
    """Files of two folders of results that do not say the same, run stamps left out."""
    different: list[str] = []
    for name in sorted({*_complete(one), *_complete(other)}):
        here, there = (digests(out / name) if (out / name).is_dir() else {} for out in (one, other))
        different += [
            f"{name}/{file}" for file in sorted({*here, *there}) if here.get(file) != there.get(file)
        ]
    return different


def make_archive(folder: Path, *, clips: int, broken: int, seconds: float, real: Path | None) -> None:
    """A folder of recordings: real ones as far as there are some, drawn ones, and broken ones."""
    folder.mkdir(parents=True)
    drawn = [_drawn(folder.parent / f"drawn-{seed}.mp4", seed, seconds) for seed in range(min(DRAWN, clips))]
    sources = [each.video for each in find_recordings([str(real)])] if real is not None else []
    sources = [*sources, *drawn] * (1 + clips // len(drawn))
    for number, source in enumerate(sources[:clips]):
        path = folder / f"clip-{number:04d}{source.suffix}"
        shutil.copyfile(source, path)
        os.utime(path, ns=(10**9 * number, 10**9 * number))  # else copies are taken for one another
    for number in range(broken):
        _break(folder / f"broken-{number}.mp4", _BROKEN[number % len(_BROKEN)], drawn[0])


def _drawn(path: Path, seed: int, seconds: float) -> Path:
    render_video(simulate_procedure(seed=seed, duration_s=seconds, fps=10, width=320, height=240), path)
    return path


def _break(path: Path, how: str, whole: Path) -> None:
    content = whole.read_bytes()
    path.write_bytes(
        {
            "letter": b"this is a letter and no video\n" * 40,
            "empty": b"",
            "cut": content[: len(content) // 2],
            "noise": random.Random(2).randbytes(20_000),
            "headless": content[5000:],
        }[how]
    )


def _complete(out: Path) -> list[str]:
    """Names of the folders that are in place."""
    folders = (each for each in out.iterdir() if each.is_dir()) if out.is_dir() else iter(())
    return sorted(each.name for each in folders if each.suffix not in (".partial", ".old"))


def _table(kept: Survived) -> Rows:
    rows = (
        ("results", f"{kept.results} of {kept.clips}"),
        ("reasons", f"{len(kept.reasons)} of {kept.broken}"),
        ("exit code, undisturbed and resumed", f"{kept.exit_code}, {kept.resumed_exit_code}"),
        ("kills", str(kept.kills)),
        ("files that differ", str(len(kept.different))),
        ("undisturbed", f"{kept.undisturbed_s} s with {kept.workers} workers"),
    )
    return Rows(title="an archive, killed and resumed", columns=("what", "figure"), rows=rows)


def _notes(kept: Survived, machine: Machine) -> list[str]:
    word = "as wanted" if kept.is_right else "NOT AS WANTED"
    return [
        f"{word}: killed after {', '.join(f'{moment:g}' for moment in kept.killed_after_s)} s.",
        *(f"failed: {reason}" for reason in kept.reasons),
        *(f"differs: {name}" for name in kept.different[:10]),
        describe(machine, load()),
    ]
