"""Live run: one feed watched by a real engine, and everything that can be said of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline.errors import SourceError
from scopeline.wire import LedgerReport
from scopeline_bench.ages import Ages, ages, distribution
from scopeline_bench.company import Kind, company
from scopeline_bench.engine_process import CAPTURED_COLUMNS, STAGES, EngineProcess
from scopeline_bench.journeys import Account, Times, account, journeys, times
from scopeline_bench.machine import load
from scopeline_bench.sender import Sender
from scopeline_bench.stamps import Rows64
from scopeline_bench.tapped_engine import EngineReport
from scopeline_bench.transmission import FeedAt
from scopeline_bench.watched_feed import PATIENCE_S, PictureSize, watched_feed

WARM_UP_S: Final = 3.0
"""After the first result, not in the figures: the field of view is looked for ten times a second until it is locked."""
HANDOFFS: Final = ("live", "ready", "done")


class LivePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to watch, for how long, in what company."""

    fps: int
    seconds: float
    pipeline: str
    size_px: tuple[int, int] = (1920, 1080)
    source: str | None = None
    """An address as for `scopeline live`; the bar-coded feed when left out."""
    company: tuple[Kind, ...] = ()

    @property
    def name(self) -> str:
        what = self.source or f"{self.size_px[1]}p{self.fps}"
        return ", ".join([what, *self.company])


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """What waited at one hand-off when a picture was captured."""

    mean: float
    max: int
    busy: float
    """Share of pictures that found something waiting."""


class LiveRun(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured."""

    plan: LivePlan
    period_s: float
    """Between two pictures; the deadline of a result."""
    ages: Ages
    """Captured to received."""
    stages: dict[str, Times]
    """Each stage by itself, waiting for it included."""
    whole: Times | None
    """Made to received; only where the feed is ours."""
    whole_curve: list[tuple[float, float]]
    """Its distribution, as in `Ages`; empty where the feed is somebody else's."""
    missed: float
    """Share of the pictures captured whose result was not received within one period, those given up among them."""
    given_up: int
    """Pictures captured in the measured time for which a newer one was taken."""
    results_s: float
    """Results received per second."""
    depths: dict[str, Depth]
    account: Account | None
    """Only where the feed is ours."""
    captured: int
    """As the tap behind the source counted; the whole run, as everything below."""
    received: int
    reasons: dict[str, int]
    report: EngineReport
    tap_ms: Times
    identity: dict[str, str]
    load: float

    @property
    def ledger(self) -> LedgerReport:
        return self.report.ledger

    @property
    def unaccounted(self) -> int:
        """Frames for which nobody answers: captured and not in the ledger, in it and neither published nor lost, or
        published and not received."""
        return (
            abs(self.captured - self.ledger.captured)
            + abs(self.ledger.captured - self.ledger.published - sum(self.ledger.lost.values()))
            + abs(self.ledger.published - self.received)
        )


def measure_live(plan: LivePlan, on_second: Callable[[float], None] = lambda _: None) -> LiveRun:
    """Watch a feed from its first result on, through the warm-up and the measured time.

    Args:
        plan: What to do.
        on_second: Told the seconds measured so far.

    Raises:
        SourceError: no result came, or the engine failed.
    """
    with _watched(plan) as (sender, engine, began_ns):
        with ExitStack() as stack:
            for kind in plan.company:
                stack.enter_context(company(kind, engine.address))
            engine.listen_for(WARM_UP_S)
            from_ns = time.monotonic_ns() if plan.company else began_ns + round(WARM_UP_S * 1e9)
            while (
                left_s := plan.seconds - (time.monotonic_ns() - from_ns) / 1e9
            ) > 0 and not engine.has_ended:
                engine.listen_for(min(1.0, left_s))
                on_second(plan.seconds - left_s)
            to_ns = time.monotonic_ns()
        report = engine.finish()
        if sender is not None:
            sender.kill()
        made = sender.made() if sender is not None else None
        return _run(plan, engine, report, made, (from_ns, to_ns))


@contextmanager
def _watched(plan: LivePlan) -> Iterator[tuple[Sender | None, EngineProcess, int]]:
    if plan.source is None:
        width_px, height_px = plan.size_px
        with watched_feed(
            "raw", PictureSize(width_px, height_px, plan.fps), plan.pipeline, weighs=False
        ) as feed:
            yield feed.sender, feed.engine, feed.began_ns
        return
    with (
        tempfile.TemporaryDirectory(prefix="scopeline-") as place,
        EngineProcess(FeedAt(address=plan.source), plan.pipeline, Path(place), weighs=False) as engine,
    ):
        began_ns = engine.first_frame_ns(PATIENCE_S)
        if began_ns is None:
            said = engine.last_words() or "nothing"
            raise SourceError(f"{plan.source}: no result within {PATIENCE_S:.0f} s; the engine said: {said}")
        yield None, engine, began_ns


def _run(
    plan: LivePlan, engine: EngineProcess, report: EngineReport, made: Rows64 | None, window: tuple[int, int]
) -> LiveRun:
    captured, heard = engine.captured(), engine.heard
    frames = between(captured, 2, window)
    results = heard[np.isin(heard[:, 0], frames[:, 0])]
    if len(results) < 2:
        raise SourceError(f"{plan.name}: wanted results to measure, got {len(results)}; measure for longer")
    period_s = 1 / plan.fps if plan.source is None else float(np.median(np.diff(frames[:, 2]))) / 1e9
    age_ms = (results[:, 3] - results[:, 1]) / 1e6
    ways = journeys(made, captured, heard).between(*window) if made is not None else None
    legs = ways.legs() if ways is not None else {}
    return LiveRun(
        plan=plan,
        period_s=period_s,
        ages=ages(age_ms, results[:, 3], period_s=period_s),
        stages=({"source": legs["made to captured"]} if legs else {}) | stage_times(results),
        whole=legs.get("made to received"),
        whole_curve=distribution(ways.made_to_received_ms) if ways is not None else [],
        missed=1 - int((age_ms <= period_s * 1e3).sum()) / len(frames),
        given_up=len(frames) - len(results),
        results_s=len(results) / (float(results[-1, 3] - results[0, 3]) / 1e9 + period_s),
        depths=_depths(frames),
        account=account(made, captured, heard) if made is not None else None,
        captured=len(captured),
        received=len(heard),
        reasons=engine.reasons,
        report=report,
        tap_ms=times(frames[:, 3] / 1e6),
        identity=engine.identity,
        load=load(),
    )


def between(rows: Rows64, column: int, window: tuple[int, int]) -> Rows64:
    """Rows whose moment in one column lies in a stretch of time."""
    return rows[(rows[:, column] >= window[0]) & (rows[:, column] < window[1])]


def stage_times(results: Rows64) -> dict[str, Times]:
    """How long each stage took with the wait for it, then the bus.

    Args:
        results: Rows as `EngineProcess.heard` gives them.
    """
    ends_ms: list[NDArray[np.float64]] = [np.zeros(len(results)), *(results[:, 5:8].T / 1e6)]
    found = {name: times(ends_ms[k + 1] - ends_ms[k]) for k, name in enumerate(STAGES)}
    return found | {"bus": times((results[:, 3] - results[:, 1]) / 1e6 - ends_ms[-1])}


def _depths(frames: Rows64) -> dict[str, Depth]:
    waited = frames[:, CAPTURED_COLUMNS - len(HANDOFFS) :]
    return {
        name: Depth(
            mean=round(float(column.mean()), 3),
            max=int(column.max()),
            busy=round(float((column > 0).mean()), 4),
        )
        for name, column in zip(HANDOFFS, waited.T, strict=True)
    }


def is_right(runs: Sequence[LiveRun]) -> bool:
    """Whether no run lost sight of a frame or left something open."""
    return all(not run.unaccounted and not run.report.left_over for run in runs)
