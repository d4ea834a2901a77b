"""The contenders of the cost comparison. Each is one function that is worked in a process of its own.

All take the same clip, crop, network and thread counts, and count processor time of the whole process around the work
only: imports, opening and the first inference are left out of all of them alike.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import msgspec
import numpy as np
import onnxruntime as ort
from av.filter import Graph
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from scopeline.assemble import assemble
from scopeline.backends import open_backend
from scopeline.bundle import load_bundle
from scopeline.config import BundleChoice, Pipeline
from scopeline.crop import inscribed_box
from scopeline.errors import SourceError
from scopeline.field_of_view import FieldOfView
from scopeline.field_tracker import FieldTracker
from scopeline.ports import Sink
from scopeline.sinks.zeromq import ZmqSink
from scopeline.sources.media import MediaSource
from scopeline.wire import FrameMessage, Message
from scopeline_bench.networks import Twin
from scopeline_bench.spent import Meter, Spent


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What every contender is given."""

    clip: str
    bundle: str
    box: tuple[int, int, int, int]
    """x, y, width, height of the part that the network is shown."""
    decoder_threads: int = 1
    backend: str = "onnxruntime"
    precision: str = "fp32"


def find_field(clip: str) -> FieldOfView:
    """The clip's field of view, as the engine finds it.

    Raises:
        SourceError: the first half minute holds none.
    """
    source, tracker = MediaSource(clip, threads=1), FieldTracker()
    try:
        for frame in source.frames():
            tracker.observe(frame.picture, frame.time_s)
            if tracker.field is not None:
                return tracker.field
            if frame.time_s > 30:
                break
    finally:
        source.close()
    raise SourceError(
        f"{source.name}: wanted a clip with a field of view, found none in its first half minute"
    )


def find_box(clip: str, bundle: str) -> tuple[int, int, int, int]:
    """The part of the clip that the engine would show the bundle's network."""
    wanted = load_bundle(Path(bundle)).input
    return inscribed_box(find_field(clip), wanted.width / wanted.height)


def plain_loop(job: Job, twin: Twin) -> Spent:
    """What one writes first: decode to RGB, crop, resize, normalise, infer."""
    cv2.setNumThreads(1)
    session = _plain_session(twin.path)
    wanted = load_bundle(Path(job.bundle)).input
    name, size = session.get_inputs()[0].name, (wanted.width, wanted.height)
    session.run(None, {name: np.zeros((1, 3, size[1], size[0]), np.float32)})
    x, y, width, height = job.box
    frames = 0
    meter = Meter()
    for picture in _decoded(job):
        rgb = picture.to_ndarray(format="rgb24")
        small = cv2.resize(rgb[y : y + height, x : x + width], size, interpolation=cv2.INTER_AREA)
        planes = small.transpose(2, 0, 1).astype(np.float32)
        planes *= twin.scale
        planes += twin.offset
        session.run(None, {name: planes[None]})
        frames += 1
    return meter.spent(frames, frames)


def bare_decode(job: Job) -> Spent:
    """Floor, first part: the decoder's own pictures, not looked at."""
    meter = Meter()
    frames = sum(1 for _ in _decoded(job))
    return meter.spent(frames, 0)


def bare_resize(job: Job) -> Spent:
    """Floor, second part: crop and scale in FFmpeg's filter graph, on pictures that have just been decoded.

    Only the filters are timed, between two readings of the clock; with one decoding thread nothing else runs.
    """
    wanted = load_bundle(Path(job.bundle)).input
    out = np.empty((wanted.height, wanted.width * 3), np.uint8)
    graph: Graph | None = None
    frames, spent_ns = 0, 0
    for picture in _decoded(job):
        graph = graph or _crop_and_scale(picture, job.box, wanted.width, wanted.height)
        start_ns = time.thread_time_ns()
        graph.vpush(picture)
        plane = graph.vpull().planes[0]
        np.copyto(
            out, np.frombuffer(memoryview(plane), np.uint8).reshape(wanted.height, -1)[:, : wanted.width * 3]
        )
        spent_ns += time.thread_time_ns() - start_ns
        frames += 1
    return Spent(
        frames=frames, user_s=spent_ns / 1e9, system_s=0, wall_s=spent_ns / 1e9, switches=0, judged=0
    )


def bare_inference(job: Job, frames: int) -> Spent:
    """Floor, third part: the runtime on pixels that are ready.

    Raises:
        BackendError: the runtime does not offer the precision here.
    """
    bundle = load_bundle(Path(job.bundle))
    backend = open_backend(job.backend, bundle, threads=1, precision=job.precision)
    pixels = np.random.default_rng(0).integers(0, 256, (1, bundle.input.height, bundle.input.width, 3))
    shown: NDArray[np.uint8] = pixels.astype(np.uint8)
    backend.infer(shown)
    meter = Meter()
    for _ in range(frames):
        backend.infer(shown)
    spent = meter.spent(frames, frames)
    backend.close()
    return spent


def scopeline(job: Job, *, batch: int | None = None) -> Spent:
    """The engine as `scopeline batch` runs it, with a ZeroMQ socket that nobody listens to.

    Args:
        batch: Frames per inference; a pipeline's own when left out.

    Raises:
        BackendError: the runtime does not offer the precision here.
    """
    engine_pipeline = pipeline(job)
    if batch is not None:
        engine_pipeline = msgspec.structs.replace(engine_pipeline, batch=batch)
    reasons: Counter[str | None] = Counter()

    def hear(message: Message) -> None:
        if isinstance(message, FrameMessage):
            reasons[message.reason] += 1

    source = MediaSource(job.clip, threads=job.decoder_threads)
    sinks: list[Callable[[], Sink]] = [lambda: ZmqSink("tcp://127.0.0.1:*")]
    engine = assemble(engine_pipeline, source, sinks, live=False, bulk=True, on_message=hear)
    meter = Meter()
    report = engine.run()
    unseen = sum(reasons[reason] for reason in ("no_field", "black", "white", "colour_bars", "frozen"))
    return meter.spent(report.ledger.published, report.ledger.published - unseen)


def pipeline(job: Job) -> Pipeline:
    """A pipeline of the job's one bundle, everything else as it comes."""
    bundle = BundleChoice(path=str(Path(job.bundle).resolve()), backend=job.backend, precision=job.precision)
    return Pipeline(name="bench", bundles=(bundle,))


def _plain_session(network: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])


def _decoded(job: Job) -> Iterator[VideoFrame]:
    with av.open(job.clip) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", job.decoder_threads
        yield from container.decode(stream)


def _crop_and_scale(picture: VideoFrame, box: tuple[int, int, int, int], width: int, height: int) -> Graph:
    x, y, w, h = box
    graph = Graph()
    graph.threads = 1
    nodes = [
        graph.add_buffer(
            width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
        ),
        graph.add("crop", f"{w}:{h}:{x}:{y}:exact=1"),
        graph.add("scale", f"{width}:{height}:flags=area"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph
