"""The names the adaptor uses are names of the real packages, where those are at hand.

`SCOPELINE_TENSORRT_8`: folder of an unpacked offline environment (with `python310` in it). `SCOPELINE_TENSORRT_LEAN`:
folders, separated like PATH, into each of which the wheels `tensorrt-lean-cu13-bindings` and `-libs` of one version
were unpacked (docs/gpu.md). None of it needs a GPU; building and parsing can only be tried with one."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[1]
_BACKENDS = _ROOT / "engine/scopeline/backends"

_BUILDING = {
    "Builder": [
        "create_network",
        "create_builder_config",
        "create_optimization_profile",
        "build_serialized_network",
    ],
    "IBuilderConfig": [
        *("set_flag", "clear_flag", "set_memory_pool_limit", "get_tactic_sources", "set_tactic_sources"),
        *("create_timing_cache", "set_timing_cache", "get_timing_cache", "add_optimization_profile"),
    ],
    "INetworkDefinition": ["get_layer", "num_layers", "get_input", "num_inputs"],
    "ILayer": ["type", "precision", "set_output_type", "num_outputs", "get_output"],
    "ITensor": ["name", "dtype", "shape", "is_shape_tensor", "is_network_output"],
    "OnnxParser": ["parse", "num_errors", "get_error"],
    "IOptimizationProfile": ["set_shape"],
    "ITimingCache": ["serialize"],
    "LayerType": ["CONSTANT", "SHAPE", "CAST", "IDENTITY"],
}
_RUNNING = {
    "Runtime": ["deserialize_cuda_engine"],
    "ICudaEngine": [
        *("num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype", "get_tensor_shape"),
        "create_execution_context",
    ],
    "IExecutionContext": ["set_input_shape", "set_tensor_address", "execute_async_v3"],
    "ILogger": ["log", "Severity"],
    "TensorIOMode": ["INPUT", "OUTPUT"],
    "DataType": ["FLOAT", "HALF", "UINT8"],
    "MemoryPoolType": ["WORKSPACE"],
    "BuilderFlag": ["TF32"],
    "TacticSource": ["EDGE_MASK_CONVOLUTIONS"],
}
_ASK = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
wanted = json.loads(sys.argv[2])
missing = [f"{owner}.{name}" for owner, names in wanted.items() for name in names
           if not hasattr(getattr(module, owner, None), name)]
flags = [name for name in dir(module.BuilderFlag) if name.isupper()]
tactics = [name for name in dir(module.TacticSource) if name.isupper()]
print(json.dumps({"version": module.__version__, "missing": missing, "flags": flags, "tactics": tactics,
                  "monitor": hasattr(module, "IProgressMonitor")}))
"""


def _ask(program: list[str], module: str, wanted: dict[str, list[str]], **environment: str) -> Any:
    done = subprocess.run(
        [*program, "-c", _ASK, module, json.dumps(wanted)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def python310() -> list[str]:
    place = os.environ.get("SCOPELINE_TENSORRT_8")
    if not place:
        pytest.skip("no TensorRT 8.6 at hand; set SCOPELINE_TENSORRT_8 to an unpacked environment")
    return [str(Path(place) / "python310")]


def _lean() -> list[str]:
    return [each for each in os.environ.get("SCOPELINE_TENSORRT_LEAN", "").split(os.pathsep) if each]


def test_8_6_has_every_name_that_building_and_running_use(python310: list[str]) -> None:
    answer = _ask(python310, "tensorrt", _BUILDING | _RUNNING)
    assert answer["missing"] == []
    assert {"FP16", "OBEY_PRECISION_CONSTRAINTS"} <= set(answer["flags"])
    assert {"CUBLAS", "CUBLAS_LT", "CUDNN"} <= set(answer["tactics"])
    assert not answer["monitor"]


def test_the_adaptor_knows_how_to_ask_8_6_for_fp16(python310: list[str]) -> None:
    code = (
        "import tensorrt; from scopeline.backends.tensorrt_library import TensorRt; "
        "made = TensorRt(tensorrt); print(made.version, '|', made.dialect.name)"
    )
    shim = _ROOT / "bench/gpu_proof/python310"
    path = os.pathsep.join([str(shim), str(_ROOT / "engine")])
    done = subprocess.run(
        [*python310, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.strip() == "8.6.0 | weakly typed, FP16 flag", done.stderr


def test_the_packed_cuda_bindings_have_every_function_that_is_called(python310: list[str]) -> None:
    calls = set()
    for node in ast.walk(ast.parse((_BACKENDS / "cuda_driver.py").read_text())):
        if (
            isinstance(node, ast.Constant)
            and str(node.value).startswith("cuda")
            and str(node.value).isalnum()
        ):
            calls.add(str(node.value))
        if isinstance(node, ast.Attribute) and node.attr.startswith("cuda"):
            calls.add(node.attr)
    code = (
        "import json, sys, cuda.bindings.runtime as r; names = json.loads(sys.argv[1]); "
        "kinds = [r, r.cudaMemcpyKind, r.cudaStreamCaptureMode]; "
        "print(json.dumps([n for n in names if not any(hasattr(k, n) for k in kinds)]))"
    )
    done = subprocess.run(
        [*python310, "-c", code, json.dumps(sorted(calls))], capture_output=True, text=True, check=True
    )
    assert len(calls) > 20
    assert json.loads(done.stdout) == []


def test_the_packed_cuda_bindings_have_what_launches_a_kernel_of_our_own(python310: list[str]) -> None:
    calls = [
        str(node.value)
        for node in ast.walk(ast.parse((_BACKENDS / "cuda_kernel.py").read_text()))
        if isinstance(node, ast.Constant) and str(node.value).startswith("cu") and str(node.value).isalnum()
    ]
    code = (
        "import json, sys, cuda.bindings.driver as d; "
        "print(json.dumps([n for n in json.loads(sys.argv[1]) if not hasattr(d, n)]))"
    )
    done = subprocess.run(
        [*python310, "-c", code, json.dumps(calls)], capture_output=True, text=True, check=True
    )
    assert calls == ["cuModuleLoadData", "cuModuleGetFunction", "cuLaunchKernel"]
    assert json.loads(done.stdout) == []


_LAUNCH = """
import ctypes, sys
ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
import cuda.bindings.driver, cuda.bindings.runtime
import av, numpy
from scopeline.backends.cuda_kernel import Kernel
from scopeline.backends.plane_cut import plane_cut
from scopeline.backends.plane_shrinker import PTX, kernel_arguments
from scopeline.backends.yuv_colour import colour_of
picture = av.VideoFrame.from_ndarray(numpy.zeros((1620, 1920), numpy.uint8), format="nv12")
cut = plane_cut(picture, (420, 2, 1078, 1076), width=224, height=224)
arguments = kernel_arguments(1 << 40, cut, 3 << 40, (224, 224), colour_of(picture))
kernel = Kernel(cuda.bindings.driver, PTX.read_bytes(), "shrink")
kernel.launch((4, 56), (32, 4), arguments, cuda.bindings.runtime.cudaStream_t(77))
"""


def test_the_packed_cuda_bindings_hand_the_kernel_its_arguments_in_order(
    python310: list[str], tmp_path: Path
) -> None:
    stub = tmp_path / "libcuda.so.1"
    source = Path(__file__).with_name("stub_libcuda.c")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", str(source), "-o", str(stub), "-ldl"],
        check=True,
    )
    paths = os.pathsep.join([str(_ROOT / "bench/gpu_proof/python310"), str(_ROOT / "engine")])
    environment = {**os.environ, "PYTHONPATH": paths, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [*python310, "-c", _LAUNCH, str(stub)], capture_output=True, text=True, env=environment, check=True
    )
    grid, chroma_at = "4 56 1 32 4 1 0 77", 1078 * 1076
    planes = f"{1 << 40} 1078 1076 {chroma_at} {chroma_at + 1} 2 539 538"
    assert done.stdout == f"shrink {grid} {planes} {3 << 40} 224 224 9539 13075 16525 -3209 -6660 0"


@pytest.mark.parametrize("place", _lean() or [None])
def test_10_and_11_have_every_name_that_running_uses(place: str | None) -> None:
    if place is None:
        pytest.skip("no lean bindings at hand; set SCOPELINE_TENSORRT_LEAN to where they were unpacked")
    libraries = str(Path(place) / "tensorrt_lean_libs")
    environment = {"PYTHONPATH": place, "LD_LIBRARY_PATH": libraries}
    answer = _ask([sys.executable], "tensorrt_lean_bindings", _RUNNING, **environment)
    assert answer["missing"] == []
    assert answer["monitor"]
    assert ("FP16" in answer["flags"]) == answer["version"].startswith("10.")
    assert ("CUBLAS" in answer["tactics"]) == answer["version"].startswith("10.")
