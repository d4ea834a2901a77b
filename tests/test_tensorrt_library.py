"""One way to build and to load, whatever the version: FP16 by flag or by graph, and never FP32 by silence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from fake_gpu import FakeMachine
from fakes_tensorrt import FakeCudaRuntime, fake_tensorrt
from scopeline.backends import open_backend
from scopeline.backends.cuda_driver import Cuda, CudaError, choose_gpu, failure_of, open_cuda
from scopeline.backends.tensorrt_half_graph import HalfGraph, divide
from scopeline.backends.tensorrt_library import BuildOrder, PlanError, TensorRt, open_tensorrt
from scopeline.errors import BackendError
from scopeline.shipped import shipped_pipelines

VERSIONS = ("8.6.0", "10.16.1.11", "11.4.0.106")


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


def _graph() -> HalfGraph:
    network = (shipped_pipelines() / "bundles" / "demo" / "model.onnx").read_bytes()
    return divide(network, name="demo")


def _build(machine: FakeMachine, version: str, shares: list[float] | None = None) -> Any:
    machine.version = version
    order = BuildOrder("demo", _graph(), 8, b"earlier")
    return machine.library.build(order, (shares if shares is not None else []).append)


def test_8_6_gets_the_fp32_graph_the_flag_and_a_precision_for_every_layer(machine: FakeMachine) -> None:
    _build(machine, "8.6.0")
    ((network, config),) = machine.faults.builds
    assert {flag.name for flag in config.flags} == {"FP16", "OBEY_PRECISION_CONSTRAINTS"}
    given = {tensor.data_type for tensor in onnx.load_from_string(network.onnx).graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in given
    held = {layer.type: getattr(layer.precision, "name", None) for layer in network.layers}
    assert held["Conv"] == held["Relu"] == "HALF"
    assert held["Sub"] == held["Div"] == held["ReduceMean"] == held["Gemm"] == "FLOAT"


def test_layers_that_the_parser_adds_before_a_node_are_held_like_the_node(machine: FakeMachine) -> None:
    _build(machine, "8.6.0")
    ((network, _),) = machine.faults.builds
    helpers = [layer for layer in network.layers if layer.type == "Shuffle"]
    assert helpers
    assert all(layer.precision.name == "HALF" for layer in helpers)


def test_the_networks_own_outputs_are_left_in_fp32(machine: FakeMachine) -> None:
    _build(machine, "8.6.0")
    ((network, _),) = machine.faults.builds
    answers = [layer for layer in network.layers if layer.get_output(0).is_network_output]
    assert len(answers) == 3
    assert not any(layer.output_types for layer in answers)


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_10_and_11_get_the_fp16_graph_and_no_flag_that_11_has_lost(
    machine: FakeMachine, version: str
) -> None:
    _build(machine, version)
    ((network, config),) = machine.faults.builds
    assert not config.flags
    assert network.flags  # STRONGLY_TYPED
    given = {tensor.data_type for tensor in onnx.load_from_string(network.onnx).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in given


@pytest.mark.parametrize("version", ["7.2.3", "9.0.0"])
def test_a_version_without_a_known_way_to_fp16_is_refused(version: str) -> None:
    with pytest.raises(BackendError, match=r"wanted 8.6, 10 or 11"):
        TensorRt(fake_tensorrt(version, FakeCudaRuntime()))


def test_an_8_6_that_had_lost_its_flag_would_be_refused_and_not_run_in_fp32() -> None:
    module = fake_tensorrt("8.6.0", FakeCudaRuntime())
    module.BuilderFlag = object()
    with pytest.raises(BackendError, match="FP16 is asked for"):
        TensorRt(module)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_builds_for_one_to_eight_frames_without_tf32_and_foreign_libraries(
    machine: FakeMachine, version: str
) -> None:
    _build(machine, version)
    ((_, config),) = machine.faults.builds
    assert config.profiles[0].shapes["pixels"] == ((1, 128, 128, 3), (1, 128, 128, 3), (8, 128, 128, 3))
    assert {flag.name for flag in config.cleared} == {"TF32"}
    assert config.tactics == (0b11000 if version != VERSIONS[2] else 0b11111)


def test_what_a_build_measured_starts_from_what_earlier_ones_did(machine: FakeMachine) -> None:
    assert _build(machine, "10.16.1.11").timing_cache == b"earlier+measured"


def test_progress_is_told_of_the_outermost_phase_where_the_version_tells_any(machine: FakeMachine) -> None:
    shares: list[float] = []
    _build(machine, "11.4.0.106", shares)
    assert shares == [0.5]
    _build(machine, "8.6.0", shares)
    assert shares == [0.5]


def test_a_failed_build_says_what_tensorrt_said(machine: FakeMachine) -> None:
    machine.faults.build_fails = True
    with pytest.raises(PlanError, match=r"demo: .*could not build.*no implementation found"):
        _build(machine, "8.6.0")


def test_a_plan_of_another_version_is_refused_with_tensorrts_words(machine: FakeMachine) -> None:
    plan = _build(machine, "10.16.1.11").plan
    machine.version = "11.4.0.106"
    with pytest.raises(PlanError, match="incompatible version"):
        machine.library.load(plan)


def test_without_tensorrt_the_message_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match=r"needs TensorRT 8.6, 10 or 11 .*pip install .*\[tensorrt\]"):
        open_tensorrt()


def test_without_cuda_python_the_message_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(
        BackendError, match=r"needs cuda-python .*pip install -c constraints.txt -e .*\[tensorrt\]"
    ):
        open_cuda()


def test_without_a_driver_nothing_of_tensorrt_is_touched(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.runtime.fail["cudaGetDeviceCount"] = 35
    machine.install(monkeypatch)
    with pytest.raises(CudaError, match="no NVIDIA GPU can be used; see scopeline doctor") as caught:
        open_backend("tensorrt", machine.bundle, threads=1, precision="fp16")
    assert caught.value.failure == "absent"
    assert machine.runtime.calls == ["cudaGetDeviceCount"]


def test_fp32_on_tensorrt_is_refused_by_name(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.install(monkeypatch)
    with pytest.raises(BackendError, match='set precision = "fp16"'):
        open_backend("tensorrt", machine.bundle, threads=1, precision="fp32")


def test_a_device_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(BackendError, match="wanted GPU 3, there are 0: Fake GPU; set device under"):
        choose_gpu(Cuda(FakeCudaRuntime()), 3)


@pytest.mark.parametrize(
    ("code", "failure"),
    [(2, "memory"), (35, "absent"), (100, "absent"), (700, "lost"), (719, "lost"), (1, "other")],
)
def test_errors_of_the_driver_are_told_apart_by_what_can_be_done(code: int, failure: str) -> None:
    assert failure_of(code) == failure
