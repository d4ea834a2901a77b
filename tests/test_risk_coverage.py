from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fakes import MES, QUALITY
from scopeline.config import load_pipeline
from scopeline_calibration.risk_coverage import choose_bound, operating_point, risk_coverage
from scopeline_calibration.thresholds import with_bounds, write_usable_at
from tiny_bundle import write_tiny_pipeline


def test_the_curve_counts_what_is_answered_and_what_of_it_is_wrong() -> None:
    curve = risk_coverage(np.array([0.9, 0.8, 0.8, 0.4]), np.array([False, True, False, True]))
    assert curve.bounds.tolist() == [0.9, 0.8, 0.4]
    assert curve.coverage.tolist() == [0.25, 0.75, 1.0]
    assert curve.risk == pytest.approx([0.0, 1 / 3, 0.5])
    assert curve.risk_at(0.7) == pytest.approx(1 / 3)


def test_the_bound_for_a_stated_risk_is_where_the_planted_risk_is() -> None:
    # Wrong with the probability 1 - score: the mean risk above a bound b is (1 - b) / 2.
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=20_000)
    wrong = rng.uniform(size=20_000) > scores
    assert choose_bound(scores, wrong, 0.1) == pytest.approx(0.8, abs=0.03)
    point = operating_point(scores, wrong, np.arange(20_000), risk=0.1)
    assert point is not None
    assert point.risk == pytest.approx(0.1, abs=0.01)
    assert point.low < 0.1 < point.high + 0.01
    assert point.coverage == pytest.approx(0.2, abs=0.03)


def test_a_risk_that_no_bound_reaches_has_no_operating_point() -> None:
    scores = np.linspace(0, 1, 200)
    wrong = np.arange(200) % 2 == 0
    assert choose_bound(scores, wrong, 0.05) is None
    assert operating_point(scores, wrong, np.arange(200), risk=0.05) is None


def test_a_handful_of_lucky_answers_is_no_operating_point() -> None:
    scores = np.concatenate([np.full(10, 0.9), np.full(90, 0.2)])
    wrong = scores < 0.5
    assert choose_bound(scores, wrong, 0.1) is None


def test_the_quality_gate_goes_into_the_pipeline_file_and_the_rest_stays(tmp_path: Path) -> None:
    file = write_tiny_pipeline(tmp_path)
    file.write_text(
        file.read_text() + "[quality]\nusable_at = 0.5 # fifty-fifty\n\n[segments]\nmerge_s = 4.0\n"
    )
    write_usable_at(file, 0.71239)
    assert load_pipeline(file).quality.usable_at == 0.712
    assert "usable_at = 0.712 # fifty-fifty" in file.read_text()
    assert load_pipeline(file).segments.merge_s == 4.0


def test_a_pipeline_file_without_a_quality_section_gets_one(tmp_path: Path) -> None:
    file = write_tiny_pipeline(tmp_path)
    write_usable_at(file, 0.25)
    assert load_pipeline(file).quality.usable_at == 0.25


def test_bounds_are_rounded_so_that_the_picture_on_them_is_still_answered() -> None:
    heads = with_bounds((QUALITY, MES), {"mes": 0.45678})
    assert [head.abstain_below for head in heads] == [0.0, 0.456]
