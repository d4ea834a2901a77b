"""FP16 where it costs, FP32 where it matters, and the same network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fake_gpu import pictures
from fakes import ORGAN
from scopeline.backends.tensorrt_half_graph import divide
from scopeline.errors import BackendError
from scopeline.hostile_frames import hostile_frames
from scopeline.shipped import shipped_pipelines
from tiny_bundle import HEADS, SIZE, expected_logits, write_tiny_bundle


def _run(network: bytes, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: pixels}), strict=True))


def _network(nodes: list[onnx.NodeProto], *constants: onnx.TensorProto) -> bytes:
    """A network over (batch, 8, 8, 3) pixels whose last node gives `answer`."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 8, 8, 3])
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "test", [pixels], [answer], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def _weights(name: str, shape: tuple[int, ...], scale: float = 0.1) -> onnx.TensorProto:
    values = np.random.default_rng(0).normal(0, scale, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def _convolution(*, after: tuple[onnx.NodeProto, ...]) -> bytes:
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["numbers", "spread"], ["normal"]),
        helper.make_node("Conv", ["normal", "w"], ["seen"]),
        helper.make_node("Relu", ["seen"], ["kept"]),
        *after,
    ]
    spread = numpy_helper.from_array(np.array(255, np.float32), "spread")
    return _network(nodes, spread, _weights("w", (4, 3, 3, 3)))


_MEAN = helper.make_node("ReduceMean", ["kept"], ["answer"], axes=[2, 3], keepdims=0)


def test_pixels_are_cast_before_anything_else_touches_them() -> None:
    graph = onnx.load_from_string(divide(_convolution(after=(_MEAN,)), name="test").single).graph
    users = [node.op_type for node in graph.node if "pixels" in node.input]
    assert users == ["Cast"]
    assert [node.op_type for node in graph.node].count("Cast") == 1


def test_convolutions_are_half_and_normalisation_and_sums_are_not() -> None:
    parts = divide(_convolution(after=(_MEAN,)), name="test")
    assert parts.in_half == {"seen", "kept"}
    assert {"normal", "answer"} <= parts.in_single
    assert (
        parts.weights_in_half == 108 / 109
    )  # the convolution's, and not the one number of the normalisation


def test_what_a_bundle_wants_kept_in_fp32_stays_there_and_what_follows_it_too() -> None:
    second = helper.make_node("Conv", ["kept", "v"], ["answer"], name="/joins.1/Conv")
    network = onnx.load_from_string(_convolution(after=(second,)))
    network.graph.initializer.append(_weights("v", (4, 4, 1, 1)))
    parts = divide(network.SerializeToString(), name="test", kept=["seen"])
    assert parts.in_half == {"answer"}
    assert {"seen", "kept"} <= parts.in_single
    parts = divide(network.SerializeToString(), name="test", kept=["joins."])
    assert parts.in_half == {"seen", "kept"}


def test_a_layer_to_be_kept_that_is_not_there_is_named() -> None:
    with pytest.raises(BackendError, match=r"trunk\.7/ in FP32, no node of the network is called so"):
        divide(_convolution(after=(_MEAN,)), name="test", kept=["trunk.7/"])


def test_weights_of_half_nodes_are_stored_in_half() -> None:
    graph = onnx.load_from_string(divide(_convolution(after=(_MEAN,)), name="test").half).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert kinds == {"w__half": TensorProto.FLOAT16, "spread": TensorProto.FLOAT}


def test_an_answer_that_is_also_used_inside_stays_float32_outside() -> None:
    after = (helper.make_node("Relu", ["kept"], ["answer"]), helper.make_node("Relu", ["answer"], ["unused"]))
    parts = divide(_convolution(after=after), name="test")
    (answer,) = onnx.load_from_string(parts.half).graph.output
    assert answer.type.tensor_type.elem_type == TensorProto.FLOAT
    assert "answer" in parts.in_half


def test_a_weight_that_is_no_number_of_fp16_keeps_its_node_in_fp32() -> None:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["turned", "w"], ["seen"]),
        helper.make_node("Mul", ["seen", "huge"], ["answer"]),
    ]
    huge = numpy_helper.from_array(np.array(1e6, np.float32), "huge")
    parts = divide(_network(nodes, huge, _weights("w", (4, 3, 3, 3))), name="test")
    assert parts.in_half == {"seen"}


def test_a_network_with_nothing_for_fp16_is_refused() -> None:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["answer"], axes=[1, 2], keepdims=0),
    ]
    with pytest.raises(BackendError, match="nothing in the network would compute in FP16"):
        divide(_network(nodes), name="test")


def test_reckoning_with_bytes_is_refused() -> None:
    nodes = [
        helper.make_node("Add", ["pixels", "pixels"], ["twice"]),
        helper.make_node("Cast", ["twice"], ["answer"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(BackendError, match="Add reckons with uint8 pixels"):
        divide(_network(nodes), name="test")


def test_the_fp32_side_answers_by_formula_and_the_fp16_side_within_its_rounding(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny")
    parts = divide((folder / "model.onnx").read_bytes(), name="tiny")
    pixels = pictures(3)
    single, half = _run(parts.single, pixels), _run(parts.half, pixels)
    for head in HEADS:
        np.testing.assert_allclose(single[head.name], expected_logits(pixels, head), atol=1e-4)
        np.testing.assert_allclose(half[head.name], expected_logits(pixels, head), atol=0.02)
    assert not np.array_equal(single[ORGAN.name], half[ORGAN.name])
    assert pixels.shape[1] == SIZE


def test_the_bundles_that_ship_keep_their_first_and_last_steps_in_fp32_and_nearly_all_weights_in_fp16() -> (
    None
):
    for name in ("colon", "polyp-seg"):
        network = (shipped_pipelines() / "bundles" / name / "model.onnx").read_bytes()
        parts = divide(network, name=name)
        shape = onnx.load_from_string(network).graph.input[0].type.tensor_type.shape.dim
        frames = hostile_frames((shape[2].dim_value, shape[1].dim_value), count=6)
        whole, single, half = _run(network, frames), _run(parts.single, frames), _run(parts.half, frames)
        assert parts.weights_in_half > 0.9
        for head, answer in whole.items():
            np.testing.assert_array_equal(single[head], answer)
            assert np.isfinite(half[head]).all()
