"""Networks to measure with: a reference of MobileNetV2's size, and the float twin of any bundle's network.

The plain loop that the engine is compared with normalises outside the network, as such loops do. So that both do the
same arithmetic, its network is the bundle's own with the normalisation taken out: the twin.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as make
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.utils import Extractor

from scopeline.bundle import SCHEMA, Description, Head, Input, Network, Training, write_bundle
from scopeline.crop import CropKind

_HEADS = (
    Head(name="quality", role="quality", labels=("bad", "good")),
    Head(name="organ", role="location", labels=("outside", "colon")),
    Head(name="mes", role="grade", labels=("0", "1", "2", "3")),
)
_MEAN, _SPREAD = (124.0, 116.0, 104.0), (58.0, 57.0, 57.0)

Row = tuple[int, int, int, int]
"""Expansion, channels, repeats, stride of the first: a row of table 2 in Sandler et al. 2018, "MobileNetV2"."""
MOBILENET_V2: tuple[Row, ...] = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


class _Graph:
    """Nodes and random weights as they are added; deterministic."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(0)

    def add(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(make.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values: NDArray[Any]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def convolve(
        self, x: str, channels_in: int, channels: int, *, size: int, stride: int, groups: int = 1, relu: bool
    ) -> str:
        """A convolution with its batch normalisation folded in, as every runtime folds it."""
        fan_in = channels_in // groups * size * size
        weight = self._rng.normal(0, (2 / fan_in) ** 0.5, (channels, channels_in // groups, size, size))
        inputs = [x, self.constant(weight.astype(np.float32)), self.constant(np.zeros(channels, np.float32))]
        pads = [size // 2] * 4
        y = self.add("Conv", inputs, kernel_shape=[size, size], strides=[stride] * 2, pads=pads, group=groups)
        if not relu:
            return y
        return self.add("Clip", [y, self.constant(np.array(0)), self.constant(np.array(6))])

    def bottleneck(self, x: str, channels_in: int, channels: int, *, expansion: int, stride: int) -> str:
        wide = channels_in * expansion
        y = self.convolve(x, channels_in, wide, size=1, stride=1, relu=True) if expansion > 1 else x
        y = self.convolve(y, wide, wide, size=3, stride=stride, groups=wide, relu=True)
        y = self.convolve(y, wide, channels, size=1, stride=1, relu=False)
        return self.add("Add", [x, y]) if stride == 1 and channels_in == channels else y

    def head(self, x: str, channels: int, name: str, labels: int) -> None:
        """Small weights and one large bias: random weights must still judge every frame, and judge it alike."""
        weight = self._rng.normal(0, 1e-4, (channels, labels))
        bias = np.zeros(labels, np.float32)
        bias[min(1, labels - 1)] = 3
        self.add("Gemm", [x, self.constant(weight.astype(np.float32)), self.constant(bias)], output=name)


def write_reference_bundle(folder: Path, *, rows: tuple[Row, ...] = MOBILENET_V2, size: int = 224) -> Path:
    """A bundle of MobileNetV2's shape with random weights (3.5 million parameters, 0.3 billion multiplications
    at 224 px). Returns its folder."""
    graph = _Graph()
    floats = graph.add("Cast", ["pixels"], to=TensorProto.FLOAT)
    planes = graph.add("Transpose", [floats], perm=[0, 3, 1, 2])
    mean, spread = (np.array(each, np.float32).reshape(1, 3, 1, 1) for each in (_MEAN, _SPREAD))
    x = graph.add("Div", [graph.add("Sub", [planes, graph.constant(mean)]), graph.constant(spread)])
    x, channels = graph.convolve(x, 3, 32, size=3, stride=2, relu=True), 32
    for expansion, wanted, repeats, stride in rows:
        for place in range(repeats):
            x = graph.bottleneck(x, channels, wanted, expansion=expansion, stride=stride if place == 0 else 1)
            channels = wanted
    x = graph.convolve(x, channels, 4 * channels, size=1, stride=1, relu=True)
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    for head in _HEADS:
        graph.head(x, 4 * channels, head.name, len(head.labels))
    return _write_bundle(folder, graph, size)


def _write_bundle(folder: Path, graph: _Graph, size: int) -> Path:
    shown = [make.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", size, size, 3])]
    said = [
        make.make_tensor_value_info(each.name, TensorProto.FLOAT, ["batch", len(each.labels)])
        for each in _HEADS
    ]
    model = make.make_model(
        make.make_graph(graph.nodes, "bench", shown, said, graph.weights),
        opset_imports=[make.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    network = model.SerializeToString(deterministic=True)
    description = Description(
        schema=SCHEMA,
        name=f"bench-{folder.name}",
        version="1",
        licence="Apache-2.0",
        notice="Random weights, for measuring speed only. Research use only.",
        input=Input(width=size, height=size, crop=CropKind.INSCRIBED),
        network=Network(file="model.onnx", sha256="", opset=17),
        training=Training(
            recipe="none: random weights", command="scopeline bench cost", data="none", data_sha256="", seed=0
        ),
        heads=_HEADS,
    )
    return write_bundle(
        folder, description, network=network, card="Random weights, for measuring speed.\n"
    ).folder


@dataclass(frozen=True, slots=True)
class Twin:
    """A bundle's network from its first convolution on, and the normalisation that came before."""

    path: Path
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    """(3, 1, 1): what the network sees is `pixels * scale + offset`, channels first."""


def float_twin(network: Path, folder: Path) -> Twin:
    """The network without its normalisation, input (N, 3, H, W) float32, written into the folder.

    Where something else than the first convolution looks at the pixels too (picture statistics, before normalisation),
    the twin begins at the last place through which all of it goes, and normalises itself.

    Raises:
        ValueError: what comes before the first convolution is more than one scale and offset per channel.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(str(network)))
    first = _narrowest(model)
    outputs = [output.name for output in model.graph.output]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(network.read_bytes()).hexdigest()[:12]}.twin.onnx"
    onnx.save(Extractor(model).extract_model([first], outputs), str(path))
    scale, offset = _normalisation(Extractor(model).extract_model([model.graph.input[0].name], [first]))
    return Twin(path, scale, offset)


def _narrowest(model: onnx.ModelProto) -> str:
    """The tensor nearest to the first convolution through which everything goes that depends on the pixels."""
    pixels, made_by = (
        model.graph.input[0].name,
        {name: node for node in model.graph.node for name in node.output},
    )
    cut: str = next(node for node in model.graph.node if node.op_type == "Conv").input[0]
    while cut in made_by:
        after = {pixels}
        for node in model.graph.node:  # in topological order, as the standard has it
            if after & set(node.input) and cut not in node.output:
                after |= set(node.output)
        if not after & {output.name for output in model.graph.output}:
            return cut
        cut = str(made_by[cut].input[0])
    raise ValueError("the network shows no tensor through which all of the picture goes")


def _normalisation(start: onnx.ModelProto) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    session = ort.InferenceSession(start.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.get_inputs()[0]
    size = tuple(side if isinstance(side, int) else 1 for side in wanted.shape)

    def shown(level: int) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = session.run(None, {wanted.name: np.full(size, level, np.uint8)})[0][0]
        return answer

    offset = shown(0)[:, :1, :1]
    scale = (shown(255)[:, :1, :1] - offset) / np.float32(255)
    if not np.allclose(shown(100), 100 * scale + offset, atol=1e-3):
        raise ValueError(
            "before its first convolution the network does more than scale and shift each channel"
        )
    return scale, offset
