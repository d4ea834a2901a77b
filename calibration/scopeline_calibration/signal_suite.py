"""The signal suite: is every fault of a feed named rightly and in time, and does the engine live through it.

Seeded scenarios of faults over simulated procedures. Each is played twice: frame by frame in virtual time, with the
watch looking at the clock every 100 ms as the engine's does, and through a whole engine, once keeping every frame and
once letting the newest win. The pictures are simulated and the faults are planted by us: this says that the rules do
what they should, not that every card and network fails as these do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from scopeline.arrivals import Arrivals
from scopeline.assemble import assemble
from scopeline.config import Pipeline, load_pipeline
from scopeline.errors import ScopelineError
from scopeline.field_tracker import FieldTracker
from scopeline.frame import Frame
from scopeline.notices import Incident, Notices, Signal
from scopeline.signal_look import SignalLook
from scopeline.signal_watch import SignalWatch
from scopeline.simulation.procedure import simulate_procedure
from scopeline.simulation.screen import LAYOUTS
from scopeline.sources.fault_scenario import KINDS, Fault, Scenario, Slow, random_scenario
from scopeline.sources.faults import FaultSource
from scopeline.sources.synthetic import SyntheticSource

WIDTH, HEIGHT, LENGTH_S = 320, 256, 14.0
STARTS_S = (3.0, 8.5)
"""Two faults per scenario; the second begins when the first has been over for 2 s or more."""
TICK_NS = 100_000_000
MUST_DELAY_S = 0.5
_AFTER_S = 1.0
"""What is told so long after the end of a fault still belongs to it."""
_FAULT_FREE_EVERY = 10
"""One scenario in so many is without a fault."""

WANTED: Mapping[str, str] = {
    "drop": Incident.FRAMES_MISSING,
    "burst": Incident.BURST,
    "stall": Signal.STALLED,
    "freeze": Signal.FROZEN,
    "black": Signal.BLACK,
    "bars": Signal.COLOUR_BARS,
    "no_signal": Signal.NO_SIGNAL,
    "damage": Incident.DAMAGED,
    "size": Incident.FORMAT_CHANGED,
    "jump": Incident.TIME_JUMPED,
    "wrap": Incident.TIME_JUMPED,
    "disconnect": Signal.RECONNECTING,
    "slow": Incident.LAGGING,
}
"""By kind of fault, what it shall be called."""

_STATES = frozenset(Signal)

_ALWAYS_ALLOWED: Mapping[str, tuple[str, ...]] = {"damage": (Incident.FRAMES_MISSING,)}
"""What a fault brings with it: a packet that cannot be decoded is a frame that is missing."""


@dataclass(frozen=True, slots=True)
class Told:
    """Something that was told, in seconds of the feed's time of arrival."""

    at_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What was told of one fault."""

    seed: int
    kind: str
    named: str | None
    """The first name that was told; None if none was."""
    delay_s: float | None
    """From the beginning of the fault to its right name, None if that was never told."""
    also: tuple[str, ...]
    """Other names that were told of it."""
    recovered_s: float | None
    """From its end to `running` again; 0 for what changes no state; None if that was not told."""

    @property
    def right(self) -> bool:
        return self.named == WANTED[self.kind] and self.delay_s is not None and self.delay_s <= MUST_DELAY_S


class KindFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All faults of one kind."""

    kind: str
    wanted: str
    faults: int
    right: int
    """Named rightly first, and within `MUST_DELAY_S`."""
    named: dict[str, int]
    """By first name."""
    also: dict[str, int]
    """By further name, how many faults were called so too."""
    delay_p50_s: float | None
    delay_max_s: float | None
    recovered_max_s: float | None


class EngineFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The scenarios through whole engines."""

    runs: int
    failed: list[str]
    """Which run ended with which error; unbalanced ledgers are errors."""
    captured: int
    published: int
    lost: dict[str, int]


class SignalFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All acceptance figures of the feed's weather."""

    scenarios: int
    seconds: float
    kinds: list[KindFigures]
    missed: list[str]
    """Every fault that was not told rightly, with its scenario."""
    fault_free_hours: float
    false_alarms: dict[str, int]
    engine: EngineFigures | None

    @property
    def passed(self) -> bool:
        """Whether every fault was told rightly and in time, no false alarm was given and no run failed."""
        return (
            all(each.right == each.faults for each in self.kinds)
            and not self.false_alarms
            and (self.engine is None or not self.engine.failed)
        )


class Reel:
    """Frames of a simulated procedure, kept: a source that can be played again and again."""

    def __init__(self, seed: int, *, seconds: float = LENGTH_S) -> None:
        screen = LAYOUTS[seed % len(LAYOUTS)].name
        procedure = simulate_procedure(
            seed=seed, duration_s=120.0, fps=(25.0, 30.0)[seed % 2], width=WIDTH, height=HEIGHT, screen=screen
        )
        # Freezes and black pictures of the simulation would be called so, and rightly.
        lively = tuple(each for each in procedure.disturbances if each.kind not in ("freeze", "black"))
        source = SyntheticSource(replace(procedure, disturbances=lively))
        self._frames = list(islice(source.frames(), round(seconds * procedure.fps)))
        self.name = source.name
        self.damaged: Mapping[str, int] = {}
        self.duration_s: float | None = seconds

    def frames(self) -> Iterator[Frame]:
        yield from self._frames

    def close(self) -> None:
        """Nothing is held that others could wait for."""


class _Counted:
    """A reel that notes how much of it was damaged when: in virtual time a source runs ahead of the clock."""

    def __init__(self, reel: Reel) -> None:
        self.name, self.damaged, self.duration_s = reel.name, reel.damaged, reel.duration_s
        self.source: FaultSource | None = None
        self._reel = reel
        self._noted: list[tuple[float, int]] = []

    def frames(self) -> Iterator[Frame]:
        for frame in self._reel.frames():
            yield frame
            total = sum(self.source.damaged.values()) if self.source is not None else 0
            self._noted.append((frame.time_s, total))

    def damaged_at(self, time_s: float) -> int:
        """Packets that were damaged until then."""
        return max((total for at_s, total in self._noted if at_s <= time_s), default=0)

    def close(self) -> None:
        self._reel.close()


def scenario_of(seed: int) -> Scenario:
    """The suite's scenario of a seed: two faults, or none."""
    scenario = random_scenario(seed, starts_s=STARTS_S)
    return msgspec.structs.replace(scenario, faults=()) if seed % _FAULT_FREE_EVERY == 0 else scenario


def play(reel: Reel, scenario: Scenario) -> list[Told]:
    """What is told of a scenario, in virtual time, as the engine's threads would tell it one after the other."""
    notices, arrivals, watch = Notices(), Arrivals(), SignalWatch()
    counted = _Counted(reel)
    source = counted.source = FaultSource(counted, scenario, notices)
    tracker, look = FieldTracker(), SignalLook()
    told: list[Told] = []
    start_ns = now_ns = damaged = 0

    def tell(what: str, at_ns: int) -> None:
        told.append(Told((max(at_ns, now_ns) - start_ns) / 1e9, what))

    def hear() -> None:
        nonlocal damaged
        for notice in notices.take():
            if isinstance(notice.what, Signal):
                for change in watch.notice(notice):
                    tell(change.signal, notice.at_ns)
            else:
                tell(notice.what, notice.at_ns)
        total = counted.damaged_at((now_ns - start_ns) / 1e9)
        if total > damaged:
            damaged = total
            tell(Incident.DAMAGED, now_ns)

    for frame in source.frames():
        if not start_ns:
            start_ns = now_ns = source.origin_ns
        while now_ns + TICK_NS < frame.captured_ns:
            now_ns += TICK_NS
            hear()
            for change in watch.tick(now_ns, arrivals.newest_ns, arrivals.silence_limit_ns):
                tell(change.signal, now_ns)
        now_ns = frame.captured_ns
        size = frame.picture.width, frame.picture.height
        for notice in arrivals.observe(frame.seq, now_ns, frame.time_s, size, frame.picture.format.name):
            notices.post(notice.what, notice.text, at_ns=notice.at_ns)
        hear()
        tracker.observe(frame.picture, frame.time_s)
        for change in watch.frame(look.look(frame.picture, frame.time_s, tracker.field), now_ns):
            tell(change.signal, now_ns)
    return told


def findings(scenario: Scenario, told: Sequence[Told]) -> tuple[list[Finding], list[Told]]:
    """What was told of each fault, and what was told although there was none."""
    left = [each for each in told if each.what != Signal.RUNNING]
    found = []
    for fault in scenario.faults:
        of_it = [each for each in left if fault.at_s <= each.at_s <= _over_s(fault) + _AFTER_S]
        left = [each for each in left if each not in of_it]
        found.append(_finding(scenario.seed, fault, of_it, told))
    return found, left


def _over_s(fault: Fault) -> float:
    """When a fault is over for who waits for the frames."""
    return fault.at_s + fault.duration_s * fault.slower if isinstance(fault, Slow) else fault.end_s


def _finding(seed: int, fault: Fault, of_it: Sequence[Told], told: Sequence[Told]) -> Finding:
    kind, wanted = fault.kind, WANTED[fault.kind]
    also_fine = _ALWAYS_ALLOWED.get(kind, ())
    names = [each.what for each in of_it if each.what not in also_fine or each.what == wanted]
    rightly = next((each.at_s - fault.at_s for each in of_it if each.what == wanted), None)
    recovered_s: float | None = 0.0
    if of_it and of_it[0].what in _STATES:
        # Without the pictures that are still to come, a state is left with the first one after the fault.
        again = [each.at_s for each in told if each.what == Signal.RUNNING and each.at_s >= of_it[0].at_s]
        recovered_s = max(again[0] - fault.end_s, 0.0) if again else None
    return Finding(
        seed=seed,
        kind=kind,
        named=names[0] if names else None,
        delay_s=rightly,
        also=tuple(sorted({each.what for each in of_it} - {wanted})),
        recovered_s=recovered_s,
    )


def run_engine(
    reel: Reel, scenario: Scenario, pipeline: Pipeline, *, live: bool
) -> tuple[Counter[str], str | None]:
    """A scenario through a whole engine: what became of its frames, and the error it ended with."""
    notices = Notices()
    try:
        report = assemble(
            pipeline, FaultSource(reel, scenario, notices), [], live=live, notices=notices
        ).run()
    except ScopelineError as error:
        return Counter(), f"scenario {scenario.seed}, live {live}: {error}"
    ledger = report.ledger
    frames = Counter({"captured": ledger.captured, "published": ledger.published})
    frames.update({f"lost {reason}": count for reason, count in ledger.lost.items()})
    return frames, None


def run(
    *,
    scenarios: int = 200,
    pipeline: Pipeline | None = None,
    reels: int = 6,
    done: Callable[[], object] = lambda: None,
) -> SignalFigures:
    """Play everything.

    Args:
        scenarios: How many.
        pipeline: For the engines; no engine is run without one.
        reels: Different procedures, the even ones at 25 Hz and the odd at 30.
        done: Called after each scenario.
    """
    films = [Reel(seed) for seed in range(reels)]
    found: list[Finding] = []
    false_alarms: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    failed: list[str] = []
    busy_s = 0.0
    for seed in range(scenarios):
        scenario, reel = scenario_of(seed), films[seed % reels]
        of_it, surplus = findings(scenario, play(reel, scenario))
        found += of_it
        false_alarms.update(each.what for each in surplus)
        busy_s += sum(_over_s(fault) + _AFTER_S - fault.at_s for fault in scenario.faults)
        for live in (False, True) if pipeline is not None else ():
            assert pipeline is not None
            counted, error = run_engine(reel, scenario, pipeline, live=live)
            frames += counted
            failed += [error] if error else []
        done()
    return SignalFigures(
        scenarios=scenarios,
        seconds=scenarios * LENGTH_S,
        kinds=[_kind_figures(kind, [each for each in found if each.kind == kind]) for kind in KINDS],
        missed=[_miss(each) for each in found if not each.right],
        fault_free_hours=(scenarios * LENGTH_S - busy_s) / 3600,
        false_alarms=dict(false_alarms),
        engine=_engine_figures(2 * scenarios, failed, frames) if pipeline is not None else None,
    )


def _kind_figures(kind: str, found: Sequence[Finding]) -> KindFigures:
    delays = [each.delay_s for each in found if each.delay_s is not None]
    recoveries = [each.recovered_s for each in found if each.recovered_s is not None]
    return KindFigures(
        kind=kind,
        wanted=WANTED[kind],
        faults=len(found),
        right=sum(each.right for each in found),
        named=dict(Counter(each.named or "nothing" for each in found).most_common()),
        also=dict(Counter(name for each in found for name in each.also).most_common()),
        delay_p50_s=round(float(np.median(delays)), 3) if delays else None,
        delay_max_s=round(max(delays), 3) if delays else None,
        recovered_max_s=round(max(recoveries), 3) if recoveries else None,
    )


def _miss(each: Finding) -> str:
    delay = "never" if each.delay_s is None else f"after {each.delay_s:.3f} s"
    return f"scenario {each.seed}: {each.kind} first called {each.named}, {WANTED[each.kind]} {delay}"


def _engine_figures(runs: int, failed: list[str], frames: Counter[str]) -> EngineFigures:
    lost = {name.removeprefix("lost "): count for name, count in frames.items() if name.startswith("lost ")}
    return EngineFigures(
        runs=runs, failed=failed, captured=frames["captured"], published=frames["published"], lost=lost
    )


def tables(figures: SignalFigures) -> Iterator[Table | str]:
    """The figures for a terminal."""
    table = Table(
        title=f"Faults of {figures.scenarios} seeded scenarios and what they were called", box=SIMPLE
    )
    for heading in (
        "fault",
        "shall be called",
        "n",
        "right",
        "was called",
        "also",
        "p50 s",
        "max s",
        "over, max s",
    ):
        table.add_column(
            heading, justify="right" if heading in ("n", "right") or heading.endswith(" s") else "left"
        )
    for each in figures.kinds:
        table.add_row(
            each.kind,
            each.wanted,
            str(each.faults),
            str(each.right),
            _counts(each.named),
            _counts(each.also),
            *("-" if value is None else f"{value:.2f}" for value in (each.delay_p50_s, each.delay_max_s)),
            "-" if each.recovered_max_s is None else f"{each.recovered_max_s:.2f}",
        )
    yield table
    right, faults = sum(each.right for each in figures.kinds), sum(each.faults for each in figures.kinds)
    yield f"{right} of {faults} faults named rightly within {MUST_DELAY_S} s"
    yield from figures.missed
    alarms = sum(figures.false_alarms.values())
    per_hour = alarms / figures.fault_free_hours if figures.fault_free_hours else 0.0
    yield (
        f"{alarms} false alarms in {figures.fault_free_hours * 60:.1f} min without a fault, "
        f"{per_hour:.1f} an hour {_counts(figures.false_alarms)}"
    )
    if figures.engine is not None:
        engine = figures.engine
        yield (
            f"{engine.runs} engine runs, {len(engine.failed)} failed; {engine.captured} frames captured, "
            f"{engine.published} published, lost {engine.lost or 'none'}: every ledger balances"
            if not engine.failed
            else "\n".join(engine.failed)
        )
    yield "passed" if figures.passed else "NOT passed"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def main(*, scenarios: int, pipeline: Path, out: Path | None = None) -> bool:
    """Measure, print, write, and say whether every required figure is reached."""
    with Progress(transient=True) as progress:
        task = progress.add_task("playing faults", total=scenarios)
        figures = run(
            scenarios=scenarios,
            pipeline=load_pipeline(pipeline),
            done=lambda: progress.advance(task),
        )
    console = Console()
    for part in tables(figures):
        console.print(part)
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    return figures.passed
