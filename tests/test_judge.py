from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from fakes import MES, ORGAN, POLYP, QUALITY, FakeBackend, fake_bundle, scope_pixels
from scopeline.bundle import Head
from scopeline.config import Condition, HeadRule
from scopeline.errors import ConfigError
from scopeline.judge import Judge, Model
from scopeline.picture import Pixels
from scopeline.prediction import Reason
from scopeline.prepare import Prepared

GOOD = (-5.0, 5.0)
BAD = (5.0, -5.0)
RECTUM = (0.0, 9.0, 0.0)


def _prepared(
    seq: int, time_s: float | None = None, *, reason: Reason | None = None, level: int = 120
) -> Prepared:
    pixels = scope_pixels(level, seed=seq, width=32, height=32)
    at_s = seq / 10 if time_s is None else time_s
    return Prepared(seq, seq * 1000, at_s, 0, None, None, () if reason else (pixels,), reason)


def _model(*heads: Head, backend: FakeBackend, name: str = "fake") -> Model:
    return Model(fake_bundle(*heads, name=name), backend, 0)


def _always(**logits: tuple[float, ...]) -> FakeBackend:
    return FakeBackend(lambda picture: logits)


def test_every_head_answers_when_nothing_restrains_it() -> None:
    backend = _always(quality=GOOD, organ=RECTUM, mes=(0.0, 0.0, 0.0, 0.0))
    [prediction] = Judge([_model(QUALITY, ORGAN, MES, backend=backend)], {}, usable_at=0.5).judge(
        [_prepared(0)]
    )
    assert set(prediction.scores) == {"quality", "organ", "mes"}
    assert prediction.scores["mes"] == pytest.approx(np.full(4, 0.25))
    assert prediction.quality == pytest.approx(1 / (1 + np.exp(-10)))


def test_a_frame_of_bad_quality_gets_a_reason_instead_of_scores() -> None:
    backend = _always(quality=BAD, organ=RECTUM)
    [prediction] = Judge([_model(QUALITY, ORGAN, backend=backend)], {}, usable_at=0.5).judge(
        [_prepared(0, level=30)]
    )
    assert prediction.reason is not None
    assert not prediction.scores
    assert prediction.quality is not None
    assert prediction.quality < 0.5


def test_a_frame_that_was_refused_before_never_reaches_a_network() -> None:
    backend = _always(quality=GOOD)
    judge = Judge([_model(QUALITY, backend=backend)], {}, usable_at=0.5)
    predictions = judge.judge([_prepared(0, reason=Reason.BLACK), _prepared(1)])
    assert [prediction.reason for prediction in predictions] == [Reason.BLACK, None]
    assert backend.batches == [1]


def test_a_gated_network_runs_only_on_frames_that_pass() -> None:
    def quality_by_brightness(picture: Pixels) -> dict[str, tuple[float, ...]]:
        return {"quality": GOOD if picture.mean() > 100 else BAD}

    organ = _always(organ=RECTUM)
    rule = HeadRule(when=Condition(head="quality", label="good", at_least=0.5))
    judge = Judge(
        [
            _model(QUALITY, backend=FakeBackend(quality_by_brightness)),
            _model(ORGAN, backend=organ, name="second"),
        ],
        {"organ": rule},
        usable_at=0.0,
    )
    bright, dark = judge.judge([_prepared(0, level=150), _prepared(1, level=50)])
    assert "organ" in bright.scores
    assert "organ" not in dark.scores
    assert organ.batches == [1]


def test_a_gate_within_one_network_withholds_the_answer() -> None:
    backend = _always(organ=(9.0, 0.0, 0.0), mes=(0.0, 0.0, 0.0, 9.0))
    rule = HeadRule(when=Condition(head="organ", label="rectum", at_least=0.5))
    [prediction] = Judge([_model(ORGAN, MES, backend=backend)], {"mes": rule}, usable_at=0.5).judge(
        [_prepared(0)]
    )
    assert set(prediction.scores) == {"organ"}


def test_a_gate_can_ask_for_little_of_a_label() -> None:
    backend = _always(organ=(9.0, 0.0, 0.0), mes=(0.0, 0.0, 0.0, 9.0))
    outside = HeadRule(when=Condition(head="organ", label="outside", at_most=0.5))
    inside = HeadRule(when=Condition(head="organ", label="rectum", at_most=0.5))
    for rule, heads in ((outside, {"organ"}), (inside, {"organ", "mes"})):
        judge = Judge([_model(ORGAN, MES, backend=backend)], {"mes": rule}, usable_at=0.5)
        assert set(judge.judge([_prepared(0)])[0].scores) == heads


def test_a_rated_head_is_asked_at_most_once_in_its_interval() -> None:
    backend = _always(organ=RECTUM)
    judge = Judge([_model(ORGAN, backend=backend)], {"organ": HeadRule(every_ms=250)}, usable_at=0.5)
    asked = [bool(judge.judge([_prepared(seq)])[0].scores) for seq in range(8)]
    assert asked == [True, False, False, True, False, False, True, False]


def test_a_frame_on_which_no_head_is_due_says_so() -> None:
    judge = Judge(
        [_model(ORGAN, backend=_always(organ=RECTUM))], {"organ": HeadRule(every_ms=1000)}, usable_at=0.5
    )
    assert [judge.judge([_prepared(seq)])[0].reason for seq in (0, 1)] == [None, Reason.NOT_DUE]


def test_frames_go_through_a_network_in_one_batch() -> None:
    backend = FakeBackend(lambda picture: {"organ": (float(picture.mean()), 0.0, 0.0)})
    judge = Judge([_model(ORGAN, backend=backend)], {}, usable_at=0.5)
    predictions = judge.judge([_prepared(seq, level=100 + seq) for seq in range(3)])
    assert backend.batches == [3]
    assert [prediction.seq for prediction in predictions] == [0, 1, 2]


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ({"glottis": HeadRule()}, "no bundle has such a head"),
        (
            {"organ": HeadRule(when=Condition(head="quality", label="fine", at_least=0.5))},
            "there are the heads and labels",
        ),
        (
            {"mes": HeadRule(when=Condition(head="polyp", label="polyp"))},
            "there are the heads and labels",
        ),
        (
            {"quality": HeadRule(when=Condition(head="organ", label="rectum", at_least=0.5))},
            "must come before",
        ),
    ],
)
def test_rules_that_cannot_work_are_refused(rules: dict[str, HeadRule], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Judge([_model(QUALITY, ORGAN, POLYP, MES, backend=_always())], rules, usable_at=0.5)


def test_two_bundles_cannot_share_a_heads_name() -> None:
    with pytest.raises(ConfigError, match="cannot share"):
        Judge([_model(ORGAN, backend=_always()), _model(ORGAN, backend=_always())], {}, usable_at=0.5)


def _marking(seen: Pixels) -> dict[str, NDArray[np.float32]]:
    """A mask that is what is seen: logits are the red channel less 140."""
    return {"polyp": (seen[..., 0].astype(np.float32) - 140)[None]}


def test_a_mask_is_the_probability_of_every_pixel_of_the_view() -> None:
    frame = _prepared(0)
    judge = Judge([_model(POLYP, backend=FakeBackend(_marking))], {}, usable_at=0.5)
    [prediction] = judge.judge([frame])
    assert (prediction.reason, prediction.scores) == (None, {})
    red = frame.views[0][..., 0].astype(np.float64)
    assert prediction.masks["polyp"] == pytest.approx(expit(red - 140), abs=1e-6)


def test_a_frame_of_bad_quality_gets_no_mask() -> None:
    models = [
        _model(QUALITY, backend=_always(quality=BAD)),
        _model(POLYP, backend=FakeBackend(_marking), name="second"),
    ]
    [prediction] = Judge(models, {}, usable_at=0.5).judge([_prepared(0)])
    assert prediction.reason is not None
    assert not prediction.masks


def test_a_mask_is_asked_for_when_its_rule_says_so() -> None:
    def quality_by_brightness(picture: Pixels) -> dict[str, tuple[float, ...]]:
        return {"quality": GOOD if picture.mean() > 100 else BAD}

    masks = FakeBackend(_marking)
    models = [
        _model(QUALITY, backend=FakeBackend(quality_by_brightness)),
        _model(POLYP, backend=masks, name="second"),
    ]
    rule = HeadRule(every_ms=250, when=Condition(head="quality", label="good", at_least=0.5))
    judge = Judge(models, {"polyp": rule}, usable_at=0.0)
    levels = [150, 150, 150, 50, 150, 150, 150]
    predictions = judge.judge([_prepared(seq, level=level) for seq, level in enumerate(levels)])
    assert [prediction.seq for prediction in predictions if prediction.masks] == [0, 4]
    assert masks.batches == [2]
