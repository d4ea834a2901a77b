"""TensorRT, as far as the engine needs it: build a plan, load a plan, whatever the version.

The one place that knows how 8.6, 10 and 11 differ, which is in building only: 8.6 has an FP16 flag and layers that can
be held to a precision; 10 and 11 take the precision from the graph (strongly typed), and 11 has no flag any more. A
version that offers neither is refused: an engine in FP32 that calls itself FP16 would only be slow, and nobody would
know why.
Names were checked against the bindings of 8.6.0, 10.16.1.11 and 11.4.0.106 (docs/gpu.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol

import numpy as np

from scopeline.backends.cuda_driver import INSTALL
from scopeline.backends.tensorrt_half_graph import HalfGraph
from scopeline.errors import BackendError

Advance = Callable[[float], None]
"""Told the share of a build that is done, 0 to 1, from threads of TensorRT's own."""

_WORKSPACE_BYTES: Final = 1 << 30
_EXTERNAL_TACTICS: Final = ("CUBLAS", "CUBLAS_LT", "CUDNN")
"""Off where they exist: TensorRT's own kernels are as fast on such networks, and two gigabytes of libraries less are
carried. The offline environment has only stand-ins for them, which cannot compute."""


class PlanError(BackendError):
    """A plan could not be built or loaded."""


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """What a plan is built for."""

    name: str
    """Of the bundle, for messages."""
    graph: HalfGraph
    most: int
    """Batches of 1 to this many frames; all are as fast as `most` itself allows."""
    timing_cache: bytes
    """What earlier builds measured; empty at first."""


@dataclass(frozen=True, slots=True)
class Built:
    """A plan as bytes, and what was measured on the way."""

    plan: bytes
    timing_cache: bytes


@dataclass(frozen=True, slots=True)
class PlanTensor:
    """One input or output of a plan."""

    name: str
    is_input: bool
    shape: tuple[int, ...]
    """-1 where the batch goes."""
    dtype: np.dtype[Any]


class Dialect(Protocol):
    """How a version is told to use FP16."""

    name: str

    def network_flags(self, trt: Any) -> int:
        """Flags of a new network."""
        ...

    def source(self, graph: HalfGraph) -> bytes:
        """The ONNX that the parser is given."""
        ...

    def set_precision(self, trt: Any, network: Any, config: Any, graph: HalfGraph) -> None:
        """Say what computes in which precision, on the parsed network."""
        ...


class WeaklyTyped:
    """8.6: FP32 graph, FP16 flag, and every layer of ours held to its precision.

    The flag alone lets the builder choose by speed, FP32 included and statistics in FP16 included; obeying the
    constraints makes it fail instead.
    """

    name = "weakly typed, FP16 flag"

    def network_flags(self, trt: Any) -> int:
        return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)

    def source(self, graph: HalfGraph) -> bytes:
        return graph.single

    def set_precision(self, trt: Any, network: Any, config: Any, graph: HalfGraph) -> None:
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        layers = [network.get_layer(place) for place in range(network.num_layers)]
        for layer, is_half in zip(layers, _sides(layers, graph), strict=True):
            if is_half is not None and _is_free(trt, layer):
                kind = trt.DataType.HALF if is_half else trt.DataType.FLOAT
                layer.precision = kind
                for place in range(layer.num_outputs):
                    if not layer.get_output(place).is_network_output:
                        layer.set_output_type(place, kind)


def _sides(layers: list[Any], graph: HalfGraph) -> list[bool | None]:
    """For each layer whether it shall be half. The parser makes several layers of some nodes; only the last has the
    node's output, and those before it belong to the same node."""
    sides: list[bool | None] = []
    side: bool | None = None
    for layer in reversed(layers):
        names = {layer.get_output(place).name for place in range(layer.num_outputs)}
        if names & graph.in_half:
            side = True
        elif names & graph.in_single:
            side = False
        sides.append(side)
    return sides[::-1]


def _is_free(trt: Any, layer: Any) -> bool:
    """Whether a layer computes with floating-point numbers of its own choice."""
    fixed = {trt.LayerType.CONSTANT, trt.LayerType.SHAPE, trt.LayerType.CAST, trt.LayerType.IDENTITY}
    outputs = [layer.get_output(place) for place in range(layer.num_outputs)]
    return layer.type not in fixed and all(
        each.dtype == trt.DataType.FLOAT and not each.is_shape_tensor for each in outputs
    )


class StronglyTyped:
    """10 and 11: FP16 is in the graph and is kept to."""

    name = "strongly typed, FP16 graph"

    def network_flags(self, trt: Any) -> int:
        flags = getattr(trt, "NetworkDefinitionCreationFlag", None)
        flag = getattr(flags, "STRONGLY_TYPED", None)
        return (
            0 if flag is None else 1 << int(flag)
        )  # 11 knows nothing else; the flag is on its way out there

    def source(self, graph: HalfGraph) -> bytes:
        return graph.half

    def set_precision(self, trt: Any, network: Any, config: Any, graph: HalfGraph) -> None:
        """Nothing to say: the graph has said it."""


def dialect_of(trt: Any) -> Dialect:
    """How this version is told to use FP16.

    Raises:
        BackendError: in no way that is known.
    """
    major = int(str(trt.__version__).split(".")[0])
    if major >= 11:
        return StronglyTyped()
    if major == 10 and hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return StronglyTyped()
    if major == 8 and all(hasattr(trt.BuilderFlag, each) for each in ("FP16", "OBEY_PRECISION_CONSTRAINTS")):
        return WeaklyTyped()
    raise BackendError(
        f"TensorRT {trt.__version__}: wanted 8.6, 10 or 11, for which it is known how FP16 is asked for; "
        f"install one of them: {INSTALL}"
    )


class Plan:
    """A loaded plan. Contexts made of it may run side by side."""

    def __init__(self, trt: Any, engine: Any) -> None:
        self._trt, self._engine = trt, engine
        self.tensors = tuple(
            self._tensor(engine.get_tensor_name(place)) for place in range(engine.num_io_tensors)
        )

    def _tensor(self, name: str) -> PlanTensor:
        trt, engine = self._trt, self._engine
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        kind = _NUMPY.get(str(engine.get_tensor_dtype(name).name))
        if kind is None:
            raise PlanError(f"the plan's tensor {name!r} is of a kind that Scopeline does not use")
        return PlanTensor(name, is_input, tuple(engine.get_tensor_shape(name)), np.dtype(kind))

    def context(self) -> Context:
        """A new way to run it, with memory of its own on the device.

        Raises:
            PlanError: there is no memory left.
        """
        made = self._engine.create_execution_context()
        if made is None:
            raise PlanError("TensorRT could not make an execution context: is the GPU's memory full?")
        return Context(made)


class Context:
    """One plan, ready to run with one set of shapes and addresses."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def set(self, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        """Fix input shapes and where every tensor lies.

        Raises:
            PlanError: the plan was not built for such a shape.
        """
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise PlanError(f"the plan was not built for {name} of shape {shape}")
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise PlanError(f"the plan has no tensor {name!r}")

    def enqueue(self, stream: Any) -> None:
        """Give one inference to the stream; returns before it is done.

        Raises:
            PlanError: TensorRT refused.
        """
        if not self._context.execute_async_v3(int(stream)):
            raise PlanError("TensorRT refused an inference; its log says why")


class TensorRt:
    """The library in the version at hand.

    Args:
        trt: The module `tensorrt`, or one that behaves like it.
    """

    def __init__(self, trt: Any) -> None:
        self._trt = trt
        self.version = str(trt.__version__)
        self.dialect = dialect_of(trt)
        self._log = _make_log(trt)

    def build(self, order: BuildOrder, advance: Advance) -> Built:
        """Build a plan. Takes seconds to minutes and keeps the GPU busy.

        Raises:
            PlanError: the parser or the builder refused; says with which words.
        """
        trt = self._trt
        builder = trt.Builder(self._log)
        network = builder.create_network(self.dialect.network_flags(trt))
        parser = trt.OnnxParser(network, self._log)
        if not parser.parse(self.dialect.source(order.graph)):
            said = "; ".join(str(parser.get_error(place)) for place in range(parser.num_errors))
            raise PlanError(f"{order.name}: TensorRT {self.version} cannot read the network: {said}")
        config = builder.create_builder_config()
        self._configure(builder, network, config, order, advance)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise PlanError(
                f"{order.name}: TensorRT {self.version} could not build the network in FP16 "
                f"({self.dialect.name}): {self._log.last or 'it says no reason'}"
            )
        measured = config.get_timing_cache()
        return Built(bytes(memoryview(plan)), bytes(memoryview(measured.serialize())) if measured else b"")

    def _configure(
        self, builder: Any, network: Any, config: Any, order: BuildOrder, advance: Advance
    ) -> None:
        trt = self._trt
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
        config.clear_flag(trt.BuilderFlag.TF32)  # what stays in FP32 stays in all of it
        sources = config.get_tactic_sources()
        for name in _EXTERNAL_TACTICS:
            if hasattr(trt.TacticSource, name):
                sources &= ~(1 << int(getattr(trt.TacticSource, name)))
        config.set_tactic_sources(sources)
        config.set_timing_cache(config.create_timing_cache(order.timing_cache), False)
        if hasattr(trt, "IProgressMonitor"):
            config.progress_monitor = _make_monitor(trt, advance)
        profile = builder.create_optimization_profile()
        for place in range(network.num_inputs):
            tensor = network.get_input(place)
            sizes = tuple(tensor.shape)[1:]
            # The best batch is 1: live is where microseconds count; larger ones are for recordings.
            profile.set_shape(tensor.name, (1, *sizes), (1, *sizes), (order.most, *sizes))
        config.add_optimization_profile(profile)
        self.dialect.set_precision(trt, network, config, order.graph)

    def load(self, plan: bytes) -> Plan:
        """A plan made ready on the current device. Ask the driver first: without one 8.6 may end the process.

        Raises:
            PlanError: it is of another version or device, or damaged.
        """
        runtime = self._trt.Runtime(self._log)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise PlanError(
                f"TensorRT {self.version} cannot load the plan: {self._log.last or 'no reason given'}"
            )
        return Plan(self._trt, engine)


def open_tensorrt() -> TensorRt:
    """The installed TensorRT.

    Raises:
        BackendError: it is not installed, or its version is not one of those that are known.
    """
    try:
        trt = import_module("tensorrt")
    except ImportError as error:
        raise BackendError(
            f"backend 'tensorrt' needs TensorRT 8.6, 10 or 11 ({error}): {INSTALL}, "
            'or set backend = "onnxruntime"'
        ) from error
    return TensorRt(trt)


_NUMPY: Final[dict[str, Any]] = {"UINT8": np.uint8, "FLOAT": np.float32, "HALF": np.float16}


def _make_log(trt: Any) -> Any:
    """A logger that keeps the last error instead of printing; the class can only be made once `tensorrt` is there."""

    class _Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.last = msg

    return _Log()


def _make_monitor(trt: Any, advance: Advance) -> Any:
    """Tells the share of the outermost phases that is done; inner ones count within their parent's step."""

    class _Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._lock = threading.Lock()
            self._outermost: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                with self._lock:
                    self._outermost[phase_name] = max(num_steps, 1)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                steps = self._outermost.get(phase_name)
            if steps is not None:
                advance(min((step + 1) / steps, 1.0))
            return True

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._outermost.pop(phase_name, None)

    return _Monitor()
