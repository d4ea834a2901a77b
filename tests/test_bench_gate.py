"""The gate's verdicts under planted changes and planted luck of processes."""

from __future__ import annotations

from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from scipy.stats import t

from scopeline_bench.gate import change_chart, filed
from scopeline_bench.machine import this_machine
from scopeline_bench.stages import STAGES, Timed
from scopeline_bench.verdict import (
    LEAST_SESSIONS,
    MOST_SESSIONS,
    Rounds,
    Session,
    Verdict,
    judge,
    student,
)


def _session(rng: np.random.Generator, change: float, luck: float) -> Session:
    """Three processes with luck of their own, on a machine that wanders by a fifth meanwhile."""
    tree, base, again = np.exp(rng.normal(0, luck, 3))
    wander = 1e-3 * np.exp(rng.normal(0, 0.2, 5))
    noise = np.exp(rng.normal(0, 0.02, (3, 5)))
    return Rounds(
        (wander * (1 + change) * tree * noise[0]).tolist(),
        (wander * base * noise[1]).tolist(),
        (wander * again * noise[2]).tolist(),
    ).session()


def _judged(change: float, luck: float, seed: int) -> Verdict:
    """As the gate goes on: until something can be said."""
    rng = np.random.default_rng(seed)
    sessions = [_session(rng, change, luck) for _ in range(LEAST_SESSIONS)]
    verdict = judge("stage", sessions, stages=13)
    while verdict.is_open and len(sessions) < MOST_SESSIONS:
        sessions.append(_session(rng, change, luck))
        verdict = judge("stage", sessions, stages=13)
    return verdict


def test_a_slow_down_of_a_fifth_is_found_under_luck_that_would_hide_it_from_one_process() -> None:
    assert sum(_judged(0.2, 0.03, seed).is_slower for seed in range(60)) >= 58


@pytest.mark.parametrize("luck", [0.005, 0.03, 0.08])
def test_stages_that_did_not_change_pass_however_lucky_their_processes_are(luck: float) -> None:
    assert sum(_judged(0.0, luck, seed).is_slower for seed in range(300)) <= 1


def test_the_change_that_is_told_is_the_planted_one() -> None:
    assert np.median([_judged(0.2, 0.01, seed).ratio for seed in range(40)]) == pytest.approx(1.2, abs=0.01)


def test_rounds_within_a_session_do_not_make_it_surer() -> None:
    few = Rounds([1.1] * 3, [1.0] * 3, [1.0] * 3).session()
    many = Rounds([1.1] * 300, [1.0] * 300, [1.0] * 300).session()
    assert few == many


def test_noise_in_which_nothing_could_be_seen_is_said() -> None:
    assert _judged(0.0, 0.3, seed=3).is_too_noisy


def test_the_quantile_is_that_of_students_distribution() -> None:
    for freedom in (7, 11, 19):
        for share in (0.95, 0.999, 0.9999):
            assert student(share, freedom) == pytest.approx(t.ppf(share, freedom), rel=0.02)


def test_a_stage_can_be_timed_and_slowed_down() -> None:
    assert Timed("encode", 1.0).seconds() > Timed("encode").seconds()
    assert {"decode 10 frames", "onnxruntime fp32", "smoother", "publish", "hand-off"} <= set(STAGES)


def test_the_chart_shows_every_stage_and_the_page_says_which_is_slower() -> None:
    slower = _judged(0.3, 0.01, seed=1)
    same = msgspec.structs.replace(_judged(0.0, 0.01, seed=2), name="encode <1>")
    ElementTree.fromstring(change_chart([slower, same]))
    page = filed("abc", [slower, same], {}, {}, None, this_machine()).html()
    assert "SLOWER than abc: stage." in page
    assert "encode &lt;1&gt;" in page


def test_a_stage_of_which_nothing_can_be_said_is_not_called_unchanged() -> None:
    undecided = next(
        found for seed in range(100) if (found := _judged(0.2, 0.06, seed)).is_open and not found.is_slower
    )
    page = filed("abc", [undecided], {}, {}, None, this_machine()).html()
    assert "Cannot tell of: stage." in page


def test_a_stage_that_the_working_tree_cannot_do_any_more_is_told_as_a_failure() -> None:
    page = filed("abc", [], {}, {"publish": "ImportError: gone"}, None, this_machine()).html()
    assert "The working tree cannot do any more: publish." in page
    assert "ImportError: gone" in page
