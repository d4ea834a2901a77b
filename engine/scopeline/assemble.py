"""Assemble: from a pipeline file's choices to a running engine. The one place that knows concrete parts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cv2

from scopeline.arrivals import Arrivals
from scopeline.backends import open_backend
from scopeline.backends.gpu_resizer import resizers
from scopeline.backends.tensorrt_standby import on_gpu, stand_by, warmers
from scopeline.bundle import Input, load_bundle
from scopeline.conclude import Concluder, Identity
from scopeline.config import Pipeline
from scopeline.engine import Engine
from scopeline.errors import ConfigError
from scopeline.field_tracker import FieldTracker
from scopeline.judge import Judge, Model
from scopeline.ledger import Ledger
from scopeline.marked_area import MaskTracer
from scopeline.marks import MarkSource
from scopeline.notices import Notices
from scopeline.ports import Backend, Companion, Sink, Source
from scopeline.prepare import Preparer
from scopeline.profile_choice import AUTO, NONE, load_choice, profile_files
from scopeline.scope_profile import load_profile
from scopeline.shipped import shipped_scopes
from scopeline.signal_look import SignalLook
from scopeline.signal_watch import SignalWatch
from scopeline.wire import Message


def assemble(
    pipeline: Pipeline,
    source: Source,
    sinks: Sequence[Callable[[], Sink]],
    *,
    live: bool,
    bulk: bool = False,
    decode_ahead: bool = False,
    marks: MarkSource | None = None,
    on_message: Callable[[Message], None] | None = None,
    notices: Notices | None = None,
    companions: Sequence[Companion] = (),
    session: str | None = None,
    replay: str | None = None,
) -> Engine:
    """An engine that is ready to run.

    Args:
        pipeline: The set-up.
        source: Where frames come from; closed when the engine has run, and by the caller when assembling fails.
        sinks: Factories, called in the thread that will own the sinks.
        live: The newest frame wins; otherwise nothing is lost.
        bulk: Nobody watches: one thread does everything, several frames per inference, which is cheaper and later.
        decode_ahead: In bulk, all but decoding, which goes ahead in a thread of its own: for a recording beside which a
            core is idle.
        marks: What the operator says, now or in a file beside a recording.
        on_message: Called with every message, in the concluding thread.
        notices: Where source, sinks and companions leave what they have to tell.
        companions: What runs beside the stages.
        session: From `new_session`, where others must know it too; a new one when left out.
        replay: Address at which subscribers can ask for what they missed.

    Raises:
        BundleError, BackendError, ConfigError: a part of the pipeline is wrong; no model is left open.
    """
    notices = notices or Notices()
    parts = assemble_parts(
        pipeline, source.name, live=live, marks=marks, session=session, replay=replay, notices=notices
    )
    return Engine(
        source,
        parts.preparer,
        parts.judge,
        parts.concluder,
        sinks,
        ledger=Ledger(),
        live=live,
        bulk=pipeline.batch if bulk else None,
        decode_ahead=decode_ahead,
        on_message=on_message,
        arrivals=Arrivals() if live else None,
        notices=notices,
        companions=[*companions, *parts.companions],
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """What a pipeline's stages work with. The judge holds the runtimes; who has it closes it."""

    preparer: Preparer
    judge: Judge
    concluder: Concluder
    tracers: Mapping[str, MaskTracer]
    """By mask head."""
    companions: tuple[Companion, ...] = ()
    """What the runtimes want to have run beside the stages."""


def assemble_parts(
    pipeline: Pipeline,
    source: str,
    *,
    live: bool = False,
    marks: MarkSource | None = None,
    session: str | None = None,
    replay: str | None = None,
    notices: Notices | None = None,
) -> Parts:
    """The parts of an engine over the source of that name, for whoever lets the stages work apart from each other.

    Raises:
        BundleError, BackendError, ConfigError: a part of the pipeline is wrong; no model is left open.
    """
    # OpenCV's own threads would compete with the stages for two cores, for pictures of 224 pixels.
    cv2.setNumThreads(1)
    tracker = field_tracker(pipeline)
    with ExitStack() as backends:
        companions: list[Companion] = []
        models, inputs = _open_models(
            pipeline, backends, live=live, notices=notices or Notices(), companions=companions
        )
        heads = [head for model in models for head in model.bundle.heads]
        tracers = _tracers(models)
        parts = Parts(
            Preparer(
                inputs,
                tracker,
                SignalLook() if live else None,
                make_resize=resizers(pipeline.gpu, notices or Notices(), live=live),
            ),
            Judge(models, pipeline.heads, usable_at=pipeline.quality.usable_at),
            Concluder(
                _identity(pipeline, source, models, session or new_session(), replay),
                pipeline,
                heads,
                marks,
                SignalWatch() if live else None,
                tracers,
            ),
            tracers,
            tuple(companions),
        )
        backends.pop_all()  # from here on they are the judge's to close
    return parts


def check(pipeline: Pipeline) -> None:
    """Open everything a pipeline names and close it again, so that a wrong set-up is told once and at the start.

    Raises:
        BundleError, BackendError, ConfigError: a part of the pipeline is wrong.
    """
    with ExitStack() as backends:
        models, _ = _open_models(pipeline, backends, notices=Notices(), companions=[])
        Judge(models, pipeline.heads, usable_at=pipeline.quality.usable_at)
        heads = [head for model in models for head in model.bundle.heads]
        Concluder(Identity("", "", "", "", {}, ""), pipeline, heads)
        field_tracker(pipeline)


def new_session() -> str:
    """A name for one run: random, so that it says nothing of a date or a person."""
    return secrets.token_hex(8)


def location_labels(pipeline: Pipeline) -> tuple[str, ...]:
    """What the pipeline's location head may answer; empty without one.

    Raises:
        BundleError: a bundle of the pipeline is damaged.
    """
    bundles = [load_bundle(pipeline.bundle_path(choice)) for choice in pipeline.bundles]
    heads = [head for bundle in bundles for head in bundle.heads]
    return next((tuple(head.labels) for head in heads if head.role == "location"), ())


def _tracers(models: Sequence[Model]) -> dict[str, MaskTracer]:
    return {
        head.name: MaskTracer(head, model.bundle.input)
        for model in models
        for head in model.bundle.heads
        if head.role == "mask"
    }


def _identity(
    pipeline: Pipeline, source: str, models: Sequence[Model], session: str, replay: str | None
) -> Identity:
    return Identity(
        session=session,
        source=source,
        pipeline=pipeline.name,
        config=pipeline.hash,
        models={model.bundle.name: model.fingerprint for model in models},
        version=installed_version(),
        replay=replay,
    )


def _open_models(
    pipeline: Pipeline,
    backends: ExitStack,
    *,
    live: bool = False,
    notices: Notices,
    companions: list[Companion],
) -> tuple[list[Model], list[Input]]:
    """The pipeline's bundles in their runtimes, and the different inputs they ask for; `backends` closes them, and
    `companions` gets what they want to have run beside the stages."""
    models: list[Model] = []
    inputs: list[Input] = []
    for choice in pipeline.bundles:
        bundle = load_bundle(pipeline.bundle_path(choice))
        if any(bundle.name == model.bundle.name for model in models):
            raise ConfigError(
                f"two bundles of a pipeline cannot share the name {bundle.name!r}: results name them by it; rename one"
            )
        if bundle.input not in inputs:
            inputs.append(bundle.input)
        backend: Backend
        if choice.backend == "tensorrt":
            standby = (
                stand_by(bundle, choice, pipeline.gpu, notices)
                if live
                else on_gpu(bundle, choice, pipeline.gpu, notices, most=pipeline.batch)
            )
            backend = standby.backend
            companions.extend(standby.companions)
        else:
            backend = open_backend(choice.backend, bundle, threads=choice.threads, precision=choice.precision)
        backends.enter_context(closing(backend))
        models.append(Model(bundle, backend, inputs.index(bundle.input)))
    companions.extend(warmers(pipeline.bundles, pipeline.gpu))
    return models, inputs


def installed_version() -> str:
    try:
        return version("scopeline")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0+checkout"


def field_tracker(pipeline: Pipeline) -> FieldTracker:
    """The tracker that the pipeline's `[field]` asks for.

    Raises:
        ConfigError: a scope profile is missing or damaged.
    """
    if pipeline.field.profile == NONE:
        return FieldTracker()
    if pipeline.field.profile == AUTO:
        return FieldTracker(choice=load_choice(shipped_scopes()))
    return FieldTracker(load_profile(profile_paths(pipeline)[0]))


def profile_paths(pipeline: Pipeline) -> list[Path]:
    """The scope profiles that may decide results: the one that is named (a shipped one by its bare name, else a file
    beside the pipeline), or all that ship."""
    name = pipeline.field.profile
    if name in (AUTO, NONE):
        return profile_files(shipped_scopes()) if name == AUTO else []
    path = Path(name)
    return [Path(pipeline.folder) / path if path.suffix else shipped_scopes() / f"{path}.toml"]
