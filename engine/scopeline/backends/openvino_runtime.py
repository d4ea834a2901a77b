"""OpenVINO on the CPU: the optional fast runtime (the extra `cpu-fast`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Bundle, check_outputs
from scopeline.errors import BackendError
from scopeline.extras import how_to_install

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenVinoBackend:
    """One network in OpenVINO's CPU device.

    The precision is always named: left alone, OpenVINO runs bf16 wherever the processor has it, and the same video
    then gets other answers on another machine.
    """

    name = "openvino"

    def __init__(self, bundle: Bundle, *, threads: int, precision: str) -> None:
        # Importing openvino sends a usage event over the network from a thread of its own, unless its telemetry
        # package cannot be imported; then it uses a stub. A workstation in theatre talks to nobody unasked.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise BackendError(
                f"backend 'openvino' needs the openvino package: {how_to_install('cpu-fast')}, "
                'or set backend = "onnxruntime"'
            ) from error
        if precision not in _HINTS:
            raise BackendError(f"openvino offers the precisions {sorted(_HINTS)}, got {precision!r}")
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        try:
            model = core.read_model(str(bundle.onnx_path))
            # A fixed shape is about 15 % faster than a dynamic batch.
            model.reshape([1, bundle.input.height, bundle.input.width, 3])
            self._compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise BackendError(f"{bundle.onnx_path}: OpenVINO refused the network: {error}") from error
        used = str(self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        if used != _HINTS[precision]:
            raise BackendError(
                f"asked OpenVINO for {precision}, this machine would run {used}: choose a precision it has"
            )
        self.precision = precision
        self._request: Any = self._compiled.create_infer_request()
        self._heads = [output.get_any_name() for output in self._compiled.outputs]
        check_outputs(
            bundle,
            {
                name: tuple(output.shape)[1:]
                for name, output in zip(self._heads, self._compiled.outputs, strict=True)
            },
        )

    def infer(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """(N, H, W, 3) uint8 RGB -> logits per head, (N, K) float32, or (N, 1, H, W) of a mask."""
        rows: list[list[NDArray[np.float32]]] = []
        for frame in pixels:
            self._request.infer([frame[None]], share_inputs=True)
            rows.append(
                [self._request.get_output_tensor(place).data[0].copy() for place in range(len(self._heads))]
            )
        return {
            name: np.stack(column) for name, column in zip(self._heads, zip(*rows, strict=True), strict=True)
        }

    def close(self) -> None:
        """Nothing to give back: the compiled network is freed with the object."""
