"""A real bundle on disk with a network small enough to be checked by hand: heads are linear in the mean colour, masks
mark what is red."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fakes import MES, ORGAN, QUALITY, description
from scopeline.bundle import Head, write_bundle

HEADS = (QUALITY, ORGAN, MES)
SIZE = 32


def weights(head: Head) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(3, K) weights and (K,) bias of a head; quality is good and organ is rectum for mucosa colours."""
    count = len(head.labels)
    rng = np.random.default_rng(len(head.name))
    slope = rng.normal(0, 0.01, (3, count)).astype(np.float32)
    bias = np.zeros(count, np.float32)
    bias[1] = 6.0
    return slope, bias


def expected_logits(pixels: NDArray[np.uint8], head: Head) -> NDArray[np.float64]:
    """What the network must answer, by formula in float64."""
    slope, bias = weights(head)
    mean = pixels.astype(np.float64).mean(axis=(1, 2))
    return np.asarray(mean @ slope.astype(np.float64) + bias, np.float64)


RED = 140.0
"""From this value of the red channel on a mask marks a pixel."""


def expected_mask_logits(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a mask must answer, (N, 1, H, W)."""
    return np.asarray(pixels[:, None, :, :, 0], np.float64) - RED


def write_tiny_bundle(
    folder: Path, heads: Sequence[Head] = HEADS, *, size: int = SIZE, name: str = "tiny"
) -> Path:
    """Write the bundle folder and return it."""
    about = description(*heads, name=name, size=size)
    return write_bundle(folder, about, network=_network(heads, size), card="A network for tests.\n").folder


def write_tiny_pipeline(folder: Path, *, address: str = "tcp://127.0.0.1:*") -> Path:
    """A pipeline file with the tiny bundle beside it."""
    write_tiny_bundle(folder / "tiny")
    file = folder / "tiny.toml"
    file.write_text(f'name = "tiny"\n[[bundles]]\npath = "tiny"\n[publish]\naddress = "{address}"\n')
    return file


def _network(heads: Sequence[Head], size: int) -> bytes:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0),
    ]
    constants = []
    for head in heads:
        if head.role == "mask":
            constants += [
                numpy_helper.from_array(np.array(0, np.int64), f"{head.name}.red"),
                numpy_helper.from_array(np.array(RED, np.float32), f"{head.name}.level"),
                numpy_helper.from_array(np.array([1], np.int64), f"{head.name}.axis"),
            ]
            nodes += [
                helper.make_node("Gather", ["floats", f"{head.name}.red"], [f"{head.name}.seen"], axis=3),
                helper.make_node("Sub", [f"{head.name}.seen", f"{head.name}.level"], [f"{head.name}.flat"]),
                helper.make_node("Unsqueeze", [f"{head.name}.flat", f"{head.name}.axis"], [head.name]),
            ]
            continue
        slope, bias = weights(head)
        constants += [
            numpy_helper.from_array(slope, f"{head.name}.w"),
            numpy_helper.from_array(bias, f"{head.name}.b"),
        ]
        nodes.append(helper.make_node("Gemm", ["mean", f"{head.name}.w", f"{head.name}.b"], [head.name]))
    outputs = [
        helper.make_tensor_value_info(
            h.name,
            TensorProto.FLOAT,
            ["batch", 1, size, size] if h.role == "mask" else ["batch", len(h.labels)],
        )
        for h in heads
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", size, size, 3])
    graph = helper.make_graph(nodes, "tiny", [pixels], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    serialized: bytes = model.SerializeToString()
    return serialized
