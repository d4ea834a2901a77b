"""`scopeline bench gate BASE`: has a stage become slower than in BASE, by more than the noise of this very run?

In each session the working tree's engine and twice the base's run in fresh processes at the same time; each stage is
timed in one after the other, within a tenth of a second, so that what slows the machine slows all three. How much the
base differs from itself is the noise (`verdict.py`). Sessions are added for stages of which nothing can be said yet.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from scopeline.errors import ConfigError
from scopeline_bench.chart import Axis, Mark, above
from scopeline_bench.filed import Filed
from scopeline_bench.gate_side import CHECKOUT, side, unpack
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.page import verdict
from scopeline_bench.range_chart import Dot, Row, range_chart
from scopeline_bench.report import Rows, describe
from scopeline_bench.stage import progress_bar
from scopeline_bench.stages import STAGES
from scopeline_bench.verdict import (
    FAMILY,
    LEAST_SESSIONS,
    MOST_SESSIONS,
    SEEN,
    TOLERATED,
    Rounds,
    Session,
    Verdict,
    judge,
)


def main(
    base: str, *, rounds: int, only: str, plant: str | None, page: Path | None, out: Path | None
) -> bool:
    """Measure, print, save; whether no stage has become slower."""
    console, machine = Console(), this_machine()
    with tempfile.TemporaryDirectory(prefix="scopeline-gate-") as place, progress_bar(console) as progress:
        unpack(base, Path(place))
        gate = Gate(Path(place), [name for name in STAGES if only in name], plant or "", rounds)
        verdicts = gate.verdicts(progress)
    filed(base, verdicts, gate.lacking, gate.broken, plant, machine).file(console, out, page)
    return not gate.broken and not any(each.is_slower for each in verdicts)


class Gate:
    """Sessions of three engines each, until something can be said of every stage.

    Args:
        base: Folder with the base's engine.
        names: Stages.
        plant: STAGE=SHARE: slows one down in the working tree.
        rounds: In each session.
    """

    def __init__(self, base: Path, names: Sequence[str], plant: str, rounds: int) -> None:
        if not names:
            raise ConfigError(f"wanted a part of a stage's name, one of {', '.join(STAGES)}")
        self._base, self._names, self._plant, self._rounds = base, list(names), plant, rounds
        self._sessions: dict[str, list[Session]] = {}
        self.lacking: dict[str, str] = {}
        """Stages that the base cannot do, with why: it may lack what ours has."""
        self.broken: dict[str, str] = {}
        """Stages that only the working tree cannot do."""

    def verdicts(self, progress: Progress) -> list[Verdict]:
        """On every stage that both can do.

        Raises:
            ConfigError: there is none.
        """
        task = progress.add_task("sessions", total=LEAST_SESSIONS)
        wanted = self._names
        for number in range(MOST_SESSIONS):
            progress.update(task, total=max(LEAST_SESSIONS, number + 1), description=_stages(len(wanted)))
            self._session(wanted)
            progress.advance(task)
            if number + 1 >= LEAST_SESSIONS:
                wanted = [each.name for each in self._judged() if each.is_open]
            if not wanted:
                break
        if not self._sessions and not self.broken:
            raise ConfigError(
                f"wanted a stage that the base can do, it can do none of {', '.join(self._names)}: "
                f"{'; '.join(set(self.lacking.values()))}"
            )
        return self._judged()

    def _judged(self) -> list[Verdict]:
        return [judge(name, found, stages=len(self._sessions)) for name, found in sorted_like(self._sessions)]

    def _session(self, wanted: Sequence[str]) -> None:
        """Three fresh engines; who comes first changes from round to round."""
        with ExitStack() as stack:
            sides = [
                stack.enter_context(side(CHECKOUT, wanted, self._plant)),
                stack.enter_context(side(self._base, wanted)),
                stack.enter_context(side(self._base, wanted)),
            ]
            tree, *bases = (each.stages.failed for each in sides)
            self.lacking |= {name: why for failed in bases for name, why in failed.items()}
            self.broken |= {name: why for name, why in tree.items() if name not in self.lacking}
            shared = [name for name in wanted if all(name in each.stages.names for each in sides)]
            times = {name: Rounds([], [], []) for name in shared}
            for turn in range(self._rounds):
                for name, rounds in times.items():
                    kept = list(zip(sides, (rounds.tree_s, rounds.base_s, rounds.again_s), strict=True))
                    for engine, found in kept[turn % 3 :] + kept[: turn % 3]:
                        found.append(engine.seconds(name))
        for name, rounds in times.items():
            self._sessions.setdefault(name, []).append(rounds.session())


def sorted_like(sessions: dict[str, list[Session]]) -> list[tuple[str, list[Session]]]:
    """By name, in the order of `STAGES`."""
    return [(name, sessions[name]) for name in STAGES if name in sessions]


def _stages(count: int) -> str:
    return "all stages" if count == len(STAGES) else f"{count} stages"


def filed(
    base: str,
    verdicts: Sequence[Verdict],
    lacking: dict[str, str],
    broken: dict[str, str],
    plant: str | None,
    machine: Machine,
) -> Filed:
    """What is shown and kept."""
    slower = [each.name for each in verdicts if each.is_slower]
    untold = [each.name for each in verdicts if each.is_open]
    says = f"SLOWER than {base}: {', '.join(slower)}." if slower else ""
    says += f" The working tree cannot do any more: {', '.join(broken)}." if broken else ""
    says = says.strip() or f"No stage was found slower than in {base}."
    says += f" Cannot tell of: {', '.join(untold)}." if untold else ""
    return Filed(
        name="gate",
        title="Scopeline: stages against another commit",
        lead=f"The working tree against {base}.",
        machine=machine,
        tables=[verdict_table(verdicts)],
        notes=[
            says,
            f"Slower is {TOLERATED:.0%} above what noise may do; the band is so wide that at most one run in "
            f"{1 / FAMILY:g} calls a stage slower when nothing changed. A session is three fresh processes, the tree's "
            "and twice the base's.",
            *([f"Planted: {plant}."] if plant else []),
            *(f"{name}: the base cannot do it ({why})" for name, why in lacking.items()),
            *(f"{name}: the working tree cannot do it ({why})" for name, why in broken.items()),
            describe(machine, load()),
        ],
        figures=verdicts,
        before=[verdict(says, is_good=not slower and not broken)],
        charts={"Change and noise": [change_chart(verdicts)]} if verdicts else {},
    )


def verdict_table(verdicts: Sequence[Verdict]) -> Rows:
    rows = []
    for each in verdicts:
        says = "SLOWER" if each.is_slower else "cannot tell" if each.is_open else "no slower"
        rows.append(
            (
                each.name,
                f"{each.base_s * 1e6:,.1f}",
                f"{each.ratio - 1:+.1%}",
                f"+- {each.band:.1%}",
                f"{each.itself:.1%}",
                f"{each.sessions}",
                says,
            )
        )
    return Rows(
        title="processor time of each stage: base, and the change with the band of noise",
        columns=("stage", "base, us", "now", "band", "base against itself", "sessions", ""),
        rows=tuple(rows),
    )


def change_chart(verdicts: Sequence[Verdict]) -> str:
    """Changes in percent on their bands."""
    rows = [
        Row(
            name=each.name,
            dots=[Dot(*(100 * (value - 1) for value in (each.ratio, each.lowest, each.highest)))],
            band=(100 * (1 / (1 + each.band) - 1), 100 * ((1 + TOLERATED) * (1 + each.band) - 1)),
            words=f"{each.ratio - 1:+.1%}{', slower' if each.is_slower else ''}",
            is_bold=each.is_slower,
        )
        for each in verdicts
    ]
    far = above(
        max(100 * SEEN, *(abs(row.dots[0].value) for row in rows), *(row.band[1] for row in rows if row.band))
    )
    return range_chart(
        "change of processor time; line: range over the sessions; grey: what noise and tolerance allow",
        rows,
        Axis("change, %", -far, far),
        marks=[Mark(f"+{SEEN:.0%}, to be seen", 100 * SEEN)],
    )
