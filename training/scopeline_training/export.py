"""Export: from a fitted network to ONNX, proven equal.

Opset 17 through the older TorchScript exporter: TensorRT 8.6 reads no newer opset, and the newer exporter never goes
below 18.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch

from scopeline_training.network import Network

OPSET = 17
PARITY = 1e-4
"""Largest difference of any logit between torch and ONNX Runtime."""


def export_onnx(network: Network, path: Path, *, size: int) -> None:
    """Writes the network to `path`: input `pixels` (batch, size, size, 3) uint8, one output per head.

    Raises:
        ValueError: ONNX Runtime's logits differ from torch's.
    """
    network = network.eval()
    names = list(network.heads)
    sample = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The older exporter is used on purpose and announces its retirement.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Answers(network).eval(), (sample,), str(path), dynamo=False, opset_version=OPSET,
            input_names=["pixels"], output_names=names,
            dynamic_axes={"pixels": {0: "batch"}, **{name: {0: "batch"} for name in names}},
        )  # fmt: skip
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    difference = parity(network, path, size=size)
    if difference > PARITY:
        raise ValueError(f"{path}: logits should equal torch's to {PARITY}, differ by {difference:.2g}")


def parity(network: Network, path: Path, *, size: int) -> float:
    """Largest difference of any logit between torch and ONNX Runtime, over batches of 1, 3 and 8."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    worst = 0.0
    for batch in (1, 3, 8):
        pixels = rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(pixels))
        found = session.run(list(wanted), {"pixels": pixels})
        for name, logits in zip(wanted, found, strict=True):
            worst = max(worst, float(np.abs(wanted[name].numpy() - logits).max()))
    return worst


class _Answers(torch.nn.Module):
    """The network with its heads as a tuple, which the exporter names in order."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.network(pixels).values())
