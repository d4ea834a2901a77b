"""GPU latency: the engine live on a paced 1080p feed, frame by frame: capture to publish, networks' share, rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from scopeline.assemble import assemble
from scopeline.backends.keep_warm import KeepWarm
from scopeline.config import BundleChoice, GpuRule, Pipeline, QualityRule
from scopeline.picture import Picture
from scopeline.ports import Companion, Sink
from scopeline.sinks.zeromq import ZmqSink
from scopeline.wire import FrameMessage, Message, StatusMessage
from scopeline_bench.paced_pictures import PacedPictures
from scopeline_bench.timed_backend import SPENT, together_ms

_WARM_UP_S: Final = 2.0


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds."""

    p50: float
    p95: float
    p99: float
    max: float
    count: int


class LiveFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One live run."""

    heads: int
    networks: int
    fps: float
    keep_warm: bool
    published: int
    lost: dict[str, int]
    judged: int
    capture_to_publish: Percentiles
    models: Percentiles
    """From giving the frame to the first network until the last one's answer."""
    overhead: Percentiles
    """Capture to publish without the models' time, frame by frame."""
    stages: dict[str, Percentiles]
    """From capture to the end of each stage."""
    told: list[str] = []
    """Notices of the GPU."""


def percentiles(values_ms: Sequence[float]) -> Percentiles:
    """Of one or more values; of none, not a number."""
    if not len(values_ms):
        nan = float("nan")
        return Percentiles(p50=nan, p95=nan, p99=nan, max=nan, count=0)
    p50, p95, p99 = np.percentile(values_ms, [50, 95, 99])
    return Percentiles(
        p50=float(p50), p95=float(p95), p99=float(p99), max=float(max(values_ms)), count=len(values_ms)
    )


def run_live(
    bundles: Sequence[Path],
    pictures: list[Picture],
    *,
    backend: str,
    precision: str,
    fps: float,
    seconds: float,
    keep_warm: bool = False,
    preprocess: bool = False,
) -> LiveFigures:
    """Run the engine over a paced feed with every head on every frame.

    Args:
        backend: One of `timed_backend`, in full.
        seconds: Of the feed; the first two do not count.
        keep_warm: Work against idle clocks beside it.
        preprocess: Make the views on the GPU.
    """
    SPENT.clear()
    choices = tuple(
        BundleChoice(path=str(bundle.resolve()), backend=backend, precision=precision) for bundle in bundles
    )
    # Drawn pictures are no mucosa: without this rule quality would keep the other heads from speaking.
    pipeline = Pipeline(
        name="gpu",
        bundles=choices,
        gpu=GpuRule(keep_warm=keep_warm, preprocess=preprocess),
        quality=QualityRule(usable_at=0.0),
    )
    frames: list[FrameMessage] = []
    told: list[str] = []

    def hear(message: Message) -> None:
        if isinstance(message, StatusMessage) and (message.incident or "").startswith("gpu_"):
            told.append(message.text or "")
        if isinstance(message, FrameMessage) and message.time_s >= _WARM_UP_S:
            frames.append(message)

    sinks: list[Callable[[], Sink]] = [lambda: ZmqSink("tcp://127.0.0.1:*")]
    source = PacedPictures(pictures, fps=fps, seconds=seconds)
    engine = assemble(pipeline, source, sinks, live=True, on_message=hear, companions=_warmers(keep_warm))
    report = engine.run()
    judged = [message for message in frames if message.reason is None or message.quality is not None]
    models = together_ms(SPENT)[-len(judged) :] if judged else []
    whole = [(message.published_ns - message.captured_ns) / 1e6 for message in judged]
    heads = {name for message in frames for name in (*message.heads, *message.masks)}
    return LiveFigures(
        heads=len(heads),
        networks=len(bundles),
        fps=fps,
        keep_warm=keep_warm,
        published=report.ledger.published,
        lost=dict(report.ledger.lost),
        judged=len(judged),
        capture_to_publish=percentiles(whole),
        models=percentiles(models),
        overhead=percentiles([a - b for a, b in zip(whole[-len(models) :], models, strict=True)]),
        stages={
            stage: percentiles([message.stages_ms[stage] for message in judged if stage in message.stages_ms])
            for stage in ("prepare", "infer", "conclude")
        },
        told=told,
    )


def _warmers(keep_warm: bool) -> tuple[Companion, ...]:
    """The pipeline's own would only come with `backend = "tensorrt"`; here the backend is a timed one."""
    return (KeepWarm(0),) if keep_warm else ()
