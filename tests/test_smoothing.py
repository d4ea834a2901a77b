"""Smoothing: steady tags from planted sequences."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from scopeline.smoothing import GRADE_SMOOTHING, Smoothed, Smoother, SmoothingSettings, make_smoother

SURE = 0.9
METHODS = ["ema", "hmm"]


def shares(label: int, *, of: int = 4, sure: float = SURE) -> np.ndarray:
    """(K,) probabilities with most on one label."""
    values = np.full(of, (1 - sure) / (of - 1), dtype=np.float32)
    values[label] = sure
    return values


def play(
    smoother: Smoother, labels: list[int], *, start_s: float = 0.0, fps: float = 10.0, weight: float = 0.9
) -> list[Smoothed]:
    """Confident frames of the given labels."""
    return [
        smoother.update(start_s + index / fps, shares(label), weight) for index, label in enumerate(labels)
    ]


def smoother_of(**changes: object) -> Smoother:
    return make_smoother(msgspec.structs.replace(SmoothingSettings(), **changes), 4)


@pytest.mark.parametrize("method", METHODS)
def test_a_steady_head_is_tagged_within_a_few_seconds(method: str) -> None:
    results = play(smoother_of(method=method), [2] * 60)
    assert results[0].tag is None
    assert results[-1].tag == 2
    assert results[-1].since_s is not None
    assert results[-1].since_s < 5.0


@pytest.mark.parametrize("method", METHODS)
def test_a_flash_of_another_label_does_not_move_the_tag(method: str) -> None:
    results = play(smoother_of(method=method), [0] * 100 + [3] * 5 + [0] * 100)
    assert {result.tag for result in results[100:]} == {0}


@pytest.mark.parametrize("method", METHODS)
def test_a_lasting_change_moves_the_tag_once(method: str) -> None:
    tags = [result.tag for result in play(smoother_of(method=method), [0] * 200 + [1] * 200)]
    assert tags[-1] == 1
    assert sum(one != other for one, other in pairwise(tags[100:])) == 1


def test_a_surer_head_changes_the_tag_sooner() -> None:
    def delay_s(sure: float) -> float:
        smoother = smoother_of()
        for index in range(300):
            smoother.update(index / 10, shares(0), 0.9)
        for index in range(300, 1200):
            if smoother.update(index / 10, shares(1, sure=sure), 0.9).tag == 1:
                return index / 10 - 30.0
        raise AssertionError("the tag never changed")

    assert delay_s(0.95) < delay_s(0.7) < delay_s(0.55)


def test_bad_frames_hardly_count() -> None:
    smoother = smoother_of()
    play(smoother, [0] * 100)
    assert play(smoother, [1] * 60, start_s=10.0, weight=0.1)[-1].tag == 0
    assert play(smoother, [1] * 60, start_s=16.0, weight=0.95)[-1].tag == 1


def test_the_mean_follows_its_formula_whatever_the_frame_rate() -> None:
    # After t seconds of one label at full quality: m = p + (m0 - p) exp(-t / tau), m0 = 1/K.
    for fps in (5.0, 10.0, 50.0):
        smoother = smoother_of(tau_s=2.0)
        results = play(smoother, [1] * (1 + round(3 * fps)), fps=fps, weight=1.0)
        expected = SURE + (0.25 - SURE) * math.exp(-3.0 / 2.0)
        assert results[-1].posterior[1] == pytest.approx(expected, rel=1e-5)


def test_a_dropped_frame_is_a_longer_step() -> None:
    whole, thinned = smoother_of(tau_s=2.0), smoother_of(tau_s=2.0)
    for index in range(31):
        every = whole.update(index / 10, shares(1), 1.0)
        if index % 3 == 0:
            some = thinned.update(index / 10, shares(1), 1.0)
    np.testing.assert_allclose(every.posterior, some.posterior, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_posterior_is_a_distribution(method: str) -> None:
    rng = np.random.default_rng(3)
    smoother = smoother_of(method=method)
    for index in range(200):
        result = smoother.update(index / 25, rng.dirichlet(np.ones(4)).astype(np.float32), rng.random())
        assert result.posterior.sum() == pytest.approx(1.0, abs=1e-5)
        assert (result.posterior >= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_without_evidence_the_tag_stays_a_while_and_then_goes(method: str) -> None:
    smoother = smoother_of(method=method, forget_s=10.0)
    play(smoother, [0] * 100)
    assert smoother.hold(15.0).tag == 0
    gone = smoother.hold(20.5)
    assert gone.tag is None
    assert gone.since_s is None


def test_the_tag_returns_after_a_long_silence_only_with_new_evidence() -> None:
    smoother = smoother_of()
    play(smoother, [0] * 100)
    results = play(smoother, [2] * 60, start_s=100.0)
    assert results[0].tag is None
    assert results[-1].tag == 2


def test_a_tag_stays_for_its_dwell() -> None:
    smoother = make_smoother(msgspec.structs.replace(GRADE_SMOOTHING, confirm_s=0.5), 4)
    tags = [result.tag for result in play(smoother, [0] * 30 + [1] * 200)]
    taken = tags.index(0)
    assert 1 in tags
    assert tags.index(1) - taken >= 50


def test_a_revision_puts_the_change_where_it_was() -> None:
    smoother = smoother_of(lag_s=8.0)
    play(smoother, [0] * 100 + [1] * 200)
    revisions = [*smoother.revisions(), *smoother.finish()]
    assert [revision.time_s for revision in revisions] == pytest.approx([index / 10 for index in range(300)])
    assert all(revision.final for revision in revisions)
    assert [revision.tag for revision in revisions] == [0] * 100 + [1] * 200
    assert revisions[101].live_tag == 0


def test_without_a_lag_there_are_no_revisions() -> None:
    smoother = smoother_of()
    play(smoother, [0] * 100)
    assert smoother.revisions() == smoother.finish() == []


@pytest.mark.parametrize("method", METHODS)
def test_a_head_that_runs_on_every_fifth_frame_is_hardly_slower(method: str) -> None:
    def taken_s(every: int) -> float:
        smoother = smoother_of(method=method)
        for index in range(300):
            is_due, time_s = index % every == 0, index / 10
            result = smoother.update(time_s, shares(2), 0.9) if is_due else smoother.hold(time_s)
            if result.tag == 2:
                return index / 10
        raise AssertionError("never tagged")

    assert taken_s(5) <= taken_s(1) + 1.0


def test_the_first_frame_after_a_bad_burst_does_not_speak_for_the_burst() -> None:
    smoother = smoother_of(tau_s=1.0)
    play(smoother, [0] * 50)
    for index in range(50, 59):
        before = smoother.hold(index / 10)
    after = smoother.update(5.9, shares(1), 1.0)
    gain = (after.posterior[1] - before.posterior[1]) / (SURE - before.posterior[1])
    assert gain == pytest.approx(1 - math.exp(-0.1), rel=1e-4)


def test_time_must_not_fall() -> None:
    smoother = smoother_of()
    smoother.update(1.0, shares(0), 1.0)
    with pytest.raises(ValueError, match="must not fall"):
        smoother.update(0.9, shares(0), 1.0)


def test_the_number_of_labels_is_checked() -> None:
    with pytest.raises(ValueError, match=r"must be \(4,\), got \(3,\)"):
        smoother_of().update(0.0, shares(0, of=3), 1.0)


def test_settings_refuse_unknown_and_impossible_values() -> None:
    with pytest.raises(msgspec.ValidationError, match="windw_s"):
        msgspec.toml.decode(b"windw_s = 3.0", type=SmoothingSettings)
    with pytest.raises(msgspec.ValidationError, match="tau_s must be above 0"):
        msgspec.toml.decode(b"tau_s = 0.0", type=SmoothingSettings)
