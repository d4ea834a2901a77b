"""A real bundle whose answers follow from a picture's mean colour, so that a test can plan a whole recording.

Red over blue is sigmoid, MES 1; blue over red is rectum, MES 3; green over both is outside. Every frame is good.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fakes import MES, ORGAN, QUALITY, description
from scopeline.bundle import write_bundle
from scopeline.picture import Pixels

SIZE = 32
_HEADS = {
    # Rows: red, green, blue, per 10 grey levels; columns: labels.
    "quality": ((0, 0), (0, 0), (0, 0)),
    "organ": ((-1, 2, -2), (2, 0, 0), (-1, -2, 2)),
    "mes": ((0, 2, 0, -2), (0, 0, 0, 0), (0, -2, 0, 2)),
}
_BIAS = {"quality": (0, 6), "organ": (-8, 0, 0), "mes": (0, 0, 0, 0)}

_PIPELINE = """\
name = "colour"
[[bundles]]
path = "colour"
[segments]
merge_s = 1.0
outside_s = 1.0
gap_s = 2.0
recent_s = 3.0
least_frames = 10
least_s = 1.0
least_graded = 5
"""


def write_pipeline(folder: Path, *, temperature: float = 1.0) -> Path:
    """A pipeline file with its bundle beside it."""
    mes = msgspec.structs.replace(MES, temperature=temperature)
    organ = msgspec.structs.replace(ORGAN, labels=("outside", "sigmoid", "rectum"))
    about = description(QUALITY, organ, mes, name="colour", size=SIZE)
    write_bundle(folder / "colour", about, network=_network().SerializeToString(), card="For tests.\n")
    pipeline = folder / "colour.toml"
    pipeline.write_text(_PIPELINE)
    return pipeline


def coloured(place: str, count: int, *, seed: int = 0, width: int = 192, height: int = 144) -> list[Pixels]:
    """Noisy pictures that the bundle takes for a place."""
    colour = {"sigmoid": (170, 120, 90), "rectum": (90, 120, 170), "outside": (100, 190, 100)}[place]
    chance = np.random.default_rng(seed)
    return [
        np.clip(chance.integers(-25, 26, (height, width, 3)) + np.array(colour), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]


def _network() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0),
    ]
    weights = []
    for name, rows in _HEADS.items():
        weights.append(numpy_helper.from_array(np.array(rows, np.float32) / 10, f"{name}.weight"))
        weights.append(numpy_helper.from_array(np.array(_BIAS[name], np.float32), f"{name}.bias"))
        nodes.append(helper.make_node("Gemm", ["mean", f"{name}.weight", f"{name}.bias"], [name]))
    graph = helper.make_graph(
        nodes,
        "colour",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", len(rows[0])])
            for name, rows in _HEADS.items()
        ],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
