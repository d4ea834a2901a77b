"""`scopeline bench file`: a recording as fast as it goes: speed, processor time, batch sizes, and where the time is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import Progress

from scopeline.sources.media import probe
from scopeline_bench.chart import Axis, Mark, above
from scopeline_bench.clip import FULL_HD, SMALL, cache_folder
from scopeline_bench.contenders import (
    Job,
    bare_decode,
    bare_inference,
    bare_resize,
    find_box,
    plain_loop,
    scopeline,
)
from scopeline_bench.file_live import LiveSpent, scopeline_live
from scopeline_bench.filed import Filed
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.networks import float_twin
from scopeline_bench.own_process import measured
from scopeline_bench.page import verdict
from scopeline_bench.range_chart import Dot, Row, range_chart
from scopeline_bench.report import Rows, Spread, describe, spread
from scopeline_bench.spent import Spent
from scopeline_bench.stage import bundle_folder, drawn_clip, progress_bar

BULK_AGAINST_LIVE: Final = 1.5
"""Target: at least so many times the frames per processor second of a live run on the same clip."""
_PLAIN, _LIVE = "plain loop", "scopeline live"
_PARTS: Final = ("bare decoding", "bare crop and scale", "bare inference")


class FileRuns(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, round by round."""

    clip: str
    size: str
    """Of its pictures."""
    bundle: str
    spent: dict[str, list[Spent]]
    """By way through the recording."""
    live: list[LiveSpent]
    loads: list[float]

    def cpu(self, name: str) -> list[float]:
        """Processor seconds per 1000 frames."""
        return [spent.cpu_s_per_1000 for spent in self.spent[name]]

    @property
    def best(self) -> str:
        """The batch size that took the least processor time, by its median."""
        ours = [name for name in self.spent if name.startswith("scopeline")]
        return min(ours, key=lambda name: spread(self.cpu(name)).median)

    def bulk_against_live(self, name: str) -> Spread:
        """Frames per processor second in bulk over those live, each round with itself."""
        live = [each.cpu_s_per_1000 for each in self.live]
        return spread([b / a for a, b in zip(self.cpu(name), live, strict=True)])

    @property
    def is_as_wanted(self) -> bool:
        """Bulk is as much cheaper than live as is wanted."""
        return self.bulk_against_live(self.best).median >= BULK_AGAINST_LIVE


def main(
    clip: Path | None,
    bundle: str,
    *,
    frames: int,
    rounds: int,
    batches: Sequence[int],
    page: Path | None,
    out: Path | None,
) -> bool:
    """Measure, print, save; whether bulk is as much cheaper than live as is wanted."""
    console, machine = Console(), this_machine()
    with progress_bar(console) as progress:
        plans = [replace(plan, frames=frames) for plan in (FULL_HD, SMALL)]
        paths = [clip] if clip else [drawn_clip(plan, progress) for plan in plans]
        measured_clips = [
            measure_files(path, bundle_folder(bundle), rounds, batches, progress) for path in paths
        ]
    file_filed(measured_clips, machine).file(console, out, page)
    return all(runs.is_as_wanted for runs in measured_clips)


def measure_files(
    path: Path, bundle: Path, rounds: int, batches: Sequence[int], progress: Progress
) -> FileRuns:
    """Every way once per round, each in a process of its own, the order turned from round to round."""
    box = measured(find_box, str(path), str(bundle))
    job = Job(clip=str(path), bundle=str(bundle), box=box)
    facts = probe(path)
    size = f"{facts.width_px}x{facts.height_px}, {facts.fps or 0:g} frames/s"
    runs = FileRuns(clip=path.name, size=size, bundle=bundle.name, spent={}, live=[], loads=[])
    works = _works(job, batches)
    task = progress.add_task("measuring", total=rounds * (len(works) + 1))
    for turn in range(rounds):
        start = turn % len(works)
        for name, work in works[start:] + works[:start]:
            progress.update(task, description=f"round {turn + 1}, {name}")
            runs.spent.setdefault(name, []).append(measured(work))
            progress.advance(task)
        progress.update(task, description=f"round {turn + 1}, {_LIVE}")
        runs.live.append(measured(scopeline_live, job))
        progress.advance(task)
        runs.loads.append(load())
    return runs


def _works(job: Job, batches: Sequence[int]) -> list[tuple[str, Callable[[], Spent]]]:
    twin = float_twin(Path(job.bundle) / "model.onnx", cache_folder() / "twins")
    works: list[tuple[str, Callable[[], Spent]]] = [
        (_PLAIN, partial(plain_loop, job, twin)),
        (_PARTS[0], partial(bare_decode, job)),
        (_PARTS[1], partial(bare_resize, job)),
        (_PARTS[2], partial(bare_inference, job, 500)),
    ]
    works += [(batch_name(batch), partial(scopeline, job, batch=batch)) for batch in batches]
    works.append(
        (
            "scopeline, decoder on all cores",
            partial(scopeline, msgspec.structs.replace(job, decoder_threads=0)),
        )
    )
    return works


def batch_name(batch: int) -> str:
    return f"scopeline, {batch} per inference"


def file_filed(clips: Sequence[FileRuns], machine: Machine) -> Filed:
    """What is shown and kept."""
    says = "; ".join(
        f"{runs.size}: bulk gives {runs.bulk_against_live(runs.best)} times the frames per processor second of live, "
        f"wanted at least {BULK_AGAINST_LIVE:g}"
        for runs in clips
    )
    return Filed(
        name="file",
        title="Scopeline: recordings",
        lead=f"{', '.join(runs.clip for runs in clips)}; bundle {clips[0].bundle}.",
        machine=machine,
        tables=[each for runs in clips for each in (bulk_table(runs), way_table(runs), part_table(runs))],
        notes=[*map(_note, clips), *_ending(clips, machine)],
        figures=clips,
        before=[verdict(f"{says}.", is_good=all(runs.is_as_wanted for runs in clips))],
        charts={"Processor time": [way_chart(runs) for runs in clips]},
    )


def way_chart(runs: FileRuns) -> str:
    """Every way through the recording, and the floor."""
    ways = {name: runs.cpu(name) for name in runs.spent if name not in _PARTS}
    ways[_LIVE] = [each.cpu_s_per_1000 for each in runs.live]
    found = {name: spread(values) for name, values in ways.items()}
    floor = [sum(parts) for parts in zip(*(runs.cpu(name) for name in _PARTS), strict=True)]
    return range_chart(
        f"{runs.size}: processor seconds per 1000 frames, median of the rounds and their range",
        [
            Row(
                name=name,
                dots=[Dot(each.median, each.lowest, each.highest)],
                words=f"{each.median:.1f}",
                is_bold=name == runs.best,
            )
            for name, each in found.items()
        ],
        Axis("CPU s / 1000 frames", 0, above(max(each.highest for each in found.values()))),
        marks=[Mark("floor", spread(floor).median)],
        bars=True,
    )


def way_table(runs: FileRuns) -> Rows:
    rows = []
    for name, spent in runs.spent.items():
        if name in _PARTS:
            continue
        speed = spread([each.frames / each.wall_s for each in spent])
        ratio = spread([a / b for a, b in zip(runs.cpu(name), runs.cpu(_PLAIN), strict=True)])
        rows.append((name, str(spread(runs.cpu(name))), f"{speed.median:.0f}", f"{ratio.median:.2f}"))
    live = spread([each.cpu_s_per_1000 for each in runs.live])
    rows.append((_LIVE, str(live), "at its own pace", ""))
    return Rows(
        title=f"{runs.size}: processor seconds per 1000 frames, median of rounds (range)",
        columns=("way", "CPU s / 1000", "frames/s", "of the plain loop"),
        rows=tuple(rows),
    )


def part_table(runs: FileRuns) -> Rows:
    """What must be done in any case, each alone, and how much more all of it together is."""
    floor = [sum(parts) for parts in zip(*(runs.cpu(name) for name in _PARTS), strict=True)]
    rows = [(name, str(spread(runs.cpu(name)))) for name in _PARTS]
    rows.append(("floor: these three", str(spread(floor))))
    ours = spread([a / b for a, b in zip(runs.cpu(runs.best), floor, strict=True)])
    rows.append((f"{runs.best} / floor", str(ours)))
    return Rows(
        title=f"{runs.size}: decoding, preparing, inferring, each alone: CPU s / 1000 frames",
        columns=("part", ""),
        rows=tuple(rows),
    )


def bulk_table(runs: FileRuns) -> Rows:
    found = runs.bulk_against_live(runs.best)
    verdict = (
        "reached"
        if found.median >= BULK_AGAINST_LIVE
        else f"missed by {BULK_AGAINST_LIVE - found.median:.2f}"
    )
    return Rows(
        title=f"{runs.size}: frames per processor second, bulk over live, each round with itself",
        columns=("ratio", "median (lowest-highest)", "target", ""),
        rows=((f"{runs.best} / {_LIVE}", str(found), f">= {BULK_AGAINST_LIVE}", verdict),),
    )


def _note(runs: FileRuns) -> str:
    frames = next(iter(runs.spent.values()))[0].frames
    captured = sum(each.captured for each in runs.live)
    late = captured - sum(each.published for each in runs.live)
    return (
        f"Clip {runs.clip}, {frames} frames; live, {late} of {captured} frames were given up as late and count as "
        f"captured. Load average at the end of the rounds: {', '.join(f'{each:.1f}' for each in runs.loads)}."
    )


def _ending(measured_clips: Sequence[FileRuns], machine: Machine) -> list[str]:
    return [
        f"Bundle {measured_clips[0].bundle}; one decoding and one runtime thread, no spinning. scopeline live: what "
        "`scopeline live CLIP` does, with journal, replay and control, at the clip's own pace.",
        describe(machine, load()),
    ]
