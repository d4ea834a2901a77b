"""Examiner: judges what was dropped on the page, with the engine's parts for a picture and an engine for a clip."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from scopeline.assemble import assemble
from scopeline.bundle import Head, load_bundle
from scopeline.config import BundleChoice, Pipeline, load_pipeline
from scopeline.contact_sheet import cut_to_field
from scopeline.crop import View
from scopeline.errors import ConfigError, SourceError
from scopeline.frame import Frame
from scopeline.marked_area import MaskTracer
from scopeline.picture import Picture, Pixels, picture_from_file, picture_from_rgb
from scopeline.pictures import draw_field_sketch, wanted_frames
from scopeline.prediction import Prediction
from scopeline.sources.key_frames import key_frames
from scopeline.sources.media import MediaSource
from scopeline.tally import Tally
from scopeline.wire import FrameMessage, Message
from scopeline_training.explain import open_explainer
from scopeline_training.explanation import NOTHING, Explainer, LookMap, Method, Question, question_of
from scopeline_training.heat import overlaid
from scopeline_training.occlusion import occlusion_map
from scopeline_training.page.reports import (
    ClipReport,
    FieldReport,
    HeadReport,
    MapReport,
    MaskReport,
    PictureReport,
    SegmentReport,
    data_address,
    rim_of,
)
from scopeline_training.page.upload import CLIP_S, Kind, UploadError, in_memory, kind_of
from scopeline_training.still_judge import JudgedStill, StillJudge

_MOMENTS = 240
"""Points of the quality strip."""
_NOTES = {
    Method.OCCLUSION: "Occlusion, not Grad-CAM: bright where covering the place makes the answer lose most. "
    "A bundle has no gradients.",
    Method.GRAD_CAM: "Grad-CAM at the deepest layer: bright where it speaks for the answer.",
}


class Examiner:
    """Judges pictures and clips. Belongs to one thread at a time; close it.

    Args:
        pipeline: The set-up.
        explainer: Explains by gradients instead of occlusion; of the same network as the pipeline's one bundle.

    Raises:
        BundleError, BackendError, ConfigError: a part of the pipeline is wrong.
    """

    def __init__(self, pipeline: Pipeline, explainer: Explainer | None = None) -> None:
        self.pipeline, self.explainer = pipeline, explainer
        self._still = StillJudge(pipeline)

    @property
    def map_method(self) -> Method:
        """How maps are made."""
        return Method.OCCLUSION if self.explainer is None else Method.GRAD_CAM

    @property
    def heads(self) -> tuple[Head, ...]:
        """In the order in which they are asked."""
        return self._still.heads

    def close(self) -> None:
        """Close the networks."""
        self._still.close()
        if self.explainer is not None:
            self.explainer.close()

    def examine(self, data: bytes) -> PictureReport | ClipReport:
        """The verdict on a picture or clip.

        Raises:
            UploadError: it cannot be taken: another kind of file, damaged, too long.
        """
        kind = kind_of(data)
        with in_memory(data) as path, _told(kind):
            return self._picture(path) if kind == "picture" else self._clip(path)

    def explain(
        self, data: bytes, head: str, label: str, *, frame: int | None = None, time_s: float = 0.0
    ) -> MapReport:
        """Why a head says a label of a picture, or of a frame of a clip.

        Args:
            data: The picture or clip.
            head: Name of a head with labels.
            label: One of them.
            frame: Number of the clip's frame.
            time_s: Its stream time.

        Raises:
            UploadError: as of `examine`, or the clip has no such frame.
            ConfigError: there is no such head or label.
        """
        kind = kind_of(data)
        with in_memory(data) as path, _told(kind):
            picture = picture_from_file(path) if kind == "picture" else _frame_of(path, frame, time_s)
        judged = self._still.judge(picture)
        answers = self._still.answers(judged)
        askable = tuple(each for each in self.heads if each.name in answers)
        question = question_of(askable, answers, head, label)
        shown, look = self._look(judged, question)
        return MapReport(
            method="occlusion" if look.method is Method.OCCLUSION else "grad-cam",
            words=look.method.words,
            note=("" if look.values.max() > 0 else f"{NOTHING[look.method]} ") + _NOTES[look.method],
            head=head,
            label=label,
            probability=float(answers[head][question.label]),
            picture=data_address(overlaid(shown, look)),
        )

    def _look(self, judged: JudgedStill, question: Question) -> tuple[Pixels, LookMap]:
        model = self._still.model_of(question.head.name)
        shown = judged.views[model.view]
        if self.explainer is None:
            return shown, LookMap(Method.OCCLUSION, None, occlusion_map(model.backend, shown, question))
        maps, _ = self.explainer.maps(shown, question, (Method.GRAD_CAM,), ())
        return shown, maps[-1]

    def _picture(self, path: Path) -> PictureReport:
        began_ns = time.monotonic_ns()
        judged = self._still.judge(picture_from_file(path))
        said = judged.prediction
        height, width = judged.pixels.shape[:2]
        return PictureReport(
            width=width,
            height=height,
            preview=data_address(judged.pixels),
            view=data_address(judged.views[0]),
            field=self._field(judged) if judged.is_field_found else None,
            reason=said.reason,
            quality=said.quality,
            usable_at=self.pipeline.quality.usable_at,
            heads=[self._head(head, said) for head in self.heads if head.role != "mask"],
            masks=self._masks(judged),
            models={model.bundle.name: model.fingerprint for model in self._still.models},
            took_ms=(time.monotonic_ns() - began_ns) / 1e6,
        )

    def _field(self, judged: JudgedStill) -> FieldReport:
        first = self._still.models[0].bundle.input
        placement = View(first.crop, first.width, first.height).placement(judged.field)
        return FieldReport(shape=judged.field.shape, curves=rim_of(judged.field), shown=placement.source)

    def _head(self, head: Head, said: Prediction) -> HeadReport:
        row = said.scores.get(head.name)
        if row is None and head.role == "quality" and said.quality is not None:
            return HeadReport(name=head.name, role=head.role, labels=list(head.labels), probabilities=None)
        return HeadReport(
            name=head.name,
            role=head.role,
            labels=list(head.labels),
            probabilities=None if row is None else [float(share) for share in row],
            abstains=row is not None and float(row.max()) < head.abstain_below,
            why_not=self._why_not(head, said) if row is None else None,
        )

    def _why_not(self, head: Head, said: Prediction) -> str:
        if said.reason is not None:
            return "not asked, because the picture cannot be judged"
        rule = self.pipeline.heads.get(head.name)
        if rule is not None and rule.when is not None:
            return f"not asked, because {rule.when.head} does not say {rule.when.label}"
        return "not asked"

    def _masks(self, judged: JudgedStill) -> list[MaskReport]:
        found = []
        for model in self._still.models:
            for head in model.bundle.heads:
                probabilities = judged.prediction.masks.get(head.name)
                if probabilities is None:
                    continue
                area = MaskTracer(head, model.bundle.input).trace(probabilities, judged.field)
                found.append(
                    MaskReport(
                        name=head.name,
                        label=head.labels[0],
                        share=area.share,
                        curves=[[(float(x), float(y)) for x, y in outline] for outline in area.outlines],
                    )
                )
        return found

    def _clip(self, path: Path) -> ClipReport:
        began_ns = time.monotonic_ns()
        tally, watch = Tally(), _Watch()

        def listen(message: Message) -> None:
            tally.add(message)
            watch.add(message)

        source = _ShortClip(MediaSource(path, threads=1))
        with closing(source):
            assemble(self.pipeline, source, [], live=False, bulk=True, on_message=listen).run()
        frames = key_frames(path, wanted_frames(tally), stream_s=tally.stream_s)
        width, height = source.size
        field = tally.last_field()
        return ClipReport(
            width=width,
            height=height,
            duration_s=tally.stream_s,
            frames=tally.published,
            usable=tally.usable,
            reasons=dict(tally.reasons.most_common()),
            moments=watch.thinned(),
            answers={head: dict(counts.most_common()) for head, counts in watch.answers.items()},
            segments=_segments(tally, frames),
            shape=None if field is None else str(field.shape),
            field_picture=self._field_picture(tally, frames),
            models=watch.models,
            took_ms=(time.monotonic_ns() - began_ns) / 1e6,
        )

    def _field_picture(self, tally: Tally, frames: Mapping[int, Pixels]) -> str | None:
        shot = tally.middle_shot()
        if shot is None or shot.frame not in frames:
            return None
        pixels = frames[shot.frame]
        if pixels.shape[:2] != (shot.field.signal_height, shot.field.signal_width):
            return None
        first = self._still.models[0].bundle.input
        view = View(first.crop, first.width, first.height)
        return data_address(draw_field_sketch(pixels, shot.field, view, f"at {shot.time_s:.1f} s"))


class _ShortClip:
    """A recording that may not be long."""

    def __init__(self, media: MediaSource) -> None:
        self._media = media
        self.name, self.duration_s = "clip", media.duration_s
        self.size = (0, 0)

    @property
    def damaged(self) -> dict[str, int]:
        return dict(self._media.damaged)

    def frames(self) -> Iterator[Frame]:
        for frame in self._media.frames():
            if frame.time_s > CLIP_S:
                raise UploadError(
                    f"wanted a clip of at most {CLIP_S:.0f} s, got a longer one; cut it or use `scopeline batch`",
                    413,
                )
            self.size = (frame.picture.width, frame.picture.height)
            yield frame

    def close(self) -> None:
        self._media.close()


class _Watch:
    """What the page draws of a clip beside its segments."""

    def __init__(self) -> None:
        self.moments: list[tuple[float, float | None, str | None]] = []
        self.answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.models: dict[str, str] = {}

    def add(self, message: Message) -> None:
        if not isinstance(message, FrameMessage):
            return
        self.moments.append((message.time_s, message.quality, message.reason))
        self.models = message.models
        for name, result in message.heads.items():
            if not result.abstain:
                self.answers[name][max(result.probabilities, key=result.probabilities.__getitem__)] += 1

    def thinned(self) -> list[tuple[float, float | None, str | None]]:
        step = max(1, -(-len(self.moments) // _MOMENTS))
        return self.moments[::step]


def open_examiner(pipeline: Path | None = None, run: Path | None = None) -> Examiner:
    """An examiner for a pipeline, or for a run of `scopeline train`: its bundle, with Grad-CAM from its network.

    Args:
        pipeline: File, or name of one that ships; colonoscopy if None.
        run: The run's folder.

    Raises:
        ConfigError: both are given, or one is wrong.
        BundleError, BackendError: a bundle is wrong.
    """
    if run is None:
        return Examiner(load_pipeline(pipeline or Path("colonoscopy")))
    if pipeline is not None:
        raise ConfigError(f"wanted a pipeline or a run, got both: {pipeline} and {run}")
    return Examiner(_pipeline_of_bundle(run / "bundle"), open_explainer(run))


def _pipeline_of_bundle(folder: Path) -> Pipeline:
    """A set-up with one bundle and no rules."""
    return Pipeline(name=load_bundle(folder).name, bundles=(BundleChoice(path=str(folder.resolve())),))


def _segments(tally: Tally, frames: Mapping[int, Pixels]) -> list[SegmentReport]:
    found = []
    for segment in tally.segments:
        shot, picture = tally.shot_of(segment), None
        if shot is not None and shot.frame in frames:
            pixels = frames[shot.frame]
            if pixels.shape[:2] == (shot.field.signal_height, shot.field.signal_width):
                picture = data_address(cut_to_field(pixels, shot.field).pixels)
        found.append(
            SegmentReport(
                number=segment.number,
                location=segment.location,
                start_s=segment.start_s,
                end_s=segment.end_s,
                assessable=segment.assessable,
                mes_dominant=segment.mes_dominant,
                mes_worst=segment.mes_worst,
                frames_seen=segment.frames_seen,
                frames_usable=segment.frames_usable,
                key_frame=segment.key_frame if picture else None,
                key_frame_s=segment.key_frame_s if picture else None,
                picture=picture,
            )
        )
    return found


def _frame_of(path: Path, frame: int | None, time_s: float) -> Picture:
    if frame is None:
        raise UploadError("wanted the number of a frame of the clip, got none", 422)
    found = key_frames(path, {frame: time_s}, stream_s=time_s)
    if frame not in found:
        raise UploadError(f"wanted frame {frame} of the clip, it has none", 422)
    return picture_from_rgb(found[frame])


@contextmanager
def _told(kind: Kind) -> Iterator[None]:
    """Errors of decoding in the words of somebody who dropped a file: it has no name here."""
    try:
        yield
    except SourceError as error:
        raise UploadError(
            f"the file begins like a {kind} and cannot be decoded as one: it is damaged or cut off; try another copy",
            422,
        ) from error
