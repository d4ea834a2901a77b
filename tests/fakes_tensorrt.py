"""Stand-ins for NVIDIA's two packages, up to the driver. They behave: memory is memory, copies copy, graphs replay what
was captured, and a plan computes its network, by ONNX Runtime.

`FakeCudaRuntime` is the module `cuda.bindings.runtime`, `fake_tensorrt(version)` the module `tensorrt`, with the names
that version has and no others; tests/test_tensorrt_names.py holds what we use against the real ones.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort


class _Code(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidDevice = 101
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900


@dataclass(slots=True)
class _Stream:
    """Work given to it is done at once, unless it is being written down."""

    handle: int
    priority: int = 0
    captured: list[Callable[[], object]] | None = None

    def __int__(self) -> int:
        return self.handle

    def give(self, work: Callable[[], object]) -> None:
        if self.captured is None:
            work()
        else:
            self.captured.append(work)


@dataclass(slots=True)
class FakeDevice:
    name: str = "Fake GPU"
    major: int = 9
    minor: int = 0
    totalGlobalMem: int = 1 << 34


@dataclass
class FakeCudaRuntime:
    """`fail` maps a function's name to the error it returns from now on. `calls` lists what was called, in order."""

    devices: Sequence[FakeDevice] = (FakeDevice(),)
    fail: dict[str, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    cudaStreamNonBlocking: int = 1
    cudaHostAllocDefault: int = 0

    class cudaMemcpyKind(Enum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    class cudaStreamCaptureMode(Enum):
        cudaStreamCaptureModeThreadLocal = 1

    def __post_init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.streams: dict[int, _Stream] = {}
        self.graphs: list[object] = []

    def _answer(self, name: str, *results: Any) -> tuple[Any, ...]:
        self.calls.append(name)
        code = self.fail.get(name, 0)
        return (_Code(code), *([None] * len(results) if code else results))

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return self._answer("cudaGetDeviceCount", len(self.devices))

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        of = self.devices[device]
        named = SimpleNamespace(
            name=of.name.encode(), major=of.major, minor=of.minor, totalGlobalMem=of.totalGlobalMem
        )
        return self._answer("cudaGetDeviceProperties", named)

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        return self._answer("cudaSetDevice")

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return self._answer("cudaDriverGetVersion", 13000)

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return self._answer("cudaMemGetInfo", 1 << 33, 1 << 34)

    def cudaDeviceGetStreamPriorityRange(self) -> tuple[Any, ...]:
        return self._answer("cudaDeviceGetStreamPriorityRange", 0, -5)

    def cudaStreamCreateWithPriority(self, flags: int, priority: int) -> tuple[Any, ...]:
        stream = _Stream(1000 + len(self.streams), priority)
        self.streams[stream.handle] = stream
        return self._answer("cudaStreamCreateWithPriority", stream)

    def cudaStreamSynchronize(self, stream: _Stream) -> tuple[Any, ...]:
        assert stream.captured is None, "a stream is not waited for while it is written down"
        return self._answer("cudaStreamSynchronize")

    def cudaStreamDestroy(self, stream: _Stream) -> tuple[Any, ...]:
        del self.streams[stream.handle]
        return self._answer("cudaStreamDestroy")

    def _allocate(self, name: str, size: int) -> tuple[Any, ...]:
        if self.fail.get(name):
            return self._answer(name, None)
        memory = (ctypes.c_uint8 * size)()
        self.memory[ctypes.addressof(memory)] = memory
        return self._answer(name, ctypes.addressof(memory))

    def _free(self, name: str, address: int) -> tuple[Any, ...]:
        del self.memory[address]
        return self._answer(name)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        return self._allocate("cudaHostAlloc", size)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._free("cudaFreeHost", address)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate("cudaMalloc", size)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return self._free("cudaFree", address)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: Any, stream: _Stream) -> tuple[Any, ...]:
        assert size <= len(self.memory[to]), "a copy beyond the end of what was allocated"
        assert size <= len(self.memory[source]), "a copy from beyond the end of what was allocated"
        stream.give(lambda: ctypes.memmove(to, source, size))
        return self._answer("cudaMemcpyAsync")

    def cudaMemsetAsync(self, address: int, value: int, size: int, stream: _Stream) -> tuple[Any, ...]:
        assert size <= len(self.memory[address])
        stream.give(lambda: ctypes.memset(address, value, size))
        return self._answer("cudaMemsetAsync")

    def cudaStreamBeginCapture(self, stream: _Stream, mode: Any) -> tuple[Any, ...]:
        stream.captured = []
        return self._answer("cudaStreamBeginCapture")

    def cudaStreamEndCapture(self, stream: _Stream) -> tuple[Any, ...]:
        graph, stream.captured = stream.captured, None
        return self._answer("cudaStreamEndCapture", graph)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, ...]:
        if not self.fail.get("cudaGraphInstantiate"):
            self.graphs.append(graph)
        return self._answer("cudaGraphInstantiate", list(graph))

    def cudaGraphDestroy(self, graph: Any) -> tuple[Any, ...]:
        return self._answer("cudaGraphDestroy")

    def cudaGraphExecDestroy(self, graph: Any) -> tuple[Any, ...]:
        self.graphs.pop()
        return self._answer("cudaGraphExecDestroy")

    def cudaGraphLaunch(self, graph: Any, stream: _Stream) -> tuple[Any, ...]:
        if not self.fail.get("cudaGraphLaunch"):
            for work in graph:
                stream.give(work)
        return self._answer("cudaGraphLaunch")


class _Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class _Log:
    Severity = _Severity

    def __init__(self) -> None:
        pass

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class _Type:
    name: str


_KINDS: dict[int, _Type] = {
    onnx.TensorProto.FLOAT: _Type("FLOAT"),
    onnx.TensorProto.FLOAT16: _Type("HALF"),
    onnx.TensorProto.UINT8: _Type("UINT8"),
    onnx.TensorProto.INT64: _Type("INT32"),
}


class _Tensor:
    """Of a network definition; named as in the graph."""

    def __init__(self, name: str, kind: int, shape: tuple[int, ...] = (), *, is_output: bool = False) -> None:
        self.name, self.dtype, self.shape = name, _KINDS.get(kind, _Type("INT32")), shape
        self.is_shape_tensor, self.is_network_output = False, is_output


class _Layer:
    """One per node, with one helper before every convolution, as the real parser makes for some nodes."""

    def __init__(self, kind: str, outputs: list[_Tensor]) -> None:
        self.type, self._outputs, self.num_outputs = kind, outputs, len(outputs)
        self.precision: Any = None
        self.output_types: dict[int, Any] = {}

    def get_output(self, place: int) -> _Tensor:
        return self._outputs[place]

    def set_output_type(self, place: int, kind: Any) -> None:
        self.output_types[place] = kind


class _Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.onnx = b""
        self.layers: list[_Layer] = []
        self.num_inputs = 1

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, place: int) -> _Layer:
        return self.layers[place]

    def get_input(self, place: int) -> _Tensor:
        value = onnx.load_from_string(self.onnx).graph.input[place]
        return _Tensor(value.name, value.type.tensor_type.elem_type, _shape(value))


class _Config:
    def __init__(self) -> None:
        self.flags: set[Any] = set()
        self.cleared: set[Any] = set()
        self.profiles: list[_Profile] = []
        self.tactics = 0b11111
        self._cache = _Cache(b"")

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self.cleared.add(flag)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        pass

    def get_tactic_sources(self) -> int:
        return self.tactics

    def set_tactic_sources(self, sources: int) -> bool:
        self.tactics = sources
        return True

    def create_timing_cache(self, content: bytes) -> _Cache:
        return _Cache(content)

    def set_timing_cache(self, cache: _Cache, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return True

    def get_timing_cache(self) -> _Cache:
        return self._cache

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profiles.append(profile)
        return 0


class _Cache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"+measured"


@dataclass
class _Profile:
    shapes: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shapes[name] = shapes


@dataclass
class FakeFaults:
    """What goes wrong, and what was seen of a build."""

    build_fails: bool = False
    load_fails: bool = False
    context_fails: bool = False
    execution_fails: bool = False
    scale: float = 1.0
    """What every answer is multiplied by: anything but 1 is a broken engine."""
    builds: list[tuple[_Network, _Config]] = field(default_factory=list)
    on_build: Callable[[], None] = lambda: None


def fake_tensorrt(version: str, runtime: FakeCudaRuntime, faults: FakeFaults | None = None) -> Any:
    """A module `tensorrt` of that version, working on the memory of `runtime`."""
    major = int(version.split(".")[0])
    wrong = faults or FakeFaults()

    class Builder:
        def __init__(self, log: Any) -> None:
            self._log = log

        def create_network(self, flags: int = 0) -> _Network:
            return _Network(flags)

        def create_builder_config(self) -> _Config:
            return _Config()

        def create_optimization_profile(self) -> _Profile:
            return _Profile()

        def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
            wrong.builds.append((network, config))
            wrong.on_build()
            monitor = getattr(config, "progress_monitor", None)
            if monitor is not None:
                monitor.phase_start("Building engine", None, 2)
                monitor.phase_start("Timing", "Building engine", 9)
                monitor.step_complete("Timing", 3)
                monitor.step_complete("Building engine", 0)
                monitor.phase_finish("Building engine")
            if wrong.build_fails:
                self._log.log(_Severity.ERROR, "no implementation found for node Conv_0")
                return None
            (shapes,) = config.profiles[0].shapes.values()
            return json.dumps({"version": version, "most": shapes[2][0]}).encode() + b"\n" + network.onnx

    class OnnxParser:
        num_errors = 1

        def __init__(self, network: _Network, log: Any) -> None:
            self._network = network

        def parse(self, model: bytes) -> bool:
            try:
                self._network.layers = _layers(model)
            except Exception:
                return False
            self._network.onnx = model
            return True

        def get_error(self, place: int) -> str:
            return "not an ONNX model"

    class Runtime:
        def __init__(self, log: Any) -> None:
            self._log = log

        def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
            head, _, network = plan.partition(b"\n")
            try:
                made_by = json.loads(head)["version"]
            except ValueError:
                made_by = None
            if wrong.load_fails or made_by != version:
                self._log.log(_Severity.ERROR, "the engine was generated by an incompatible version")
                return None
            return _Engine(network, json.loads(head)["most"], runtime, wrong)

    class Monitor:
        def __init__(self) -> None:
            pass

    def named(*names: str) -> Any:
        return IntEnum("Names", {name: place for place, name in enumerate(names)})

    tactics = ("CUBLAS", "CUBLAS_LT", "CUDNN") if major < 11 else ()
    flags = ("TF32", *(("FP16", "OBEY_PRECISION_CONSTRAINTS") if major < 11 else ()))
    creation = {8: ("EXPLICIT_BATCH",), 10: ("EXPLICIT_BATCH", "STRONGLY_TYPED"), 11: ("STRONGLY_TYPED",)}
    module = SimpleNamespace(
        __version__=version,
        ILogger=_Log,
        Builder=Builder,
        OnnxParser=OnnxParser,
        Runtime=Runtime,
        BuilderFlag=named(*flags),
        TacticSource=named(*tactics, "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"),
        MemoryPoolType=named("WORKSPACE"),
        NetworkDefinitionCreationFlag=named(*creation.get(major, ("EXPLICIT_BATCH",))),
        TensorIOMode=SimpleNamespace(INPUT="input", OUTPUT="output"),
        DataType=SimpleNamespace(FLOAT=_Type("FLOAT"), HALF=_Type("HALF"), UINT8=_Type("UINT8")),
        LayerType=SimpleNamespace(CONSTANT="Constant", SHAPE="Shape", CAST="Cast", IDENTITY="Identity"),
    )
    if major >= 10:
        module.IProgressMonitor = Monitor
    return module


def _layers(model: bytes) -> list[_Layer]:
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.output]}
    answers = {value.name for value in graph.output}
    layers = []
    for number, node in enumerate(graph.node):
        if node.op_type == "Conv":
            layers.append(_Layer("Shuffle", [_Tensor(f"(Unnamed Layer* {number})", onnx.TensorProto.FLOAT)]))
        outputs = [_Tensor(name, kinds.get(name, 0), is_output=name in answers) for name in node.output]
        layers.append(_Layer(node.op_type, outputs))
    return layers


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(size.dim_value or -1 for size in value.type.tensor_type.shape.dim)


class _Engine:
    def __init__(self, network: bytes, most: int, runtime: FakeCudaRuntime, wrong: FakeFaults) -> None:
        graph = onnx.load_from_string(network).graph
        self._values = {value.name: value for value in [*graph.input, *graph.output]}
        self._inputs = {value.name for value in graph.input}
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self.most, self.runtime, self.wrong = most, runtime, wrong
        self.num_io_tensors = len(self._values)

    def get_tensor_name(self, place: int) -> str:
        return str(list(self._values)[place])

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self._inputs else "output"

    def get_tensor_dtype(self, name: str) -> _Type:
        return _KINDS[self._values[name].type.tensor_type.elem_type]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return _shape(self._values[name])

    def create_execution_context(self) -> _Context | None:
        return None if self.wrong.context_fails else _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return 1 <= shape[0] <= self._engine.most

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self._engine.wrong.execution_fails:
            return False
        self._engine.runtime.streams[stream_handle].give(self._compute)
        return True

    def _compute(self) -> None:
        ((name, shape),) = self._shapes.items()
        given = _at(self._addresses[name], shape, np.uint8)
        session = self._engine.session
        names = [output.name for output in session.get_outputs()]
        for output, answer in zip(names, session.run(names, {name: given}), strict=True):
            _at(self._addresses[output], answer.shape, np.float32)[:] = answer * self._engine.wrong.scale


def _at(address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(shape)


RUNTIME = FakeCudaRuntime()
"""Of a process of its own, where both packages must be about the same memory."""
