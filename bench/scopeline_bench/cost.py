"""`scopeline bench cost`: processor time per frame, against the plain loop and against the floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from scopeline.errors import BackendError
from scopeline_bench.chart import Axis, Mark, above
from scopeline_bench.clip import FULL_HD, cache_folder
from scopeline_bench.contenders import (
    Job,
    bare_decode,
    bare_inference,
    bare_resize,
    find_box,
    plain_loop,
    scopeline,
)
from scopeline_bench.filed import Filed
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.networks import float_twin
from scopeline_bench.own_process import measured, on_one_core
from scopeline_bench.page import verdict
from scopeline_bench.range_chart import Dot, Row, range_chart
from scopeline_bench.report import Rows, Spread, describe, spread
from scopeline_bench.spent import Spent
from scopeline_bench.stage import bundle_folder, drawn_clip, progress_bar

AGAINST_PLAIN, AGAINST_FLOOR = 0.80, 1.10
"""Targets: at most this share of the plain loop's processor time, and of the floor's."""
_PLAIN, _DECODE, _RESIZE, _INFER, _ENGINE = "plain loop", "decode", "crop and scale", "inference", "scopeline"
_FLOOR = (_DECODE, _RESIZE, _INFER)
_ALL_CORES = "scopeline, decoder on all cores"

Work = Callable[[], Spent]


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, round by round."""

    clip: str
    bundle: str
    box: tuple[int, int, int, int]
    spent: dict[str, list[Spent]]
    """By contender; a contender that cannot run on this machine is not here."""
    refused: dict[str, str]
    """Why a contender could not run."""
    loads: list[float]
    """Load average of the last minute at the end of each round, the contenders' own among it."""

    def per_1000(self, name: str) -> list[float]:
        """Processor seconds per 1000 frames, by round."""
        return [spent.cpu_s_per_1000 for spent in self.spent[name]]

    @property
    def floor(self) -> list[float]:
        return [sum(parts) for parts in zip(*(self.per_1000(name) for name in _FLOOR), strict=True)]

    @property
    def against_plain(self) -> Spread:
        """Scopeline over plain loop, each round with itself: what disturbs one disturbs the other."""
        return _ratio(self.per_1000(_ENGINE), self.per_1000(_PLAIN))

    @property
    def against_floor(self) -> Spread:
        return _ratio(self.per_1000(_ENGINE), self.floor)

    @property
    def is_as_wanted(self) -> bool:
        """Both targets were reached."""
        return self.against_plain.median <= AGAINST_PLAIN and self.against_floor.median <= AGAINST_FLOOR


def main(
    bundle: str, *, frames: int, rounds: int, fps: int, mbit_s: float, page: Path | None, out: Path | None
) -> bool:
    """Measure, print, save; whether both targets were reached."""
    console, machine = Console(), this_machine()
    plan = replace(FULL_HD, frames=frames, fps=fps, mbit_s=mbit_s)
    with progress_bar(console) as progress:
        path = drawn_clip(plan, progress)
        costs = measure_costs(path, bundle_folder(bundle), rounds, progress)
    _filed(costs, machine).file(console, out, page)
    return costs.is_as_wanted


def measure_costs(path: Path, bundle: Path, rounds: int, progress: Progress) -> Costs:
    """Every contender once per round, each in a process of its own, the order turned by one from round to round."""
    box = measured(find_box, str(path), str(bundle))
    costs = Costs(clip=path.name, bundle=bundle.name, box=box, spent={}, refused={}, loads=[])
    contenders = list(_contenders(Job(clip=str(path), bundle=str(bundle), box=box)).items())
    task = progress.add_task("measuring", total=rounds * len(contenders))
    for turn in range(rounds):
        for name, work in contenders[turn % len(contenders) :] + contenders[: turn % len(contenders)]:
            progress.update(task, description=f"round {turn + 1}, {name}")
            if name not in costs.refused:
                _run(costs, name, work)
            progress.advance(task)
        costs.loads.append(load())
    return costs


def _run(costs: Costs, name: str, work: Work) -> None:
    try:
        with nullcontext() if name == _ALL_CORES else on_one_core():
            costs.spent.setdefault(name, []).append(measured(work))
    except BackendError as error:
        costs.refused[name] = str(error)
        costs.spent.pop(name)


def _contenders(job: Job) -> Mapping[str, Work]:
    twin = float_twin(Path(job.bundle) / "model.onnx", cache_folder() / "twins")
    contenders: dict[str, Work] = {
        _PLAIN: partial(plain_loop, job, twin),
        _DECODE: partial(bare_decode, job),
        _RESIZE: partial(bare_resize, job),
        _INFER: partial(bare_inference, job, 500),
        _ENGINE: partial(scopeline, job),
        _ALL_CORES: partial(scopeline, msgspec.structs.replace(job, decoder_threads=0)),
    }
    for precision in ("fp32", "bf16"):
        fast = msgspec.structs.replace(job, backend="openvino", precision=precision)
        contenders[f"scopeline, openvino {precision}"] = partial(scopeline, fast)
    return contenders


def _filed(costs: Costs, machine: Machine) -> Filed:
    says = (
        f"{costs.against_plain} of the plain loop, wanted at most {AGAINST_PLAIN:g}; "
        f"{costs.against_floor} of the floor, wanted at most {AGAINST_FLOOR:g}."
    )
    return Filed(
        name="cost",
        title="Scopeline: processor time of a recording",
        lead=f"{costs.clip}, bundle {costs.bundle}.",
        machine=machine,
        tables=[ratio_table(costs), cost_table(costs)],
        notes=_notes(costs, machine),
        figures=costs,
        before=[verdict(says, is_good=costs.is_as_wanted)],
        charts={"Processor time": [cost_chart(costs)]},
    )


def cost_chart(costs: Costs) -> str:
    """Who does the whole work, and the floor."""
    whole = {name: costs.per_1000(name) for name in costs.spent if name not in _FLOOR}
    rows = [
        Row(
            name=name,
            dots=[Dot(found.median, found.lowest, found.highest)],
            words=f"{found.median:.1f}",
            is_bold=name == _ENGINE,
        )
        for name, found in ((name, spread(values)) for name, values in whole.items())
    ]
    return range_chart(
        "processor seconds per 1000 frames, median of the rounds and their range",
        rows,
        Axis("CPU s / 1000 frames", 0, above(max(row.dots[0].high for row in rows))),
        marks=[Mark("floor", spread(costs.floor).median)],
        bars=True,
    )


def cost_table(costs: Costs) -> Rows:
    """Processor and wall time by contender."""
    rows = []
    for name, spent in costs.spent.items():
        wall = spread([each.frames / each.wall_s for each in spent])
        system = spread([each.system_s / (each.user_s + each.system_s) for each in spent])
        speed = "" if name in _FLOOR[1:] else f"{wall.median:.0f}"
        rows.append((name, str(spread(costs.per_1000(name))), f"{system.median:.1%}", speed))
        if name == _INFER:
            rows.append(("floor: the three above", str(spread(costs.floor)), "", ""))
    rows.extend((name, "cannot run here", "", "") for name in costs.refused)
    return Rows(
        title="processor seconds per 1000 frames, median (lowest-highest)",
        columns=("contender", "CPU s / 1000", "in the system", "frames/s"),
        rows=tuple(rows),
    )


def ratio_table(costs: Costs) -> Rows:
    """The two ratios and their targets."""
    return Rows(
        title="ratios, each round with itself",
        columns=("ratio", "median (lowest-highest)", "target", ""),
        rows=(
            _ratio_row("scopeline / plain loop", costs.against_plain, AGAINST_PLAIN),
            _ratio_row("scopeline / floor", costs.against_floor, AGAINST_FLOOR),
        ),
    )


def _ratio_row(name: str, found: Spread, target: float) -> tuple[str, str, str, str]:
    verdict = "reached" if found.median <= target else f"missed by {found.median - target:.2f}"
    return name, str(found), f"<= {target:.2f}", verdict


def _ratio(above: list[float], below: list[float]) -> Spread:
    return spread([a / b for a, b in zip(above, below, strict=True)])


def _notes(costs: Costs, machine: Machine) -> list[str]:
    _, _, width, height = costs.box
    judged = min(spent.judged / spent.frames for spent in costs.spent[_ENGINE])
    frames = costs.spent[_ENGINE][0].frames
    return [
        f"Clip {costs.clip}, {frames} frames; bundle {costs.bundle}; network shown {width}x{height} px of the signal.",
        "Each on one core, the row of all cores excepted; one decoding and one runtime thread, no spinning.",
        f"Scopeline's network saw {judged:.1%} of the frames; the first wait for the field of view, whose search "
        "is counted.",
        f"Load average at the end of the rounds: {', '.join(f'{each:.1f}' for each in costs.loads)}.",
        *(f"{name}: {why}" for name, why in costs.refused.items()),
        describe(machine, load()),
    ]
