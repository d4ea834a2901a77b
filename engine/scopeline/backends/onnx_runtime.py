"""ONNX Runtime on the CPU, in FP32: the embedded runtime that gives the same answer on every machine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from scopeline.bundle import Bundle, check_outputs
from scopeline.errors import BackendError


class OnnxRuntimeBackend:
    """One network in ONNX Runtime's CPU provider.

    Threads and spinning are set on purpose: by default the runtime takes every core and its idle threads spin, which
    doubled the median and tripled the 99th percentile of a live run on two busy cores (docs/architecture.md, "Cost").
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, *, threads: int, precision: str) -> None:
        if precision != "fp32":
            raise BackendError(
                f'onnxruntime runs bundles in fp32, got precision {precision!r}: set precision = "fp32"'
            )
        self.precision = precision
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(bundle.onnx_path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's own exception types are not public
            raise BackendError(
                f"{bundle.onnx_path}: ONNX Runtime {ort.__version__} refused the network: {error}"
            ) from error
        self._input = self._session.get_inputs()[0].name
        self._heads = [output.name for output in self._session.get_outputs()]
        check_outputs(bundle, {output.name: output.shape[1:] for output in self._session.get_outputs()})

    def infer(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """(N, H, W, 3) uint8 RGB -> logits per head, (N, K) float32, or (N, 1, H, W) of a mask."""
        return dict(zip(self._heads, self._session.run(self._heads, {self._input: pixels}), strict=True))

    def close(self) -> None:
        """Nothing to give back: the session is freed with the object."""
