"""Forge: builds a bundle's plan, holds it against FP32 on the CPU, and keeps it with the verdict.

Whoever asks while another process is at it waits for that one's result. What is there already is not made again: a
whole plan whose verdict is for the bundle's present heads is taken as it is, one for other heads is judged anew.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline.backends import open_backend
from scopeline.backends.cuda_driver import Cuda, Gpu, choose_gpu
from scopeline.backends.tensorrt_build_words import Report
from scopeline.backends.tensorrt_half_graph import HalfGraph, divide
from scopeline.backends.tensorrt_library import BuildOrder, Built, TensorRt
from scopeline.backends.tensorrt_plan_key import MOST_FRAMES, PlanKey, driver_version, plan_key
from scopeline.backends.tensorrt_plan_store import Manifest, PlanStore, StoredPlan
from scopeline.backends.tensorrt_runner import PlanRunner
from scopeline.bundle import Bundle, check_outputs
from scopeline.parity import ParityVerdict, Stretch, check_parity
from scopeline.proof import Proof, heads_hash, keep_proof, processor_name, runtime_version

BATCHES: Final = (1, 2, MOST_FRAMES - 1, MOST_FRAMES)
"""Batch sizes at which a plan is judged: errors that only large or odd batches show have been reported
(NVIDIA/TensorRT issue 1697)."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Frames a plan is judged on."""

    frames: NDArray[np.uint8]
    """(N, H, W, 3) in the bundle's input size."""
    stretches: tuple[Stretch, ...]
    words: str


class Forge:
    """Makes plans on one device.

    Args:
        device: Number of the GPU.
        tell: Called with every step.
    """

    def __init__(
        self, cuda: Cuda, library: TensorRt, store: PlanStore, *, device: int, tell: Callable[[Report], None]
    ) -> None:
        self._cuda, self._library, self._store = cuda, library, store
        self._device, self._tell = device, tell

    def make(self, bundle: Bundle, shown: Callable[[], Shown], *, again: bool = False) -> Manifest:
        """A plan with a verdict, passed or not: taken from the store or made now.

        Args:
            bundle: Whose network.
            shown: Gives the frames to judge it on; called only when something is judged.
            again: Build even if there is one.

        Raises:
            BackendError: no device, no memory, no room on the disk, or the network cannot be built.
        """
        gpu = choose_gpu(self._cuda, self._device)
        key = plan_key(bundle, gpu, tensorrt=self._library.version, driver=driver_version(self._cuda))
        self._tell(Report(step="waiting"))
        with self._store.building(key):
            stored = None if again else self._store.find(key)
            if stored is not None and stored.manifest.heads == heads_hash(bundle):
                self._tell(Report(step="kept", text="it was there already"))
                return stored.manifest
            if stored is None:
                manifest, plan = self._build(bundle, key)
            else:
                manifest, plan = stored.manifest, stored.plan
            judged = self._judge(bundle, gpu, StoredPlan(plan, manifest), shown())
            self._store.keep(judged, plan)
            self._tell(Report(step="kept"))
            return judged

    def _build(self, bundle: Bundle, key: PlanKey) -> tuple[Manifest, bytes]:
        network = bundle.onnx_path.read_bytes()
        self._store.check_room(4 * len(network))
        expected_s = self._store.seconds_expected(key, len(network))
        self._tell(Report(step="building", expected_s=expected_s))
        start_ns = time.monotonic_ns()
        graph = divide(network, name=bundle.name, kept=bundle.network.fp32)
        order = BuildOrder(bundle.name, graph, key.most, self._store.timing_cache(key))
        built = self._library.build(
            order,
            lambda share: self._tell(Report(step="building", share=share, expected_s=expected_s)),
        )
        spent_s = (time.monotonic_ns() - start_ns) / 1e9
        self._store.keep_timing_cache(key, built.timing_cache)
        return _manifest(bundle, key, graph, built, self._library.dialect.name, spent_s), built.plan

    def _judge(self, bundle: Bundle, gpu: Gpu, stored: StoredPlan, shown: Shown) -> Manifest:
        self._tell(Report(step="verifying"))
        start_ns = time.monotonic_ns()
        runner = PlanRunner(self._cuda, gpu, self._library.load(stored.plan), most=MOST_FRAMES)
        reference = open_backend("onnxruntime", bundle, threads=1, precision="fp32")
        try:
            check_outputs(bundle, runner.outputs)
            verdict = check_parity(
                bundle, reference, Candidate(runner), shown.frames, batches=BATCHES, stretches=shown.stretches
            )
        finally:
            reference.close()
            runner.close()
        spent_s = (time.monotonic_ns() - start_ns) / 1e9
        self._keep_proof(bundle, stored, verdict, shown.words)
        return msgspec.structs.replace(
            stored.manifest, verdict=verdict, verify_s=spent_s, heads=heads_hash(bundle)
        )

    def _keep_proof(self, bundle: Bundle, stored: StoredPlan, verdict: ParityVerdict, words: str) -> None:
        """What results say of the gate (`Model.fingerprint`) is read from here."""
        proof = Proof(
            verdict=verdict,
            heads=heads_hash(bundle),
            candidate_sha256=stored.manifest.plan_sha256,
            processor=processor_name(),
            runtime=runtime_version(Candidate.name),
            shown=words,
            kept_in_fp32=bundle.network.fp32,
        )
        keep_proof(bundle, proof, backend=Candidate.name, precision=Candidate.precision)


class Candidate:
    """A runner as the gate wants to see it."""

    name = "tensorrt"
    precision = "fp16"

    def __init__(self, runner: PlanRunner) -> None:
        self._runner = runner

    def infer(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """As `Backend.infer`."""
        self._runner.begin(pixels)
        return self._runner.take()

    def close(self) -> None:
        """The runner is its owner's to close."""


def _manifest(
    bundle: Bundle, key: PlanKey, graph: HalfGraph, built: Built, dialect: str, spent_s: float
) -> Manifest:
    """Of a plan that nobody has judged yet."""
    nobody = ParityVerdict(
        bundle=bundle.name,
        network_sha256=bundle.network.sha256,
        reference="",
        candidate="",
        frames=0,
        stretches=0,
        batches=(),
        rows=(),
    )
    return Manifest(
        key=key,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        plan_bytes=len(built.plan),
        build_s=spent_s,
        verify_s=0.0,
        nodes_in_half=len(graph.in_half),
        nodes_in_single=len(graph.in_single),
        weights_in_half=graph.weights_in_half,
        dialect=dialect,
        timing_cache_sha256=hashlib.sha256(built.timing_cache).hexdigest(),
        heads="",
        verdict=nobody,
    )
