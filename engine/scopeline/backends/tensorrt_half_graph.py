"""Half graph: which nodes of a network compute in FP16, and the network rewritten so that they do.

Half where it costs and is safe: convolutions and large matrix products, and what merely passes their results on. The
normalisation of pixels, statistics, softmax, everything with logarithms, roots, divisions or sums stays in FP32:
that is where FP16 overflows or loses the small difference that decides (NVIDIA/TensorRT issues 1787, 4748).

TensorRT 8.6 is given the FP32 graph and the list of what must stay; 10 and 11 are given the rewritten graph, strongly
typed. Both thereby compute the same nodes in the same precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from scopeline.backends.cuda_driver import INSTALL
from scopeline.errors import BackendError

_CONVOLUTIONS: Final = frozenset({"Conv", "ConvTranspose"})
_PRODUCTS: Final = frozenset({"MatMul", "Gemm"})
_LARGE_WEIGHTS: Final = 65_536
"""From this many weights on a product's time is worth its rounding. A classifier on 256 features has fewer, and so has
the 88x88 form of colon's measure of oddness, which must not be rounded."""
_FOLLOWERS: Final = frozenset(
    {
        *(
            "Relu",
            "LeakyRelu",
            "PRelu",
            "Elu",
            "Clip",
            "Sigmoid",
            "HardSigmoid",
            "HardSwish",
            "Tanh",
            "Erf",
            "Gelu",
        ),
        *("Add", "Sub", "Mul", "MaxPool", "Resize", "Pad", "Concat", "Split", "Slice", "Gather", "Transpose"),
        *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Identity", "DepthToSpace", "SpaceToDepth"),
    }
)
"""Pass on what they are given: half when all of it is half."""
_MOVERS: Final = frozenset(
    {
        "Transpose",
        "Slice",
        "Gather",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Concat",
        "Identity",
        "Split",
    }
)
"""Do the same to bytes and to numbers: a cast may move in front of them."""
_KEPT_SLOTS: Final[Mapping[str, frozenset[int]]] = {"Resize": frozenset({1, 2})}
"""Inputs that ONNX wants in FP32 whatever the rest is."""
_MOST: Final = 65_504.0
"""The largest number of FP16 (IEEE 754 binary16)."""


@dataclass(frozen=True, slots=True)
class HalfGraph:
    """A network and its division into FP16 and FP32."""

    single: bytes
    """ONNX in FP32, its uint8 input cast first."""
    half: bytes
    """The same with FP16 where `in_half` says; uint8 in, float32 out."""
    in_half: frozenset[str]
    """Outputs of the nodes that compute in FP16, by their name in `single`."""
    in_single: frozenset[str]
    """Outputs of the nodes that must compute in FP32."""
    weights_in_half: float
    """Share of the weights that are used in FP16, 0 to 1."""


def divide(network: bytes, *, name: str, kept: Sequence[str] = ()) -> HalfGraph:
    """Divide an ONNX network into FP16 and FP32.

    Args:
        network: ONNX with one uint8 input.
        name: Of the bundle, for messages.
        kept: Parts of node names: what bears one of them stays in FP32, whatever it computes. By part, because a
            network that looks several ways has each layer several times, under names of the same stem.

    Raises:
        BackendError: the onnx package is missing; the network cannot be divided, nothing of it would be FP16, or `kept`
            names what is not there.
    """
    onnx = _onnx()
    model = onnx.load_from_string(network)
    if any(attribute.type in (5, 10) for node in model.graph.node for attribute in node.attribute):
        raise BackendError(f"{name}: networks with branches or loops are not built for TensorRT")
    _make_constants_initializers(onnx, model)
    _cast_first(onnx, model, name)
    model = onnx.shape_inference.infer_shapes(model)
    single = model.SerializeToString()
    graph = _Graph(onnx, model, kept)
    missing = [part for part in kept if not any(part in _name(node) for node in model.graph.node)]
    if missing:
        raise BackendError(
            f"{name}: shall keep {', '.join(missing)} in FP32, no node of the network is called so"
        )
    in_half = graph.choose()
    if not in_half:
        raise BackendError(
            f"{name}: nothing in the network would compute in FP16 (no convolution, no matrix product): "
            'run it with backend = "onnxruntime"'
        )
    floats = {output for node in model.graph.node for output in node.output if graph.is_float(output)}
    share = graph.weights_in_half(in_half)
    rewritten = graph.rewrite(in_half)
    onnx.checker.check_model(rewritten, full_check=True)
    return HalfGraph(
        single, rewritten.SerializeToString(), frozenset(in_half), frozenset(floats - in_half), share
    )


def _name(node: Any) -> str:
    return str(node.name or node.output[0])


def _first_name(name: str, shared: dict[str, str]) -> str:
    while name in shared:
        name = shared[name]
    return name


def _onnx() -> Any:
    try:
        import onnx
        import onnx.numpy_helper
        import onnx.shape_inference
    except ImportError as error:
        raise BackendError(f"building for TensorRT needs the onnx package ({error}): {INSTALL}") from error
    return onnx


def _make_constants_initializers(onnx: Any, model: Any) -> None:
    """Constant nodes become initializers, so that there is one kind of constant."""
    graph = model.graph
    rest = []
    for node in graph.node:
        value = node.attribute[0] if node.op_type == "Constant" else None
        if value is None or value.name != "value":
            rest.append(node)
            continue
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value.t)
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
    del graph.node[:]
    graph.node.extend(rest)


def _cast_first(onnx: Any, model: Any, name: str) -> None:
    """Pixels become numbers before anything else happens to them: TensorRT knows uint8 only at the door, and refuses to
    transpose or slice it."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    uint8, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != uint8:
        raise BackendError(
            f"{name}: wanted one uint8 input, the network has {[each.name for each in inputs]}"
        )
    pixels, numbers = inputs[0].name, f"{inputs[0].name}__numbers"
    renamed = {pixels: numbers}
    bytes_until_now = {pixels}
    nodes = [onnx.helper.make_node("Cast", [pixels], [numbers], name="pixels_to_numbers", to=float32)]
    for node in graph.node:
        touched = bytes_until_now & set(node.input)
        node.input[:] = [renamed.get(each, each) for each in node.input]
        if not touched:
            nodes.append(node)
        elif node.op_type == "Cast":
            if node.attribute[0].i != float32:
                raise BackendError(
                    f"{name}: pixels must be cast to float32, {node.output[0]} casts otherwise"
                )
            renamed[node.output[0]] = node.input[0]
        elif node.op_type in _MOVERS:
            bytes_until_now.update(node.output)
            nodes.append(node)
        else:
            raise BackendError(
                f"{name}: {node.op_type} reckons with uint8 pixels; export it after a cast to float32"
            )
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]


class _Graph:
    """A model with what is known of its tensors."""

    def __init__(self, onnx: Any, model: Any, kept: Sequence[str]) -> None:
        self._onnx, self._model, self._graph = onnx, model, model.graph
        self._kept = tuple(kept)
        self._float32, self._float16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
        self._constants = {tensor.name: tensor for tensor in self._graph.initializer}
        values = [*self._graph.value_info, *self._graph.input, *self._graph.output]
        self._types = {value.name: value.type.tensor_type.elem_type for value in values}
        self._types |= {name: tensor.data_type for name, tensor in self._constants.items()}

    def is_float(self, tensor: str) -> bool:
        return bool(self._types.get(tensor) == self._float32)

    def choose(self) -> set[str]:
        """Outputs of the nodes that shall compute in FP16."""
        chosen = self._spread(_LARGE_WEIGHTS)
        # A network without convolutions and of small products only: then these are what costs.
        return chosen or self._spread(0)

    def _spread(self, large_weights: int) -> set[str]:
        half: set[str] = set()
        for node in self._graph.node:
            given = [each for each in self._data(node) if each not in self._constants]
            follows = bool(given) and all(each in half for each in given)
            if node.op_type in _CONVOLUTIONS:
                is_half = True
            elif node.op_type in _PRODUCTS:
                is_half = follows or self._weights(node) >= max(large_weights, 1)
            else:
                is_half = node.op_type in _FOLLOWERS and follows
            is_half = is_half and not any(part in _name(node) for part in self._kept)
            if is_half and all(map(self.is_float, node.output)) and self._fits(node):
                half.update(node.output)
        return half

    def _data(self, node: Any) -> list[str]:
        """The inputs that become half with the node."""
        kept = _KEPT_SLOTS.get(node.op_type, frozenset())
        return [each for slot, each in enumerate(node.input) if slot not in kept and self.is_float(each)]

    def _fits(self, node: Any) -> bool:
        """Whether every constant of the node is a number of FP16."""
        return all(
            np.abs(self._values(each)).max(initial=0.0) <= _MOST
            for each in self._data(node)
            if each in self._constants
        )

    def _values(self, constant: str) -> Any:
        return self._onnx.numpy_helper.to_array(self._constants[constant])

    def _weights(self, node: Any) -> int:
        return sum(int(np.prod(self._constants[each].dims)) for each in node.input if each in self._constants)

    def weights_in_half(self, half: set[str]) -> float:
        """Share of the weights, each counted where it is computed with: a network that looks several ways hands
        the same ones on through Identity nodes, which compute nothing."""
        shared = {node.output[0]: node.input[0] for node in self._graph.node if node.op_type == "Identity"}
        counts = {True: 0, False: 0}
        for node in self._graph.node:
            if node.op_type == "Identity" or not node.output:
                continue
            named = [_first_name(each, shared) for each in node.input]
            sizes = [int(np.prod(self._constants[each].dims)) for each in named if each in self._constants]
            counts[node.output[0] in half] += sum(sizes)
        total = sum(counts.values())
        return counts[True] / total if total else 0.0

    def rewrite(self, half: set[str]) -> Any:
        """The model with casts at every border between FP16 and FP32."""
        outputs = {value.name for value in self._graph.output}
        writer = _Writer(self._onnx, self._constants, half)
        for node in self._graph.node:
            is_half = bool(node.output) and node.output[0] in half
            changes = set(self._data(node))
            copy = type(node)()
            copy.CopyFrom(node)
            copy.input[:] = [writer.read(each, is_half) if each in changes else each for each in node.input]
            named = {each: f"{each}__half" for each in node.output if is_half and each in outputs}
            copy.output[:] = [named.get(each, each) for each in node.output]
            writer.nodes.append(copy)
            for answer, other in named.items():
                writer.cast(other, answer, self._float32)
            writer.answers.update(named)
        model = type(self._model)()
        model.CopyFrom(self._model)
        del model.graph.value_info[:]
        del model.graph.node[:]
        del model.graph.initializer[:]
        model.graph.node.extend(writer.nodes)
        used = {each for node in writer.nodes for each in node.input}
        constants = [*self._constants.values(), *writer.half_constants.values()]
        model.graph.initializer.extend(tensor for tensor in constants if tensor.name in used)
        return model


class _Writer:
    """Writes nodes in order, with each tensor cast at most once."""

    def __init__(self, onnx: Any, constants: Mapping[str, Any], half: Iterable[str]) -> None:
        self._onnx, self._constants, self._half = onnx, constants, set(half)
        self._cast: dict[str, str] = {}
        self.nodes: list[Any] = []
        self.half_constants: dict[str, Any] = {}
        self.answers: dict[str, str] = {}
        """Outputs of the network that compute in FP16, and what they are called there."""

    def read(self, tensor: str, as_half: bool) -> str:
        """The name under which a float tensor can be read in this precision; casts it now where it must be."""
        if tensor in self._constants:
            return self._half_constant(tensor) if as_half else tensor
        if tensor in self.answers:
            return self.answers[tensor] if as_half else tensor
        if (tensor in self._half) == as_half:
            return tensor
        if tensor not in self._cast:
            name = f"{tensor}__as_{'half' if as_half else 'single'}"
            proto = self._onnx.TensorProto
            self.cast(tensor, name, proto.FLOAT16 if as_half else proto.FLOAT)
            self._cast[tensor] = name
        return self._cast[tensor]

    def cast(self, tensor: str, name: str, kind: int) -> None:
        self.nodes.append(self._onnx.helper.make_node("Cast", [tensor], [name], name=name, to=kind))

    def _half_constant(self, tensor: str) -> str:
        name = f"{tensor}__half"
        if name not in self.half_constants:
            values = self._onnx.numpy_helper.to_array(self._constants[tensor]).astype(np.float16)
            self.half_constants[name] = self._onnx.numpy_helper.from_array(values, name)
        return name
