"""What the latency bench computes, checked against planted truth."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from rich.console import Console

from scopeline_bench.ages import ages
from scopeline_bench.bus_ends import Heard
from scopeline_bench.chart import Axis, Bar, Curve, Mark, line_chart, waterfall
from scopeline_bench.compare_page import target_table
from scopeline_bench.compared import Compared, ComparePlan, ratios
from scopeline_bench.journeys import account, times
from scopeline_bench.live_page import live_filed, summary
from scopeline_bench.live_run import LivePlan, LiveRun, measure_live, stage_times
from scopeline_bench.machine import this_machine
from scopeline_bench.meter import count_checks, delay_checks, pacing_check, plants
from scopeline_bench.painter import Plant
from scopeline_bench.peers import PeerLive, live_figures
from scopeline_bench.spent import Spent
from scopeline_bench.stamps import Rows64

_MS = 1_000_000


def _received_ns(count: int, period_ms: float = 40.0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return (np.arange(count) * period_ms * _MS).astype(np.int64)


def test_percentiles_are_those_of_the_planted_ages() -> None:
    planted = np.random.default_rng(1).permutation(np.arange(1, 10_001) / 100)
    found = ages(planted, _received_ns(10_000), period_s=0.04)
    assert [found[name] for name in ("p50", "p95", "p99", "p99.9")] == pytest.approx(
        [50, 95, 99, 99.9], abs=0.02
    )
    assert (found.max, found.count) == (100.0, 10_000)


def test_intervals_hold_the_truth_of_most_samples_though_neighbours_are_alike() -> None:
    rng, held = np.random.default_rng(2), 0
    for seed in range(40):
        planted = np.repeat(rng.exponential(10, 80), 25)  # whole seconds that are good or bad
        figure = ages(planted, _received_ns(2000), period_s=0.04, seed=seed).figures["p50"]
        held += figure.low <= 10 * np.log(2) <= figure.high
    assert held >= 34


def test_jitter_is_the_mean_step_between_neighbours() -> None:
    found = ages(np.tile([10.0, 13.0], 500), _received_ns(1000), period_s=0.04)
    assert found.jitter == pytest.approx(3.0)
    assert found.interval_p99 == pytest.approx(0.0)


def test_the_seconds_of_a_run_are_told_apart() -> None:
    planted = np.concatenate([np.full(25, 5.0), np.full(25, 50.0)])
    found = ages(planted, _received_ns(50), period_s=0.04)
    assert [(each.at_s, each.p50) for each in found.seconds] == [(0, 5.0), (1, 50.0)]


def test_stages_and_bus_add_up_to_the_age() -> None:
    heard = np.array([[0, 100 * _MS, 0, 112 * _MS, 1, 4 * _MS, 9 * _MS, 10 * _MS]] * 3, np.int64)
    found = stage_times(heard)
    assert {name: each.p50 for name, each in found.items()} == {
        "prepare": 4,
        "infer": 5,
        "conclude": 1,
        "bus": 2,
    }


def _rows(planted: dict[int, Plant], base_ms: float) -> tuple[Rows64, Rows64, Rows64]:
    """What a perfect meter would have written down of the planted feed."""
    made: list[tuple[int, int]] = []
    captured: list[tuple[int, ...]] = []
    for place in range(300):
        plant = planted.get(place, Plant())
        number, at_ns = place + plant.ahead, place * 100 * _MS
        made.append((number, at_ns))
        if not plant.is_lost:
            captured.append(
                (len(captured), number, at_ns + round((base_ms + plant.held_s * 1e3) * _MS), 0, 0, 0, 0)
            )
    rows = np.array(captured, np.int64)
    heard = np.stack(
        [rows[:, 0], rows[:, 2], rows[:, 2], rows[:, 2] + 7 * _MS, np.ones(len(rows), np.int64)], 1
    )
    return np.array(made, np.int64), rows, heard


def test_the_meter_finds_what_it_plants_to_the_frame_and_the_microsecond() -> None:
    made, captured, heard = _rows(plants(), base_ms=2.5)
    delays = delay_checks(plants(), made, captured, heard)
    assert [check.found for check in delays] == pytest.approx([5, 20, 45], abs=0.001)
    counts = count_checks(plants(), account(made, captured, heard))
    assert all(check.is_right for check in counts), counts
    assert [check.planted for check in counts[:2]] != [0, 0]


def test_a_meter_that_is_wrong_by_more_than_a_millisecond_or_a_frame_is_noticed() -> None:
    made, captured, heard = _rows(plants(), base_ms=2.5)
    later = heard.copy()
    is_held_long = [plants().get(int(number), Plant()).held_s > 0.03 for number in captured[:, 1]]
    later[is_held_long, 1] += 1100 * _MS // 1000
    assert not all(check.is_right for check in delay_checks(plants(), made, captured, later))
    counts = count_checks(plants(), account(made, captured[:-1], heard))
    assert not all(check.is_right for check in counts)


def test_a_meter_that_counts_the_pause_between_pictures_is_noticed() -> None:
    right, wrong = times(np.full(9, 8.0)), times(np.full(9, 108.0))
    assert pacing_check(right, times(np.full(9, 9.0))).is_right
    assert not pacing_check(right, wrong).is_right


def test_what_a_subscriber_did_not_get_is_counted() -> None:
    heard = Heard.from_rows([(0, 10 * _MS, 11 * _MS), (1, 20 * _MS, 24 * _MS), (4, 50 * _MS, 51 * _MS)])
    assert heard.missed == 2
    assert heard.age_ms.tolist() == [1.0, 4.0, 1.0]
    assert heard.at_s.tolist() == pytest.approx([0, 0.013, 0.04])


def test_a_peer_is_measured_from_the_making_of_each_picture() -> None:
    made = np.array([[k, k * 100 * _MS] for k in range(10)], np.int64)
    heard = np.array([[2, 230 * _MS], [2, 900 * _MS], [4, 450 * _MS], [9, 999 * _MS]], np.int64)
    found = live_figures(made, heard, (100 * _MS, 600 * _MS))
    assert (found.made, found.without_result) == (5, 3)
    assert (found.made_to_received.p50, found.made_to_received.max) == (40.0, 50.0)


def _compared(ours: float, newest: float, roboflow: float) -> Compared:
    def live(p99: float) -> list[PeerLive]:
        return [
            PeerLive(
                made_to_received=msgspec.structs.replace(times(np.array([1.0])), p99=p99 * slow),
                results_s=30,
                made=300,
                without_result=0,
                curve=[(1.0, 0.0), (p99 * slow, 1.0)],
            )
            for slow in (1, 3)  # the second round ran on a machine three times as slow
        ]

    def spent(cpu_s: float) -> list[Spent]:
        return [
            Spent(frames=1000, user_s=cpu_s * slow, system_s=0, wall_s=1, switches=0, judged=1000)
            for slow in (1, 3)
        ]

    return Compared(
        plan=ComparePlan(rounds=2, seconds=1, fps=30, frames=1000),
        recording={
            "Scopeline": spent(8),
            "floor": spent(7.5),
            "OpenCV loop": spent(14),
            "PyAV loop": spent(9),
        },
        live={
            "Scopeline": live(ours),
            "newest-frame thread": live(newest),
            "Roboflow InferencePipeline": live(roboflow),
        },
        versions={},
        missing={},
        wrong={"PyAV loop": "judged 3 of 1000 pictures"},
        unaccounted=0,
        loads=[],
    )


def test_peers_are_compared_round_by_round_and_misses_are_said() -> None:
    verdicts = {row[0]: row[3] for row in target_table(_compared(20, 25, 26)).rows}
    assert verdicts["live, p99 age / newest-frame thread"] == "reached"
    assert verdicts["live, p99 age / Roboflow InferencePipeline"] == "missed by 0.07"
    assert ratios([1, 3], [2, 6]).highest == 0.5


def test_a_peer_that_skipped_pictures_is_not_the_cheapest() -> None:
    assert _compared(1, 1, 1).cheapest == "OpenCV loop"


def test_charts_are_well_formed_and_hold_their_words() -> None:
    axis = Axis("age, <ms>", 1, 100, logarithmic=True)
    curve = line_chart(
        "a & b", [Curve("one", [(1, 0), (10, 1)])], axis, Axis("share", 0, 1), [Mark("limit", 50)]
    )
    fall = waterfall("stages", [Bar("prepare", 0, 2, 5, "2 ms")], Axis("ms", 0, 10))
    for drawn in (curve, fall):
        ElementTree.fromstring(drawn)
    assert "a &amp; b" in curve
    assert "age, &lt;ms&gt;" in curve


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> LiveRun:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCOPELINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        plan = LivePlan(fps=25, seconds=2.0, pipeline="demo", size_px=(320, 240), company=("paused", "busy"))
        return measure_live(plan)


def test_a_real_run_accounts_for_every_frame_and_its_stages_add_up(small_run: LiveRun) -> None:
    assert small_run.unaccounted == 0
    assert small_run.ages.count > 10
    assert 0 <= small_run.missed <= 1
    assert list(small_run.stages) == ["source", "prepare", "infer", "conclude", "bus"]
    assert small_run.identity["demo"].startswith("sha256:")
    assert set(small_run.depths) == {"live", "ready", "done"}


def test_a_frame_nobody_answers_for_is_counted(small_run: LiveRun) -> None:
    assert msgspec.structs.replace(small_run, received=small_run.received - 2).unaccounted == 2
    assert msgspec.structs.replace(small_run, captured=small_run.captured + 1).unaccounted == 1


def test_a_run_is_filed_as_json_markdown_and_a_page_that_needs_nothing_else(
    small_run: LiveRun, tmp_path: Path
) -> None:
    found = live_filed("live", [small_run], [summary([small_run])], ["a note"], this_machine())
    found.file(Console(quiet=True), tmp_path / "results", tmp_path / "page.html")
    (folder,) = (tmp_path / "results").iterdir()
    assert {each.name for each in folder.iterdir()} == {"live.json", "live.md", "live.html"}
    page = (tmp_path / "page.html").read_text("utf-8")
    assert (folder / "live.html").read_text("utf-8") == page
    assert "no clearance claim" in page
    assert "120 ms" in page
    assert "5.75 ms" in page
    assert not any(word in page for word in ("<script", "src=", "href=", "@import", "url("))
