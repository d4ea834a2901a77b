"""ONNX Runtime on the CPU: in FP32 the embedded runtime that gives the same answer on every machine, and the reference.

INT8 is an option for networks that passed the parity gate with it on this machine (`scopeline calibrate int8`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from scopeline.bundle import Bundle, check_outputs
from scopeline.errors import BackendError
from scopeline.proof import find_proof

INT8_FILE = "model.int8.onnx"
"""Beside the network of a bundle, made from it."""


class OnnxRuntimeBackend:
    """One network in ONNX Runtime's CPU provider.

    Threads and spinning are set on purpose: by default the runtime takes every core and its idle threads spin, which
    doubled the median and tripled the 99th percentile of a live run on two busy cores (docs/architecture.md, "Cost").
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, *, threads: int, precision: str, network: Path | None = None) -> None:
        """Args:
            bundle: Whose network is loaded.
            threads: Threads for one inference.
            precision: `fp32`, or `int8` where that is proven.
            network: Another build of the bundle's network, for the gate that judges it before it may be used.

        Raises:
            BackendError: the runtime refuses the network or the precision.
        """
        if precision not in ("fp32", "int8"):
            raise BackendError(
                f"onnxruntime runs bundles in fp32, and in int8 where that is proven, got precision {precision!r}: "
                'set precision = "fp32"'
            )
        path = network or (bundle.onnx_path if precision == "fp32" else _proven_int8(bundle))
        self.precision = precision
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own exception types are not public
            raise BackendError(
                f"{path}: ONNX Runtime {ort.__version__} refused the network: {error}"
            ) from error
        self._input = self._session.get_inputs()[0].name
        self._heads = [output.name for output in self._session.get_outputs()]
        check_outputs(bundle, {output.name: output.shape[1:] for output in self._session.get_outputs()})

    def infer(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """(N, H, W, 3) uint8 RGB -> logits per head, (N, K) float32, or (N, 1, H, W) of a mask."""
        return dict(zip(self._heads, self._session.run(self._heads, {self._input: pixels}), strict=True))

    def close(self) -> None:
        """Nothing to give back: the session is freed with the object."""


def _proven_int8(bundle: Bundle) -> Path:
    """The INT8 build beside the network, if the gate was passed with this very file on this machine."""
    path = bundle.folder / INT8_FILE
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BackendError(
            f"{path}: no INT8 build of {bundle.name} here ({error.strerror}); make one with "
            f'`scopeline calibrate int8 {bundle.folder}`, or set precision = "fp32"'
        ) from error
    proof = find_proof(bundle, backend=OnnxRuntimeBackend.name, precision="int8")
    if proof is None or proof.candidate_sha256 != found or not proof.verdict.passed:
        why = (
            "no proof on this machine that it answers as FP32 does"
            if proof is None or proof.candidate_sha256 != found
            else "the parity gate refused it"
        )
        raise BackendError(
            f'{path}: {why}; run `scopeline calibrate int8 {bundle.folder}`, or set precision = "fp32"'
        )
    return path
