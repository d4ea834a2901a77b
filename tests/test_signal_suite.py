"""The acceptance suite of the feed's weather, at a small size."""

from __future__ import annotations

import msgspec
import pytest

from scopeline.config import load_pipeline
from scopeline.shipped import shipped_pipelines
from scopeline.sources.fault_scenario import (
    KINDS,
    Black,
    Disconnect,
    Fault,
    Scenario,
    Stall,
    Wrap,
)
from scopeline_calibration.signal_suite import (
    WANTED,
    EngineFigures,
    Reel,
    SignalFigures,
    Told,
    findings,
    play,
    run,
    run_engine,
    scenario_of,
    tables,
)


@pytest.fixture(scope="module")
def reel() -> Reel:
    return Reel(1, seconds=8)


def test_a_few_scenarios_are_told_rightly() -> None:
    figures = run(scenarios=8, reels=1)
    assert figures.missed == []
    assert figures.false_alarms == {}
    assert figures.passed


@pytest.mark.parametrize("live", [False, True])
def test_an_engine_lives_through_faults_and_its_ledger_balances(reel: Reel, live: bool) -> None:
    pipeline = load_pipeline(shipped_pipelines() / "demo.toml")
    faults = Black(at_s=1, duration_s=1), Disconnect(at_s=3, duration_s=1), Wrap(at_s=6)
    frames, error = run_engine(reel, Scenario(faults=faults), pipeline, live=live)
    assert error is None
    assert frames["captured"] == frames["published"] + frames["lost late"]
    assert frames["captured"] > 150


def test_every_kind_of_fault_has_a_name_that_it_shall_be_called() -> None:
    assert set(WANTED) == set(KINDS)


def test_what_is_told_belongs_to_the_fault_it_follows() -> None:
    faults: tuple[Fault, ...] = Black(at_s=2, duration_s=1), Stall(at_s=6, duration_s=1)
    told = [
        Told(0.0, "running"),
        Told(1.0, "frozen"),
        Told(2.3, "black"),
        Told(3.1, "running"),
        Told(6.2, "burst"),
        Told(6.6, "stalled"),
    ]
    (black, stall), surplus = findings(Scenario(faults=faults), told)
    assert (black.named, black.right) == ("black", True)
    assert black.delay_s == pytest.approx(0.3)
    assert black.recovered_s == pytest.approx(0.1)
    assert (stall.named, stall.also, stall.right) == ("burst", ("burst",), False)
    assert stall.delay_s == pytest.approx(0.6)
    assert surplus == [Told(1.0, "frozen")]


def test_a_name_that_comes_too_late_is_not_right() -> None:
    (found,), _ = findings(Scenario(faults=(Black(at_s=2, duration_s=1),)), [Told(2.6, "black")])
    assert not found.right


def test_one_scenario_in_ten_has_no_fault() -> None:
    assert [len(scenario_of(seed).faults) for seed in range(20)] == ([0] + [2] * 9) * 2


def test_the_verdict_needs_every_figure(reel: Reel) -> None:
    engine = EngineFigures(runs=2, failed=[], captured=5, published=5, lost={})
    good = SignalFigures(
        scenarios=1, seconds=14, kinds=[], missed=[], fault_free_hours=0.01, false_alarms={}, engine=engine
    )
    assert good.passed
    assert list(tables(good))[-1] == "passed"
    assert not msgspec.structs.replace(good, false_alarms={"black": 1}).passed
    broken = msgspec.structs.replace(engine, failed=["scenario 3: no"])
    assert not msgspec.structs.replace(good, engine=broken).passed


def test_nothing_is_told_of_a_feed_without_faults(reel: Reel) -> None:
    assert [told.what for told in play(reel, Scenario(jitter_s=0.02))] == ["running"]
