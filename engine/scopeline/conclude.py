"""Conclude: predictions over time become messages: steadied, in segments, with everything a subscriber needs.

Nothing here reads a clock except the stamp of publishing: the same stamps in give the same tags out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scopeline.bundle import Head
from scopeline.config import Pipeline
from scopeline.errors import ConfigError
from scopeline.field_of_view import FieldOfView
from scopeline.field_tracker import FieldEvent
from scopeline.fixed_lag import Revision
from scopeline.marked_area import MaskTracer
from scopeline.marks import Mark, MarkSource
from scopeline.mask_results import tell_masks
from scopeline.notices import Incident, Notice, Signal, Trouble
from scopeline.prediction import Prediction, Probabilities
from scopeline.prepare import Prepared
from scopeline.segment_findings import said_of_frame
from scopeline.segments import Observation, Segment, Segmenter
from scopeline.signal_watch import SignalChange, SignalWatch
from scopeline.smoothing import (
    GRADE_SMOOTHING,
    LOCATION_SMOOTHING,
    Smoothed,
    Smoother,
    SmoothingSettings,
    make_smoother,
)
from scopeline.wire import (
    CurrentSegment,
    FieldMessage,
    FrameMessage,
    HeadResult,
    LedgerReport,
    MaskResult,
    Message,
    OverlayBox,
    RevisedTag,
    SegmentMessage,
    SmoothedHead,
    StatusEvent,
    StatusMessage,
    wall_clock,
)

_DIGITS = 5
"""Probabilities are published to five decimals: far below any network's own noise, half the bytes."""

_STATUS_EVERY_S = 5.0
_DAMAGE_EVERY_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """What a run is, said with every message."""

    session: str
    source: str
    pipeline: str
    config: str
    models: Mapping[str, str]
    version: str
    replay: str | None = None
    """Address at which missed messages can be asked for again."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of the run while a message is made; everything that is not arithmetic on the frame's stamps."""

    now_ns: int
    infer_ns: int
    ledger: LedgerReport
    newest_ns: int | None = None
    """Live: when the newest frame was captured, whether or not it has come through."""
    silence_limit_ns: int = 0
    """Live: how long the feed may be silent."""
    notices: Sequence[Notice] = ()
    """What others have to tell since the last moment."""


class Concluder:
    """Turns predictions into messages, one frame after the other. Belongs to one thread.

    Args:
        identity: What is said with every message.
        pipeline: The set-up.
        heads: All heads of its bundles.
        marks: What the operator says.
        watch: Live, knows the weather of the signal. While it is anything but running no tag is published.
        tracers: By name, one for every mask head.

    Raises:
        ConfigError: the pipeline smooths a head that no bundle has, or that is not smoothed (quality, masks).
    """

    def __init__(
        self,
        identity: Identity,
        pipeline: Pipeline,
        heads: Sequence[Head],
        marks: MarkSource | None = None,
        watch: SignalWatch | None = None,
        tracers: Mapping[str, MaskTracer] | None = None,
    ) -> None:
        self._identity = identity
        self._models = identity.models
        self._watch = watch
        self._tracers = dict(tracers or {})
        self._pipeline = pipeline
        self._heads = {head.name: head for head in heads}
        self._location = next((head for head in heads if head.role == "location"), None)
        self._grade = next((head for head in heads if head.role == "grade"), None)
        self._smoothers: dict[str, Smoother] = {
            head.name: make_smoother(self._settings(head), len(head.labels))
            for head in heads
            if head.role not in ("quality", "mask")
        }
        _check_smoothing(self._smoothers, pipeline)
        self._lagging = [name for name in self._smoothers if self._settings(self._heads[name]).lag_s > 0]
        self._segmenter = Segmenter(
            pipeline.segments,
            self._location.labels if self._location else (),
            len(self._grade.labels) if self._grade else 0,
        )
        self._marks = marks
        self._sent: Counter[str] = Counter()
        self._time_s = 0.0
        self._captured_ns = 0
        self._next_status_s = _STATUS_EVERY_S
        self._last_status_ns = 0
        self._signal_text = ""
        self._damage_told = 0
        self._damage_told_ns = 0
        self._finals: list[Segment] = []

    def _settings(self, head: Head) -> SmoothingSettings:
        default = GRADE_SMOOTHING if head.role == "grade" else LOCATION_SMOOTHING
        return self._pipeline.smoothing.get(head.name, default)

    @property
    def segments(self) -> Sequence[Segment]:
        """The final segments so far."""
        return self._finals

    def status(
        self,
        event: StatusEvent,
        text: str,
        moment: Moment,
        latency_ms: Mapping[str, float] | None = None,
        *,
        incident: str | None = None,
        signal: Signal | None = None,
    ) -> StatusMessage:
        """A change of the run's state, with the messages sent before it."""
        who = self._identity
        sent = dict(self._sent)
        self._last_status_ns = moment.now_ns
        return StatusMessage(
            **self._stamp("status", moment),
            event=event,
            source=who.source,
            text=text,
            pipeline=who.pipeline,
            config=who.config,
            models=dict(self._models),
            version=who.version,
            ledger=moment.ledger,
            sent=sent,
            latency_ms=dict(latency_ms) if latency_ms is not None else None,
            signal=signal or self._signal,
            incident=incident,
            stale=self._is_stale(moment.newest_ns, moment.now_ns),
            replay=who.replay,
            revisions=self._last_revisions() if event in ("ended", "failed") else [],
        )

    def conclude(
        self,
        prepared: Prepared,
        prediction: Prediction,
        moment: Moment,
        masks: Mapping[str, MaskResult] | None = None,
    ) -> Iterator[Message]:
        """The messages that one frame gives rise to; events that hold from it on come before it.

        Args:
            masks: What is told of the prediction's masks, where that was found out elsewhere.
        """
        self._time_s, self._captured_ns = prediction.time_s, prediction.captured_ns
        self._models = prediction.judged_by or self._models
        yield from self._weather(moment, prepared)
        if prepared.event is not None:
            yield self._field_message(prepared.event, moment)
        for mark in self._marks.due(prediction.time_s, prediction.captured_ns) if self._marks else ():
            yield from self._mark(mark, moment)
        smoothed = {name: self._smooth(name, prediction) for name in self._smoothers}
        if masks is None:
            masks = self._mask_results(prediction, prepared.field)
        changed = self._segmenter.update(self._observation(prediction, smoothed, masks))
        yield from self._segment_messages(changed, moment)
        yield self._frame_message(prepared, prediction, smoothed, moment, masks)
        if prediction.time_s >= self._next_status_s:
            self._next_status_s = prediction.time_s + _STATUS_EVERY_S
            yield self.status("running", "", moment)

    def tick(self, moment: Moment) -> Iterator[Message]:
        """What is to be said although no frame came: the weather, the operator's marks, that we are alive."""
        yield from self._weather(moment)
        if self._marks and self._captured_ns and self._signal is not Signal.RUNNING:
            # A pedal pressed in front of a dead picture is told at once; with one that lives, the next frame tells.
            silent_s = (moment.now_ns - self._captured_ns) / 1e9
            for mark in self._marks.due(self._time_s + silent_s, moment.now_ns):
                yield from self._mark(mark, moment)
        if moment.now_ns - self._last_status_ns >= _STATUS_EVERY_S * 1e9:
            yield self.status("running", "", moment)

    @property
    def _signal(self) -> Signal:
        return self._watch.signal if self._watch else Signal.RUNNING

    def _is_stale(self, captured_ns: int | None, now_ns: int) -> bool:
        return self._watch is not None and self._watch.stale(now_ns, captured_ns)

    def _weather(self, moment: Moment, prepared: Prepared | None = None) -> Iterator[StatusMessage]:
        """Changes of the signal, what happened to it, and our own troubles, in the order in which they came about."""
        changes: list[SignalChange] = []
        for notice in moment.notices:
            if isinstance(notice.what, Signal):
                changes += self._said_of_signal(notice)
            else:
                event: StatusEvent = "trouble" if isinstance(notice.what, Trouble) else "incident"
                yield self.status(event, notice.text, moment, incident=notice.what)
        if self._watch is not None:
            if prepared is None:
                changes += self._watch.tick(moment.now_ns, moment.newest_ns, moment.silence_limit_ns)
            else:
                changes += self._watch.frame(prepared.weather, prepared.captured_ns)
            for change in changes:
                self._signal_text = change.text
                yield self.status("signal", change.text, moment, signal=change.signal)
            yield from self._damage(moment)

    def _said_of_signal(self, notice: Notice) -> list[SignalChange]:
        """What a source's word changes. One that changes nothing is told too when it gives another reason: a feed that
        is sought in vain says why, and again when the reason is another."""
        if self._watch is None:
            return []
        changes = self._watch.notice(notice)
        if not changes and notice.what is self._watch.signal and notice.text not in ("", self._signal_text):
            return [SignalChange(self._watch.signal, notice.at_ns, notice.text)]
        return changes

    def _damage(self, moment: Moment) -> Iterator[StatusMessage]:
        """Packets that were lost to damage, told at once and then once a second for as long as it lasts."""
        total = sum(moment.ledger.damaged.values())
        if total > self._damage_told and moment.now_ns - self._damage_told_ns >= _DAMAGE_EVERY_NS:
            new, self._damage_told, self._damage_told_ns = total - self._damage_told, total, moment.now_ns
            yield self.status("incident", f"{new} damaged", moment, incident=Incident.DAMAGED)

    def finish(self, moment: Moment) -> Iterator[Message]:
        """What is left to tell, and the last marks and segments, when no frame will come any more."""
        yield from self._weather(moment)
        for mark in self._marks.rest(self._time_s, self._captured_ns) if self._marks else ():
            yield from self._mark(mark, moment)
        yield from self._segment_messages(self._segmenter.finish(self._time_s), moment)

    def _mark(self, mark: Mark, moment: Moment) -> Iterator[Message]:
        changed = self._segmenter.mark(mark)
        yield self.status(
            "mark", f"{mark.kind} {mark.label or ''}".strip() + f" at {mark.time_s:.2f} s", moment
        )
        yield from self._segment_messages(changed, moment)

    def _smooth(self, name: str, prediction: Prediction) -> Smoothed:
        scores = prediction.scores.get(name)
        if scores is None:
            return self._smoothers[name].hold(prediction.time_s)
        weight = 1.0 if prediction.quality is None else prediction.quality
        return self._smoothers[name].update(prediction.time_s, scores, weight)

    def _observation(
        self, prediction: Prediction, smoothed: Mapping[str, Smoothed], masks: Mapping[str, MaskResult]
    ) -> Observation:
        place = smoothed.get(self._location.name) if self._location else None
        return Observation(
            seq=prediction.seq,
            time_s=prediction.time_s,
            location=place.tag if place else None,
            location_posterior=place.posterior if place else None,
            location_evidence=prediction.scores.get(self._location.name) if self._location else None,
            grades=prediction.scores.get(self._grade.name) if self._grade else None,
            weight=1.0 if prediction.quality is None else prediction.quality,
            reason=prediction.reason,
            findings=said_of_frame(self._heads.values(), prediction.scores, masks),
        )

    def _stamp(self, topic: str, moment: Moment) -> dict[str, Any]:
        seq = self._sent[topic]
        self._sent[topic] += 1
        return {"session": self._identity.session, "seq": seq, "published_ns": moment.now_ns}

    def _frame_message(
        self,
        prepared: Prepared,
        prediction: Prediction,
        smoothed: Mapping[str, Smoothed],
        moment: Moment,
        masks: Mapping[str, MaskResult],
    ) -> FrameMessage:
        born = prediction.captured_ns
        field = prepared.field
        is_blind = self._signal is not Signal.RUNNING
        return FrameMessage(
            **self._stamp("frame", moment),
            frame=prediction.seq,
            time_s=round(prediction.time_s, 6),
            captured_ns=born,
            wall_unix_s=wall_clock() if self._pipeline.publish.wall_clock else None,
            stages_ms={
                "prepare": (prepared.prepared_ns - born) / 1e6,
                "infer": (moment.infer_ns - born) / 1e6,
                "conclude": (moment.now_ns - born) / 1e6,
            },
            reason=prediction.reason,
            field=field.id if field else None,
            field_shape=field.shape if field else None,
            overlays=[overlay.kind for overlay in field.overlays] if field else [],
            quality=None if prediction.quality is None else round(prediction.quality, _DIGITS),
            heads={
                name: _head_result(self._heads[name], scores) for name, scores in prediction.scores.items()
            },
            masks={} if is_blind else dict(masks),
            smoothed={
                name: _smoothed_head(self._heads[name], value, is_blind) for name, value in smoothed.items()
            },
            revisions=[
                self._revised(name, revision)
                for name in self._lagging
                for revision in self._smoothers[name].revisions()
            ],
            segment=None if is_blind else self._current_segment(),
            ledger=moment.ledger,
            state="not_assessable" if is_blind else self._state(prepared, smoothed),
            signal=self._signal,
            stale=self._is_stale(born, moment.now_ns),
            models=dict(self._models),
            config=self._identity.config,
        )

    def _mask_results(self, prediction: Prediction, field: FieldOfView | None) -> dict[str, MaskResult]:
        if field is None or self._signal is not Signal.RUNNING:
            return {}
        return tell_masks(self._tracers, prediction, field, rle=self._pipeline.publish.mask_rle)

    def _last_revisions(self) -> list[RevisedTag]:
        return [
            self._revised(name, revision)
            for name in self._lagging
            for revision in self._smoothers[name].finish()
        ]

    def _revised(self, name: str, revision: Revision) -> RevisedTag:
        labels = self._heads[name].labels
        return RevisedTag(
            head=name,
            time_s=round(revision.time_s, 6),
            tag=None if revision.tag is None else labels[revision.tag],
            live_tag=None if revision.live_tag is None else labels[revision.live_tag],
        )

    def _state(self, prepared: Prepared, smoothed: Mapping[str, Smoothed]) -> str:
        if prepared.field is None:
            return "warming_up" if self._sent["field"] == 0 else "not_assessable"
        if self._location and smoothed[self._location.name].tag is None:
            return "not_assessable"
        return "running"

    def _current_segment(self) -> CurrentSegment | None:
        segment = self._segmenter.current
        if segment is None:
            return None
        return CurrentSegment(
            number=segment.number,
            location=segment.location,
            start_s=round(segment.start_s, 3),
            mes_dominant=segment.mes_dominant,
            mes_worst=segment.mes_worst,
            informative_s=round(segment.informative_s, 2),
            state=segment.state,
        )

    def _segment_messages(self, segments: Sequence[Segment], moment: Moment) -> Iterator[SegmentMessage]:
        for segment in segments:
            if segment.state == "final":
                self._finals.append(segment)
            yield SegmentMessage(
                **self._stamp("segment", moment),
                number=segment.number,
                location=segment.location,
                start_s=round(segment.start_s, 3),
                end_s=round(segment.end_s, 3),
                state=segment.state,
                assessable=segment.assessable,
                mes_dominant=segment.mes_dominant,
                mes_worst=segment.mes_worst,
                expected=_rounded(segment.expected, 3),
                histogram=list(segment.histogram),
                confidence=_rounded(segment.confidence, 3),
                grade_confidence=_rounded(segment.grade_confidence, 3),
                frames_seen=segment.frames_seen,
                frames_usable=segment.frames_usable,
                reasons=dict(segment.reasons),
                informative_s=round(segment.informative_s, 2),
                key_frame=segment.key_frame,
                key_frame_s=_rounded(segment.key_frame_s, 3),
                marked=segment.marked,
                findings={head: dict(counts) for head, counts in segment.findings.items()},
            )

    def _field_message(self, event: FieldEvent, moment: Moment) -> FieldMessage:
        field = event.field
        return FieldMessage(
            **self._stamp("field", moment),
            event=event.kind,
            time_s=round(event.time_s, 3),
            field=field.id if field else None,
            shape=field.shape if field else None,
            box=(field.x, field.y, field.width, field.height) if field else None,
            signal=(field.signal_width, field.signal_height) if field else None,
            circle=field.circle if field else None,
            outline=list(field.outline) if field else [],
            overlays=[
                OverlayBox(kind=each.kind, box=(each.x, each.y, each.width, each.height))
                for each in (field.overlays if field else ())
            ],
            profile=event.profile,
            text=event.text,
        )


def _check_smoothing(smoothers: Mapping[str, Smoother], pipeline: Pipeline) -> None:
    unknown = [name for name in pipeline.smoothing if name not in smoothers]
    if unknown:
        raise ConfigError(
            f"[smoothing.{unknown[0]}]: no bundle has such a head to be smoothed; there are {list(smoothers)}"
        )


def _head_result(head: Head, scores: Probabilities) -> HeadResult:
    values: list[float] = scores.tolist()
    return HeadResult(
        probabilities={
            label: round(value, _DIGITS) for label, value in zip(head.labels, values, strict=True)
        },
        entropy=round(-sum(value * math.log(value) for value in values if value > 0), _DIGITS),
        abstain=max(values) < head.abstain_below,
        expected=(
            round(sum(grade * value for grade, value in enumerate(values)), _DIGITS)
            if head.role == "grade"
            else None
        ),
    )


def _smoothed_head(head: Head, smoothed: Smoothed, is_blind: bool) -> SmoothedHead:
    """What is held of a head; while the engine is blind, no tag, whatever it was."""
    values = np.asarray(smoothed.posterior).tolist()
    return SmoothedHead(
        posterior={label: round(value, _DIGITS) for label, value in zip(head.labels, values, strict=True)},
        tag=None if smoothed.tag is None or is_blind else head.labels[smoothed.tag],
        since_s=None if is_blind else _rounded(smoothed.since_s, 3),
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
