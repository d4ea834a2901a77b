"""ONNX layers: the weights of a network by the layer that uses them, and networks mixed from two."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from scopeline.errors import BackendError, BundleError
from scopeline.extras import how_to_install

Network = Any
"""An onnx.ModelProto; onnx is imported late and has no types."""


def need(package: str, purpose: str) -> Any:
    """A package of the extra `training`, imported now.

    Raises:
        BackendError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{purpose} needs the package {package.split('.')[0]!r}: {how_to_install('training')}"
        ) from error


def load_network(path: Path) -> Network:
    """The network in a file.

    Raises:
        BundleError: it cannot be read.
    """
    onnx = need("onnx", "looking into a network")
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's own exception types are not public
        raise BundleError(f"{path}: wanted an ONNX network, could not read it ({error})") from error


def layers_of(network: Network) -> dict[str, tuple[str, ...]]:
    """Name of each layer that has weights -> the names of its weights, in the order of the network.

    Weights that several layers share belong to the first.
    """
    weights = {each.name for each in network.graph.initializer}
    layers: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for node in network.graph.node:
        own = tuple(name for name in node.input if name in weights and name not in taken)
        if own:
            layers[node.name or node.output[0]] = own
            taken.update(own)
    return layers


def with_layers_of(network: Network, other: Network, layers: Iterable[str]) -> Network:
    """A copy of a network with the weights of some layers as they are in another."""
    names = {name for layer in layers for name in layers_of(other)[layer]}
    mixed = type(network)()
    mixed.CopyFrom(network)
    theirs = {each.name: each for each in other.graph.initializer if each.name in names}
    for each in mixed.graph.initializer:
        if each.name in theirs:
            each.CopyFrom(theirs[each.name])
    return mixed


def first_without_number(network: Network, frames: NDArray[np.uint8]) -> str | None:
    """The first node that answers NaN or Inf to frames although what it was given has none; None if there is no such.

    Args:
        network: Takes (N, H, W, 3) uint8.
        frames: On which the network as a whole goes wrong.
    """
    onnx = need("onnx", "looking for the layer that gives no numbers")
    seen = type(network)()
    seen.CopyFrom(network)
    del seen.graph.output[:]
    places = [(node, name) for node in seen.graph.node for name in node.output if node.op_type != "Constant"]
    seen.graph.output.extend(onnx.ValueInfoProto(name=name) for _, name in places)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(seen.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answers = session.run([name for _, name in places], {session.get_inputs()[0].name: frames})
    for (node, name), answer in zip(places, answers, strict=True):
        if np.issubdtype(answer.dtype, np.floating) and not np.isfinite(answer).all():
            return str(node.name or name)
    return None


def have_the_same_layers(one: Network, other: Network) -> bool:
    """Whether two networks have the same layers with weights of the same names and shapes."""
    shapes = [{each.name: tuple(each.dims) for each in network.graph.initializer} for network in (one, other)]
    return layers_of(one) == layers_of(other) and shapes[0] == shapes[1]
