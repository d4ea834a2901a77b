"""Quantise: an INT8 build of a network, with the ranges of its activations taken from real frames.

Static quantisation of ONNX Runtime in the QDQ form: weights as signed, activations as unsigned eight-bit integers, one
scale per output channel. Weights use seven of the eight bits: where the processor has no VNNI, sums of two full
products saturate, and the same file would answer differently there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Bundle
from scopeline_calibration.onnx_layers import load_network, need

OPERATORS = ("Conv", "Gemm", "MatMul")
"""What is quantised: nearly all of the arithmetic is here."""
PERCENTILE = 99.99
"""Activations beyond this percentile are clipped: one glint must not set the scale of every frame."""
_GROUP = 8


class Quantiser:
    """Makes INT8 builds of one network; what the frames say is gathered once.

    Args:
        bundle: Whose network.
        frames: (N, H, W, 3) uint8 RGB, real ones.

    Raises:
        BackendError: onnx is not installed.
    """

    def __init__(self, bundle: Bundle, frames: NDArray[np.uint8]) -> None:
        need("onnx", "quantising a network")
        self._path = bundle.onnx_path
        self._ranges = _ranges(bundle.onnx_path, frames)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that can be quantised, in the order of the network."""
        network = load_network(self._path)
        return tuple(node.name for node in network.graph.node if node.op_type in OPERATORS)

    def build(self, kept_in_fp32: Sequence[str] = ()) -> bytes:
        """The network as ONNX file, with all layers but these in INT8."""
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.quant_utils import QuantType, load_model_with_shape_infer

        quantizer = QDQQuantizer(
            load_model_with_shape_infer(self._path),
            True,  # a scale per output channel
            True,  # seven bits
            QuantType.QInt8,
            QuantType.QUInt8,
            self._ranges,
            [],
            list(kept_in_fp32),
            list(OPERATORS),
            {},
        )
        quantizer.quantize_model()
        written: bytes = quantizer.model.model.SerializeToString()
        return written


def _ranges(path: Path, frames: NDArray[np.uint8]) -> Any:
    """The ranges of all activations that are quantised."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            path,
            list(OPERATORS),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"percentile": PERCENTILE},
        )
        name = load_network(path).graph.input[0].name
        calibrator.collect_data(_Reader(name, frames))
        return calibrator.compute_data()


class _Reader:
    """Hands frames to the calibrator, which asks until there are none."""

    def __init__(self, name: str, frames: NDArray[np.uint8]) -> None:
        self._name = name
        self._groups = iter(np.array_split(frames, max(1, len(frames) // _GROUP)))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        group = next(self._groups, None)
        return None if group is None else {self._name: group}
