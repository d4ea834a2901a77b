"""Stages: one small piece of work for each stage of the engine, to be timed again and again.

Each is made once, with real pictures of the synthetic procedure at 1080p, and then repeated; what is made and thrown
away, random or growing is none of it. `bench/test_stages.py` times them with pytest-benchmark, `bench gate` beside
another commit's. As a program it is one side of that gate: it says which stages it has, and answers each name in its
input with the seconds that the stage took.

    python -m scopeline_bench.stages '["quality features"]' "quality features=0.2"
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Final

import av
import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline.backends import open_backend
from scopeline.bundle import load_bundle
from scopeline.crop import CropKind, View
from scopeline.field_of_view import FieldOfView
from scopeline.field_tracker import FieldTracker
from scopeline.handoff import Handoff
from scopeline.picture import Picture, picture_as_from_card
from scopeline.quality import HardGate, QualityFeatures, name_fault
from scopeline.segments import Observation, Segmenter, SegmentSettings
from scopeline.simulation.procedure import simulate_procedure
from scopeline.simulation.renderer import Renderer
from scopeline.sinks.zeromq import ZmqSink
from scopeline.smoothing import SmoothingSettings, make_smoother
from scopeline.wire import Encoder
from scopeline_bench.bus_ends import frame_message
from scopeline_bench.clip import ClipPlan, cache_folder, clip
from scopeline_bench.stage import bundle_folder

Work = Callable[[], object]
_WIDTH, _HEIGHT = 1920, 1080
_CLIP: Final = ClipPlan(_WIDTH, _HEIGHT, 30, frames=10, mbit_s=8.0, loop=10)
_BATCH_S, _BATCHES, _LONG_BATCHES = 0.008, 6, 3
"""A stage is timed in batches of so long, of which the quickest counts: what disturbs only ever adds."""


def _decode() -> Work:
    """Opening included."""
    path = str(clip(_CLIP, cache_folder()))

    def work() -> None:
        with av.open(path) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
            for _ in container.decode(stream):
                pass

    return work


def _field_of_view() -> Work:
    """The first looks, until it is locked."""
    picture = _picture()

    def work() -> None:
        tracker = FieldTracker()
        for number in range(40):
            tracker.observe(picture, number / 10)
            if tracker.field is not None:
                return

    return work


def _crop() -> Work:
    picture, field = _picture(), _field()
    view, out = View(CropKind.INSCRIBED, 224, 224), np.empty((224, 224, 3), np.uint8)
    return lambda: view(picture, field, out)


def _features() -> Work:
    pixels = _view()
    return lambda: name_fault(QualityFeatures(pixels))


def _hard_gate() -> Work:
    gate, pixels, times = HardGate(), [_view(), 255 - _view()], iter(range(1 << 60))

    def work() -> None:
        number = next(times)
        gate.check(pixels[number % 2], number / 30)

    return work


def _backend(name: str, precision: str, batch: int = 1) -> Callable[[], Work]:
    def make() -> Work:
        backend = open_backend(name, load_bundle(bundle_folder("colon")), threads=1, precision=precision)
        pixels = np.random.default_rng(0).integers(0, 256, (batch, 128, 128, 3)).astype(np.uint8)
        return lambda: backend.infer(pixels)

    return make


def _smoother() -> Work:
    smoother, times = make_smoother(SmoothingSettings(), 6), iter(range(1 << 60))
    scores = np.random.default_rng(0).dirichlet(np.ones(6), 256).astype(np.float32)

    def work() -> None:
        number = next(times)
        smoother.update(number / 30, scores[number % 256], 0.9)

    return work


def _segmenter() -> Work:
    """Frames that change place every four seconds."""
    rng = np.random.default_rng(0)
    places = rng.dirichlet(np.ones(6), 300)
    grades = rng.dirichlet(np.ones(4), 300)
    names = tuple("abcdef")
    seen = [
        Observation(k, k / 30, k // 120, places[k], grades[k], 0.9, None, places[k])
        for k in range(len(places))
    ]

    def work() -> None:
        segmenter = Segmenter(SegmentSettings(), names, 4)
        for observation in seen:
            segmenter.update(observation)

    return work


def _encode() -> Work:
    encoder, message = Encoder(), frame_message(1)
    return lambda: encoder.encode(message)


def _publish() -> Work:
    """A socket without a subscriber: what every frame pays."""
    sink, message = ZmqSink("tcp://127.0.0.1:*"), frame_message(1)
    return lambda: sink.publish(message)


def _hand_off() -> Work:
    """To itself, so that no scheduler takes part."""
    handoff: Handoff[int] = Handoff(1, when_full="drop_oldest")

    def work() -> None:
        handoff.put(1)
        handoff.take()

    return work


STAGES: Final[dict[str, Callable[[], Work]]] = {
    "decode 10 frames": _decode,
    "field of view": _field_of_view,
    "crop and resize": _crop,
    "quality features": _features,
    "hard gate": _hard_gate,
    "onnxruntime fp32": _backend("onnxruntime", "fp32"),
    "onnxruntime fp32, 4 at once": _backend("onnxruntime", "fp32", 4),
    **({"openvino fp32": _backend("openvino", "fp32")} if find_spec("openvino") else {}),
    "smoother": _smoother,
    "segmenter, 300 frames": _segmenter,
    "encode": _encode,
    "publish": _publish,
    "hand-off": _hand_off,
}


class Timed:
    """One stage, ready to be timed.

    Args:
        name: One of `STAGES`.
        slowed: So much longer it is made to take, as a share, to see whether that is noticed.
    """

    def __init__(self, name: str, slowed: float = 0.0) -> None:
        self._work, self._slowed = STAGES[name](), slowed
        self._work()
        once = min(self._spent(1) for _ in range(3))
        self._repeats = max(1, round(_BATCH_S / once))

    def seconds(self) -> float:
        """Processor time of one piece of work, all threads."""
        batches = _BATCHES if self._repeats > 1 else _LONG_BATCHES
        return min(self._spent(self._repeats) for _ in range(batches)) / self._repeats

    def _spent(self, repeats: int) -> float:
        start = time.process_time()
        for _ in range(repeats):
            self._work()
        end = time.process_time()
        until = end + self._slowed * (end - start)
        while end < until:
            end = time.process_time()
        return end - start


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """What one side of a gate has."""

    names: list[str]
    failed: dict[str, str]
    """Stages that this side's engine cannot do, with why: another commit's may lack what ours has."""


def main() -> None:
    """Make every stage, then time those that are asked for."""
    names, plant = sys.argv[1:]
    slow, _, share = plant.rpartition("=")
    cv2.setNumThreads(1)
    timed: dict[str, Timed] = {}
    failed: dict[str, str] = {}
    for name in msgspec.json.decode(names, type=list[str]):
        try:
            timed[name] = Timed(name, float(share) if name == slow else 0.0)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
    gc.collect()
    gc.freeze()  # what the stages are made of is none of what a collection has to look through
    print(msgspec.json.encode(Stages(names=list(timed), failed=failed)).decode(), flush=True)
    gc.disable()
    for line in sys.stdin:
        print(timed[line.strip()].seconds(), flush=True)
        gc.collect()


@cache
def _picture() -> Picture:
    procedure = simulate_procedure(
        seed=11, duration_s=20.0, fps=30, width=_WIDTH, height=_HEIGHT, screen="hd-circle"
    )
    return picture_as_from_card(Renderer(procedure).render(450))


@cache
def _field() -> FieldOfView:
    picture, tracker = _picture(), FieldTracker()
    for number in range(100):
        tracker.observe(picture, number / 10)
        if tracker.field is not None:
            return tracker.field
    raise RuntimeError("wanted a picture with a field of view")


@cache
def _view() -> NDArray[np.uint8]:
    return View(CropKind.INSCRIBED, 224, 224)(_picture(), _field()).copy()


if __name__ == "__main__":
    main()
