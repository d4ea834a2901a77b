"""Broken builds are refused and their layers named; what passed is told in results, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fakes import MES, ORGAN, QUALITY, description
from scopeline.backends import open_backend
from scopeline.backends.onnx_runtime import INT8_FILE
from scopeline.bundle import Bundle, write_bundle, write_heads
from scopeline.errors import BackendError
from scopeline.judge import Model
from scopeline.parity import Stretch
from scopeline.proof import find_proof, keep_proof
from scopeline_calibration import int8
from scopeline_calibration.gate import Build, Gate, blame, make_gate
from scopeline_calibration.real_frames import RealFrames

_SIZE = 32
_LAYERS = ("first", "second", "third", "fourth")
_HEADS = (QUALITY, ORGAN, MES)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPELINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    about = description(*_HEADS, name="layers", size=_SIZE)
    return write_bundle(
        tmp_path / "layers", about, network=_network().SerializeToString(), card="For tests.\n"
    )


@pytest.fixture
def gate(bundle: Bundle) -> Gate:
    return make_gate(bundle, _frames())


def test_the_reference_runtime_passes_its_own_gate(bundle: Bundle, gate: Gate) -> None:
    proof = gate.check(Build("onnxruntime", "fp32", bundle.onnx_path), batches=[1, 4])
    assert proof.verdict.passed
    assert proof.verdict.frames == 240
    assert {row.check for row in proof.verdict.rows} >= {"same_tags", "same_sure_label", "not_a_number"}


@pytest.mark.parametrize("layer", ["second", "fourth", "mes"])
def test_one_layer_with_scaled_weights_is_refused_and_named(layer: str, bundle: Bundle, gate: Gate) -> None:
    build = _broken(bundle, layer, lambda weights: weights * 1.6)
    proof = gate.check(build, batches=[4])
    assert not proof.verdict.passed
    assert blame(gate, build, proof.verdict, lambda: None) == (
        f"with the bundle's weights in {layer} it passes"
    )


def test_a_network_that_gives_nan_is_refused_and_the_layer_named(bundle: Bundle, gate: Gate) -> None:
    build = _broken(bundle, "third", lambda weights: np.full_like(weights, np.nan))
    proof = gate.check(build, batches=[1])
    assert any(row.check == "not_a_number" and not row.passed for row in proof.verdict.rows)
    assert blame(gate, build, proof.verdict, lambda: None) == "the first layer that gives NaN or Inf is third"


def test_a_network_of_other_layers_is_refused_without_a_search(bundle: Bundle, gate: Gate) -> None:
    other = _network(layers=_LAYERS[:2])
    path = bundle.folder / "other.onnx"
    path.write_bytes(other.SerializeToString())
    build = Build("onnxruntime", "fp32", path)
    proof = gate.check(build, batches=[4])
    assert not proof.verdict.passed
    assert "other layers than the bundle's" in blame(gate, build, proof.verdict, lambda: None)


def test_results_say_whether_a_build_was_proven_refused_or_never_judged(bundle: Bundle, gate: Gate) -> None:
    def told() -> str:
        backend = open_backend("openvino", bundle, threads=1, precision="fp32")
        return Model(bundle, backend, 0).fingerprint

    assert told().endswith("/openvino/fp32/unproven")
    proof = gate.check(Build("openvino", "fp32", bundle.onnx_path), batches=[1])
    keep_proof(bundle, proof, backend="openvino", precision="fp32")
    assert proof.verdict.passed
    assert told().endswith(f"/openvino/fp32/proven:{proof.hash}")
    reference = open_backend("onnxruntime", bundle, threads=1, precision="fp32")
    assert Model(bundle, reference, 0).fingerprint.endswith("/onnxruntime/fp32")


def test_a_proof_holds_no_longer_when_temperatures_change(bundle: Bundle, gate: Gate) -> None:
    proof = gate.check(Build("openvino", "fp32", bundle.onnx_path), batches=[1])
    keep_proof(bundle, proof, backend="openvino", precision="fp32")
    assert find_proof(bundle, backend="openvino", precision="fp32") == proof
    hotter = tuple(
        type(head)(name=head.name, role=head.role, labels=head.labels, temperature=2.0) for head in _HEADS
    )
    changed = write_heads(bundle, hotter)
    assert find_proof(changed, backend="openvino", precision="fp32") is None


def test_int8_is_made_judged_and_used_only_with_a_proof_of_that_very_file(bundle: Bundle) -> None:
    gate, quantiser = int8.part(bundle, _frames(80), 40)
    assert quantiser.layers == (*_LAYERS, *(head.name for head in _HEADS))
    found = int8.search(gate, quantiser, lambda: None)
    with pytest.raises(BackendError, match="no proof on this machine"):
        open_backend("onnxruntime", bundle, threads=1, precision="int8")
    proof = gate.check(Build("onnxruntime", "int8", found.written, found.kept_in_fp32), batches=[1, 4])
    assert proof.verdict.passed
    assert len(found.kept_in_fp32) < len(quantiser.layers)
    keep_proof(bundle, proof, backend="onnxruntime", precision="int8")
    backend = open_backend("onnxruntime", bundle, threads=1, precision="int8")
    assert Model(bundle, backend, 0).fingerprint.endswith(f"/onnxruntime/int8/proven:{proof.hash}")
    written = onnx.load(str(bundle.folder / INT8_FILE))
    assert any(node.op_type == "QuantizeLinear" for node in written.graph.node)
    with (bundle.folder / INT8_FILE).open("ab") as file:
        file.write(b"\x00")
    with pytest.raises(BackendError, match="no proof on this machine"):
        open_backend("onnxruntime", bundle, threads=1, precision="int8")


def test_without_an_int8_build_the_error_says_how_to_make_one(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match="scopeline calibrate int8"):
        open_backend("onnxruntime", bundle, threads=1, precision="int8")


def _frames(count: int = 40) -> RealFrames:
    rng = np.random.default_rng(0)
    pixels = np.clip(
        rng.normal(110, 40, (count, _SIZE, _SIZE, 3)) + rng.normal(0, 30, (count, 1, 1, 3)), 0, 255
    )
    return RealFrames(pixels.astype(np.uint8), (Stretch(0, tuple(n / 5 for n in range(count))),), 1, 0)


def _network(layers: tuple[str, ...] = _LAYERS, seed: int = 1) -> onnx.ModelProto:
    """Convolutions in a row, their mean, and a linear head each: every layer named like its node."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "white"], ["scaled"], "scale"),
        helper.make_node("Transpose", ["scaled"], ["seen 0"], "channels first", perm=[0, 3, 1, 2]),
    ]
    weights = [numpy_helper.from_array(np.array(255, np.float32), "white")]
    depth = 3
    for number, layer in enumerate(layers):
        kernel = rng.normal(0, 1 / np.sqrt(9 * depth), (8, depth, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"{layer}.weight"))
        nodes.append(helper.make_node("Conv", [f"seen {number}", f"{layer}.weight"], [f"sum {number}"], layer, pads=[1, 1, 1, 1]))  # fmt: skip # noqa: E501
        nodes.append(helper.make_node("Relu", [f"sum {number}"], [f"seen {number + 1}"], f"{layer} relu"))
        depth = 8
    nodes.append(helper.make_node("GlobalAveragePool", [f"seen {len(layers)}"], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"))
    for head in _HEADS:
        slope = rng.normal(0, 2, (8, len(head.labels))).astype(np.float32)
        bias = np.zeros(len(head.labels), np.float32)
        bias[1] = 2.0
        weights += [numpy_helper.from_array(slope, f"{head.name}.weight"), numpy_helper.from_array(bias, f"{head.name}.bias")]  # fmt: skip # noqa: E501
        nodes.append(helper.make_node("Gemm", ["flat", f"{head.name}.weight", f"{head.name}.bias"], [head.name], head.name))  # fmt: skip # noqa: E501
    outputs = [
        helper.make_tensor_value_info(head.name, TensorProto.FLOAT, ["batch", len(head.labels)])
        for head in _HEADS
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", _SIZE, _SIZE, 3])
    graph = helper.make_graph(nodes, "layers", [pixels], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _broken(bundle: Bundle, layer: str, spoil: object) -> Build:
    network = onnx.load(str(bundle.onnx_path))
    for each in network.graph.initializer:
        if each.name == f"{layer}.weight":
            assert callable(spoil)
            each.CopyFrom(numpy_helper.from_array(spoil(numpy_helper.to_array(each)), each.name))
    path = bundle.folder / "broken.onnx"
    path.write_bytes(network.SerializeToString())
    return Build("onnxruntime", "fp32", path)
