"""GPU rehearsal: what of the proof can be gone through without a GPU. The FP16 graph of TensorRT 10 and 11 can even
be judged: ONNX Runtime computes it on the CPU, with its own rounding between the nodes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from scopeline.backends import open_backend
from scopeline.backends.tensorrt_half_graph import divide
from scopeline.backends.tensorrt_runtime import check_precision
from scopeline.bundle import Bundle, load_bundle
from scopeline.parity import check_parity
from scopeline_bench.gpu_latency import percentiles
from scopeline_bench.gpu_parity import shown_frames
from scopeline_bench.gpu_state_folder import SHIPPED, StateFolder


class HalfGraphOnCpu:
    """The FP16 graph of a bundle in ONNX Runtime. `scopeline calibrate precision BUNDLE --precision fp16 --backend
    scopeline_bench.gpu_rehearsal:HalfGraphOnCpu` judges it on real and on labelled pictures.

    Raises:
        BackendError: another precision was asked for.
    """

    name, precision = "onnxruntime-half-graph", "fp16"

    def __init__(self, bundle: Bundle, *, threads: int = 1, precision: str = "fp16") -> None:
        check_precision(precision)
        self.graph = divide(bundle.onnx_path.read_bytes(), name=bundle.name, kept=bundle.network.fp32)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self._session = ort.InferenceSession(self.graph.half, options, providers=["CPUExecutionProvider"])
        self._heads = [output.name for output in self._session.get_outputs()]

    def infer(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """As `Backend.infer`."""
        name = self._session.get_inputs()[0].name
        return dict(zip(self._heads, self._session.run(self._heads, {name: pixels}), strict=True))

    def close(self) -> None:
        """Nothing to give back."""


def rehearse_parity(state: StateFolder, frames: Path | None) -> dict[str, Any]:
    """The FP16 graph of every bundle against FP32, at batch 1: what ships on as many frames as on a GPU."""
    rows: dict[str, Any] = {}
    for name, bundle in state.bundles().items():
        is_shipped = name in SHIPPED
        simulated, hostile = (300, 200) if is_shipped else (10, 20)
        real = frames if is_shipped else None
        shown = shown_frames(bundle, real, simulated=simulated, hostile=hostile)
        reference = open_backend("onnxruntime", bundle, threads=1, precision="fp32")
        candidate = HalfGraphOnCpu(bundle)
        verdict = check_parity(
            bundle, reference, candidate, shown.frames, batches=(1,), stretches=shown.stretches
        )
        rows[name] = {
            "verdict": verdict,
            "passed": verdict.passed,
            "nodes_in_half": len(candidate.graph.in_half),
            "nodes_in_single": len(candidate.graph.in_single),
            "weights_in_half": candidate.graph.weights_in_half,
            "key": {"fp32": bundle.network.fp32},
        }
        state.keep("plans", rows)
    return rows


def rehearse_raw_loop(state: StateFolder, sets: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """ONNX Runtime's own loop in the place of TensorRT's."""
    rows: dict[str, Any] = {}
    for name, folders in sets.items():
        opened = []
        for folder in folders:
            bundle = load_bundle(folder)
            pixels = np.zeros((1, bundle.input.height, bundle.input.width, 3), np.uint8)
            opened.append((open_backend("onnxruntime", bundle, threads=1, precision="fp32"), pixels))
        times = []
        for _ in range(20):
            start_ns = time.monotonic_ns()
            for backend, pixels in opened:
                backend.infer(pixels)
            times.append((time.monotonic_ns() - start_ns) / 1e6)
        rows[name] = {"back to back": percentiles(times)}
    state.keep("raw", rows)
    return rows
