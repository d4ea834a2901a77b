"""From a bundle to answers on the (fake) GPU: built, proven, kept, loaded, captured, run, given back."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fake_gpu import FakeMachine, few_frames, pictures
from scopeline.backends import open_backend
from scopeline.backends.cuda_driver import CudaError
from scopeline.backends.tensorrt_plan_store import NoPlan, RefusedPlan
from scopeline.backends.tensorrt_runner import PlanRunner
from scopeline.backends.tensorrt_runtime import TensorRtBackend
from scopeline.bundle import load_bundle, write_heads
from scopeline.judge import Model
from tiny_bundle import HEADS, expected_logits


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """Both packages installed, nothing built yet."""
    made = FakeMachine(tmp_path)
    made.install(monkeypatch)
    return made


@pytest.fixture
def backend(machine: FakeMachine) -> TensorRtBackend:
    machine.forge.make(machine.bundle, few_frames)
    machine.runtime.calls.clear()
    return TensorRtBackend(machine.bundle, threads=1, precision="fp16", most=3)


@pytest.mark.parametrize("version", ["8.6.0", "10.16.1.11", "11.4.0.106"])
def test_a_built_and_proven_plan_answers_by_the_bundles_formula(machine: FakeMachine, version: str) -> None:
    machine.version = version
    made = machine.forge.make(machine.bundle, few_frames)
    assert made.verdict.passed
    stored = machine.store.find(made.key)
    assert stored is not None
    runner = PlanRunner(machine.cuda, machine.cuda.gpus()[0], machine.library.load(stored.plan), most=2)
    pixels = pictures(2)
    runner.begin(pixels)
    answer = runner.take()
    for head in HEADS:
        np.testing.assert_allclose(answer[head.name], expected_logits(pixels, head), atol=0.02)
    runner.close()


def test_batches_of_every_size_and_larger_than_prepared_answer_alike(backend: TensorRtBackend) -> None:
    pixels = pictures(7)
    whole = backend.infer(pixels)
    for count in (1, 2, 3):
        part = backend.infer(pixels[:count])
        for head in HEADS:
            np.testing.assert_allclose(part[head.name], whole[head.name][:count], atol=1e-3)
    backend.close()


def test_answers_are_the_callers_and_do_not_change_with_the_next_batch(backend: TensorRtBackend) -> None:
    first = backend.infer(pictures(1, seed=1))
    kept = {name: answer.copy() for name, answer in first.items()}
    backend.infer(pictures(1, seed=2))
    for name, answer in first.items():
        np.testing.assert_array_equal(answer, kept[name])
    backend.close()


def test_a_frame_costs_one_launch_and_one_wait_on_the_own_stream(
    machine: FakeMachine, backend: TensorRtBackend
) -> None:
    backend.infer(pictures(1))
    machine.runtime.calls.clear()
    backend.infer(pictures(1))
    backend.infer(pictures(3))
    assert machine.runtime.calls == ["cudaGraphLaunch", "cudaStreamSynchronize"] * 2
    backend.close()


def test_a_network_that_cannot_be_captured_runs_without_graphs(machine: FakeMachine) -> None:
    machine.forge.make(machine.bundle, few_frames)
    machine.runtime.calls.clear()
    machine.runtime.fail["cudaStreamEndCapture"] = 900
    backend = TensorRtBackend(machine.bundle, threads=1, precision="fp16", most=1)
    pixels = pictures(1)
    answer = backend.infer(pixels)
    assert "cudaGraphLaunch" not in machine.runtime.calls
    for head in HEADS:
        np.testing.assert_allclose(answer[head.name], expected_logits(pixels, head), atol=0.02)
    backend.close()


def test_closing_gives_everything_back(machine: FakeMachine, backend: TensorRtBackend) -> None:
    backend.infer(pictures(1))
    backend.close()
    assert (machine.runtime.memory, machine.runtime.streams, machine.runtime.graphs) == ({}, {}, [])
    backend.close()


def test_a_device_without_memory_is_said_and_nothing_is_left_behind(machine: FakeMachine) -> None:
    machine.forge.make(machine.bundle, few_frames)
    machine.runtime.fail["cudaMalloc"] = 2
    with pytest.raises(CudaError, match="the GPU's memory is full") as caught:
        TensorRtBackend(machine.bundle, threads=1, precision="fp16")
    assert caught.value.failure == "memory"
    assert (machine.runtime.memory, machine.runtime.streams) == ({}, {})


def test_another_thread_may_infer_and_chooses_the_device_first(
    machine: FakeMachine, backend: TensorRtBackend
) -> None:
    machine.runtime.calls.clear()
    thread = threading.Thread(target=lambda: backend.infer(pictures(1)))
    thread.start()
    thread.join()
    assert machine.runtime.calls[0] == "cudaSetDevice"
    backend.close()


def test_without_a_plan_the_message_says_how_to_build_one(machine: FakeMachine) -> None:
    with pytest.raises(NoPlan, match=r"no proven TensorRT 10.16.1 plan for Fake GPU.*scopeline model build"):
        open_backend("tensorrt", machine.bundle, threads=1, precision="fp16")


def test_a_broken_engine_fails_the_gate_and_is_never_opened(machine: FakeMachine) -> None:
    machine.faults.scale = 1.5
    made = machine.forge.make(machine.bundle, few_frames)
    assert not made.verdict.passed
    with pytest.raises(RefusedPlan, match=r"other answers than in FP32 .*max_difference.*stays on the CPU"):
        TensorRtBackend(machine.bundle, threads=1, precision="fp16")


def test_a_proven_plan_is_taken_and_not_built_again(machine: FakeMachine) -> None:
    machine.forge.make(machine.bundle, few_frames)
    machine.told.clear()
    machine.forge.make(machine.bundle, few_frames)
    assert len(machine.faults.builds) == 1
    assert [report.step for report in machine.told] == ["waiting", "kept"]


def test_other_temperatures_are_judged_anew_without_building_again(machine: FakeMachine) -> None:
    machine.forge.make(machine.bundle, few_frames)
    hot = tuple(msgspec.structs.replace(head, temperature=2.0) for head in machine.bundle.heads)
    machine.bundle = write_heads(machine.bundle, hot)
    with pytest.raises(NoPlan):
        TensorRtBackend(machine.bundle, threads=1, precision="fp16")
    machine.forge.make(machine.bundle, few_frames)
    assert len(machine.faults.builds) == 1
    TensorRtBackend(machine.bundle, threads=1, precision="fp16", most=1).close()


def test_results_name_the_proof_of_the_plan_that_judged(
    machine: FakeMachine, backend: TensorRtBackend
) -> None:
    said = Model(load_bundle(machine.bundle.folder), backend, 0).fingerprint
    assert "/tensorrt/fp16/proven:" in said
    backend.close()
