from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import entropy

from fakes import MES, ORGAN, POLYP, QUALITY
from scopeline.bundle import Input
from scopeline.conclude import Concluder, Identity, Moment
from scopeline.config import BundleChoice, Pipeline, Publishing
from scopeline.crop import CropKind
from scopeline.errors import ConfigError
from scopeline.field_of_view import FieldOfView, Shape
from scopeline.field_tracker import FieldEvent
from scopeline.marked_area import MaskTracer
from scopeline.marks import Mark, Marks
from scopeline.notices import Signal
from scopeline.prediction import Prediction, Probabilities, Reason
from scopeline.prepare import Prepared
from scopeline.signal_watch import SignalWatch
from scopeline.smoothing import SmoothingSettings
from scopeline.wire import FieldMessage, FrameMessage, LedgerReport, Message, SegmentMessage, StatusMessage

_FIELD = FieldOfView(1, Shape.FULL, 0, 0, 64, 48, 64, 48)
_IDENTITY = Identity("session", "source", "test", "sha256:1", {"fake": "sha256:2/fake/fp32"}, "0")
_LEDGER = LedgerReport(captured=1, published=1, in_flight=0, lost={}, damaged={})
_RECTUM, _SIGMOID = (0.02, 0.96, 0.02), (0.02, 0.02, 0.96)
_MES2 = (0.02, 0.02, 0.94, 0.02)
_FPS = 10


def _concluder(marks: Marks | None = None, **changes: object) -> Concluder:
    pipeline = Pipeline(name="test", bundles=(BundleChoice(path="nowhere"),), **changes)  # type: ignore[arg-type]
    return Concluder(_IDENTITY, pipeline, (QUALITY, ORGAN, MES), marks)


def _prepared(seq: int, field: FieldOfView | None = _FIELD, event: FieldEvent | None = None) -> Prepared:
    return Prepared(seq, 1_000_000 * seq, seq / _FPS, 1_000_000 * seq + 500_000, field, event, (), None)


def _judged(seq: int, organ: Sequence[float] = _RECTUM, mes: Sequence[float] = _MES2) -> Prediction:
    scores: dict[str, Probabilities] = {
        "quality": np.array([0.02, 0.98], np.float32),
        "organ": np.array(organ, np.float32),
        "mes": np.array(mes, np.float32),
    }
    return Prediction(seq, 1_000_000 * seq, seq / _FPS, scores, None, 0.98)


def _moment(seq: int) -> Moment:
    return Moment(1_000_000 * seq + 2_000_000, 1_000_000 * seq + 1_000_000, _LEDGER)


def _run(concluder: Concluder, predictions: Sequence[Prediction]) -> list[Message]:
    messages: list[Message] = []
    for prediction in predictions:
        messages += concluder.conclude(_prepared(prediction.seq), prediction, _moment(prediction.seq))
    return [*messages, *concluder.finish(_moment(len(predictions)))]


def _last_frame(messages: Sequence[Message]) -> FrameMessage:
    return [message for message in messages if isinstance(message, FrameMessage)][-1]


def _finals(messages: Sequence[Message]) -> list[SegmentMessage]:
    return [
        message for message in messages if isinstance(message, SegmentMessage) and message.state == "final"
    ]


def test_a_head_is_published_with_its_entropy_and_expected_grade() -> None:
    [message] = [m for m in _run(_concluder(), [_judged(0)]) if isinstance(m, FrameMessage)]
    assert message.heads["mes"].probabilities == pytest.approx(
        dict(zip("0123", _MES2, strict=True)), abs=1e-5
    )
    assert message.heads["mes"].expected == pytest.approx(np.dot(_MES2, range(4)), abs=1e-4)
    assert message.heads["organ"].expected is None
    assert message.heads["mes"].entropy == pytest.approx(entropy(_MES2), abs=1e-4)


def test_stage_times_are_arithmetic_on_the_birth_stamp() -> None:
    message = _last_frame(_run(_concluder(), [_judged(3)]))
    assert message.stages_ms == {"prepare": 0.5, "infer": 1.0, "conclude": 2.0}


def test_a_long_stretch_becomes_one_segment_with_its_grade() -> None:
    [segment] = _finals(_run(_concluder(), [_judged(seq) for seq in range(200)]))
    assert (segment.location, segment.mes_dominant, segment.mes_worst) == ("rectum", 2, 2)
    assert segment.frames_seen == segment.frames_usable == 200


def test_a_mark_overrides_the_model_and_is_published() -> None:
    marks = Marks([Mark(0.0, "segment", "sigmoid")])
    messages = _run(_concluder(marks), [_judged(seq) for seq in range(200)])
    [segment] = _finals(messages)
    assert (segment.location, segment.marked) == ("sigmoid", True)
    [status] = [m for m in messages if isinstance(m, StatusMessage) and m.event == "mark"]
    assert "sigmoid" in status.text


def test_frames_without_a_verdict_leave_the_segment_not_assessable() -> None:
    blurred = [Prediction(seq, seq, seq / _FPS, {}, Reason.BLURRED, 0.1) for seq in range(20, 200)]
    messages = _run(_concluder(), [*(_judged(seq) for seq in range(20)), *blurred])
    first = _finals(messages)[0]
    assert not first.assessable
    assert first.mes_worst is None
    assert first.reasons["blurred"] > 0


def test_while_the_scope_is_blind_the_last_tag_is_not_repeated_for_ever() -> None:
    dark = [Prediction(seq, seq, seq / _FPS, {}, Reason.BLACK) for seq in range(100, 300)]
    last = _last_frame(_run(_concluder(), [*(_judged(seq) for seq in range(100)), *dark]))
    assert last.state == "not_assessable"
    assert last.smoothed["organ"].tag is None


def test_a_field_event_comes_before_the_frame_that_uses_it() -> None:
    event = FieldEvent("locked", 0.0, _FIELD)
    messages = list(_concluder().conclude(_prepared(0, event=event), _judged(0), _moment(0)))
    assert isinstance(messages[0], FieldMessage)
    assert messages[0].box == (0, 0, 64, 48)
    assert isinstance(messages[-1], FrameMessage)
    assert messages[-1].field == 1


def test_before_the_field_is_known_the_engine_says_it_is_warming_up() -> None:
    blind = Prediction(0, 0, 0.0, {}, Reason.NO_FIELD)
    [message] = list(_concluder().conclude(_prepared(0, field=None), blind, _moment(0)))
    assert isinstance(message, FrameMessage)
    assert message.state == "warming_up"


def test_with_a_fixed_lag_every_frames_tag_is_revised_once() -> None:
    concluder = _concluder(smoothing={"organ": SmoothingSettings(lag_s=3.0)})
    predictions = [_judged(seq) for seq in range(100)] + [_judged(seq, _SIGMOID) for seq in range(100, 200)]
    messages = _run(concluder, predictions)
    revisions = [r for message in messages if isinstance(message, FrameMessage) for r in message.revisions]
    revisions += concluder.status("ended", "", _moment(200)).revisions
    assert [revision.time_s for revision in revisions] == [seq / _FPS for seq in range(200)]
    assert sum(revision.tag != revision.live_tag for revision in revisions) > 0


@pytest.mark.parametrize("head", ["orgn", "quality"])
def test_settings_for_a_head_that_is_not_smoothed_are_refused(head: str) -> None:
    with pytest.raises(ConfigError, match=rf"smoothing\.{head}.*'organ', 'mes'"):
        _concluder(smoothing={head: SmoothingSettings(tau_s=2.0)})


def test_the_time_of_day_is_left_out_unless_it_is_asked_for() -> None:
    silent = _last_frame(_run(_concluder(), [_judged(0)]))
    spoken = _last_frame(_run(_concluder(publish=Publishing(wall_clock=True)), [_judged(0)]))
    assert silent.wall_unix_s is None
    assert spoken.wall_unix_s is not None
    assert spoken.wall_unix_s > 1.7e9


def test_a_head_abstains_below_its_threshold() -> None:
    heads = (QUALITY, ORGAN, MES.__class__(name="mes", role="grade", labels=MES.labels, abstain_below=0.9))
    pipeline = Pipeline(name="test", bundles=(BundleChoice(path="nowhere"),))
    concluder = Concluder(_IDENTITY, pipeline, heads)
    unsure = _judged(0, mes=(0.25, 0.25, 0.25, 0.25))
    sure = _judged(1)
    answers = [
        _last_frame(list(concluder.conclude(_prepared(p.seq), p, _moment(p.seq)))).heads["mes"].abstain
        for p in (unsure, sure)
    ]
    assert answers == [True, False]


def test_a_late_joiner_learns_every_five_seconds_what_it_listens_to() -> None:
    messages = _run(_concluder(), [_judged(seq) for seq in range(121)])
    running = [
        message for message in messages if isinstance(message, StatusMessage) and message.event == "running"
    ]
    assert [status.sent["frame"] for status in running] == [51, 101]
    assert running[0].source == "source"


def _with_masks(watch: SignalWatch | None = None, *, mask_rle: bool = False) -> Concluder:
    pipeline = Pipeline(
        name="test", bundles=(BundleChoice(path="nowhere"),), publish=Publishing(mask_rle=mask_rle)
    )
    tracer = MaskTracer(POLYP, Input(width=32, height=32, crop=CropKind.INSCRIBED))
    return Concluder(_IDENTITY, pipeline, (QUALITY, POLYP), None, watch, {"polyp": tracer})


def _marked(seq: int) -> Prediction:
    mask = np.zeros((32, 32), np.float32)
    mask[8:16, 8:24] = 0.9
    scores: dict[str, Probabilities] = {"quality": np.array([0.02, 0.98], np.float32)}
    return Prediction(seq, 1_000_000 * seq, seq / _FPS, scores, None, 0.98, {"polyp": mask})


def test_a_mask_is_published_in_signal_pixels_and_is_not_smoothed() -> None:
    message = _last_frame(_run(_with_masks(), [_marked(0)]))
    result = message.masks["polyp"]
    assert (result.label, result.threshold, result.regions, result.rle) == ("polyp", 0.5, 1, None)
    assert result.peak == pytest.approx(0.9)
    assert result.box is not None
    [contour] = result.contours
    assert np.array(contour).min(axis=0) == pytest.approx(result.box[:2], abs=1)
    assert (set(message.smoothed), set(message.heads)) == (set(), {"quality"})


def test_a_mask_is_published_as_run_lengths_when_the_pipeline_says_so() -> None:
    runs = _last_frame(_run(_with_masks(mask_rle=True), [_marked(0)])).masks["polyp"].rle
    assert runs is not None
    assert runs.size == (32, 32)
    # Column after column: eight columns of nothing, then sixteen times eight marked of 32.
    assert runs.counts == [8 * 32 + 8, *[8, 24] * 15, 8, 16 + 8 * 32]


def test_no_mask_is_published_without_a_verdict_or_while_the_picture_is_no_scopes() -> None:
    dark = Prediction(0, 0, 0.0, {}, Reason.BLACK)
    assert not _last_frame(_run(_with_masks(), [dark])).masks
    concluder = _with_masks(SignalWatch())
    bars = replace(_prepared(0), weather=Signal.COLOUR_BARS)
    assert not _last_frame(list(concluder.conclude(bars, _marked(0), _moment(0)))).masks
    assert _last_frame(list(concluder.conclude(_prepared(1), _marked(1), _moment(1)))).masks


def test_a_mask_head_cannot_be_smoothed() -> None:
    pipeline = Pipeline(
        name="test",
        bundles=(BundleChoice(path="nowhere"),),
        smoothing={"polyp": SmoothingSettings()},
    )
    with pytest.raises(ConfigError, match="no bundle has such a head to be smoothed"):
        Concluder(_IDENTITY, pipeline, (QUALITY, POLYP))
