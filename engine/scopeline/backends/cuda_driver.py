"""CUDA, as far as the engine needs it: devices, streams, memory, graphs, each call checked and each error named.

A thin layer over the `cuda.bindings.runtime` module of cuda-python, which is handed in so that a test can give
another one. No torch and no cupy: a workstation that only runs models needs neither.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from scopeline.errors import BackendError
from scopeline.extras import how_to_install

Failure = Literal["memory", "lost", "absent", "other"]
"""`memory`: there is not enough on the device; others may give some back. `lost`: the device, or this process's hold on
it, is gone until the process is started again. `absent`: no driver or no device."""

INSTALL: Final = how_to_install("tensorrt")

_MEMORY: Final = frozenset({2})
_ABSENT: Final = frozenset({34, 35, 100, 101})
"""Stub library, driver too old, no device, no such device."""
_LOST: Final = frozenset(
    {3, 4, 46, 201, 214, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 802, 803, 804, 805, 999}
)
"""Errors after which every later call fails too: the driver's guide names them as ending the context (illegal address,
launch failure, uncorrectable memory error, ...), or the device itself as gone."""


class CudaError(BackendError):
    """A call of the CUDA runtime failed."""

    def __init__(self, text: str, failure: Failure, code: int) -> None:
        super().__init__(text)
        self.failure: Failure = failure
        self.code = code


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device."""

    index: int
    name: str
    compute_capability: str
    """`9.0`"""
    memory_bytes: int


class PinnedArray:
    """Page-locked host memory as an array; the device reads and writes it without a copy of the driver's.

    Args:
        pixels: The array; it must not be used after `Cuda.free_pinned`.
    """

    def __init__(self, address: int, array: NDArray[Any]) -> None:
        self.address = address
        self.array = array

    @property
    def nbytes(self) -> int:
        return int(self.array.nbytes)


class Cuda:
    """The calls that are used, on the device that `use` chose for the calling thread.

    Args:
        runtime: The module `cuda.bindings.runtime`, or one that behaves like it.
    """

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    # Devices

    def gpus(self) -> tuple[Gpu, ...]:
        """Every device the driver shows this process (`CUDA_VISIBLE_DEVICES` decides which).

        Raises:
            CudaError: there is no driver, or no device.
        """
        count = int(self._call("cudaGetDeviceCount"))
        return tuple(self._gpu(index) for index in range(count))

    def _gpu(self, index: int) -> Gpu:
        of = self._call("cudaGetDeviceProperties", index)
        name = of.name.decode(errors="replace") if isinstance(of.name, bytes) else str(of.name)
        return Gpu(index, name.rstrip("\0"), f"{int(of.major)}.{int(of.minor)}", int(of.totalGlobalMem))

    def use(self, index: int) -> None:
        """Make a device the calling thread's."""
        self._call("cudaSetDevice", index)

    def driver_version(self) -> str:
        """The newest CUDA the driver knows, `13.0`."""
        number = int(self._call("cudaDriverGetVersion"))
        return f"{number // 1000}.{number % 1000 // 10}"

    def free_bytes(self) -> int:
        """Memory of the current device that nobody holds."""
        free, _ = self._call("cudaMemGetInfo")
        return int(free)

    # Streams

    def make_stream(self, *, urgent: bool = True) -> Any:
        """A stream that waits for no other; `urgent` ones are served first."""
        least, greatest = self._call("cudaDeviceGetStreamPriorityRange")
        priority = int(greatest) if urgent else int(least)
        return self._call("cudaStreamCreateWithPriority", int(self._runtime.cudaStreamNonBlocking), priority)

    def wait(self, stream: Any) -> None:
        """Return when everything given to this stream is done. Other streams are not waited for."""
        self._call("cudaStreamSynchronize", stream)

    def free_stream(self, stream: Any) -> None:
        self._call("cudaStreamDestroy", stream)

    # Memory

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> PinnedArray:
        """A new page-locked array."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(self._call("cudaHostAlloc", size, int(self._runtime.cudaHostAllocDefault)))
        raw = (ctypes.c_uint8 * size).from_address(address)
        return PinnedArray(address, np.frombuffer(raw, dtype).reshape(shape))

    def free_pinned(self, memory: PinnedArray) -> None:
        self._call("cudaFreeHost", memory.address)

    def device_memory(self, size: int) -> int:
        """Address of so many new bytes on the device."""
        return int(self._call("cudaMalloc", size))

    def free_device_memory(self, address: int) -> None:
        self._call("cudaFree", address)

    def upload(self, to_device: int, source: PinnedArray, size: int, stream: Any) -> None:
        """Copy the first `size` bytes; returns before it is done."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", to_device, source.address, size, kind, stream)

    def download(self, target: PinnedArray, from_device: int, size: int, stream: Any) -> None:
        """Copy `size` bytes; returns before it is done."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.address, from_device, size, kind, stream)

    def fill(self, address: int, value: int, size: int, stream: Any) -> None:
        """Set `size` bytes of device memory; a piece of work that needs no kernel of ours."""
        self._call("cudaMemsetAsync", address, value, size, stream)

    # Graphs

    def begin_capture(self, stream: Any) -> None:
        """From here on work given to the stream is written down instead of done. Only this thread's calls count."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: Any) -> Any:
        """What was written down, ready to be launched."""
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def abandon_capture(self, stream: Any) -> None:
        """End a capture that went wrong; what it was is thrown away."""
        error, graph = self._runtime.cudaStreamEndCapture(stream)
        if int(error) == 0 and graph is not None:
            self._runtime.cudaGraphDestroy(graph)

    def launch(self, graph: Any, stream: Any) -> None:
        """Do what was written down; returns before it is done."""
        self._call("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        self._call("cudaGraphExecDestroy", graph)

    # Events

    def make_event(self) -> Any:
        """A mark in a stream that keeps the time at which it was passed."""
        return self._call("cudaEventCreate")

    def record(self, event: Any, stream: Any) -> None:
        self._call("cudaEventRecord", event, stream)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Time between two events that were passed."""
        return float(self._call("cudaEventElapsedTime", start, end))

    def free_event(self, event: Any) -> None:
        self._call("cudaEventDestroy", event)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the runtime; its one result, its tuple of results, or None."""
        error, *results = getattr(self._runtime, name)(*arguments)
        code = int(error)
        if code:
            said = getattr(error, "name", f"error {code}")
            failure = failure_of(code)
            raise CudaError(f"{name}: {said} ({code}){_ADVICE[failure]}", failure, code)
        if not results:
            return None
        return results[0] if len(results) == 1 else tuple(results)


def failure_of(code: int) -> Failure:
    """What an error number of the CUDA runtime means for us."""
    if code in _MEMORY:
        return "memory"
    if code in _ABSENT:
        return "absent"
    return "lost" if code in _LOST else "other"


_ADVICE: Final[dict[Failure, str]] = {
    "memory": ": the GPU's memory is full; end other programs on it, or choose another device",
    "lost": ": the GPU no longer answers this process; compare nvidia-smi and start the engine again",
    "absent": ": no NVIDIA GPU can be used; see scopeline doctor",
    "other": "",
}


def open_cuda() -> Cuda:
    """CUDA through cuda-python.

    Raises:
        BackendError: the package is not installed.
        CudaError: there is no driver, or no device.
    """
    try:
        runtime = import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise BackendError(
            f"backend 'tensorrt' needs cuda-python ({error}): {INSTALL}, or set backend = \"onnxruntime\""
        ) from error
    cuda = Cuda(runtime)
    if not cuda.gpus():
        raise CudaError("the driver shows no GPU; see scopeline doctor", "absent", 100)
    return cuda


def choose_gpu(cuda: Cuda, index: int) -> Gpu:
    """The device of this number, made the calling thread's.

    Raises:
        BackendError: there is none of this number; names those there are.
    """
    gpus = cuda.gpus()
    if not 0 <= index < len(gpus):
        there = ", ".join(f"{gpu.index}: {gpu.name}" for gpu in gpus) or "none"
        raise BackendError(f"wanted GPU {index}, there are {there}; set device under [gpu] in the pipeline")
    cuda.use(index)
    return gpus[index]
