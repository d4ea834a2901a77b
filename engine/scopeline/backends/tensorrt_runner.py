"""Plan runner: one loaded plan with its stream, its buffers, and a CUDA graph for every batch size it will be given.

Everything a frame needs is there before the first one: page-locked buffers, device memory, a context and a captured
graph per batch size (a context whose shape changes must be captured again, so each size has its own). A frame then
costs one copy into the buffer, one launch (upload, network and download in one graph) and one wait on the own stream.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scopeline.backends.cuda_driver import Cuda, CudaError, Gpu, PinnedArray
from scopeline.backends.tensorrt_library import Context, Plan, PlanError, PlanTensor
from scopeline.errors import BackendError


class PlanRunner:
    """Runs batches of 1 to `most` frames. One batch is under way at a time; used by one thread after the other.

    Args:
        plan: With one uint8 input, (N, H, W, 3), and float32 outputs.
        most: Largest batch that will come.

    Raises:
        CudaError, PlanError: there is no memory, or the plan is not of that form. Nothing is left behind.
    """

    def __init__(self, cuda: Cuda, gpu: Gpu, plan: Plan, *, most: int) -> None:
        self._cuda, self._gpu, self._plan = cuda, gpu, plan
        self._thread: int | None = None
        self._stream: Any = None
        self._device: dict[str, int] = {}
        self._host: dict[str, PinnedArray] = {}
        self._contexts: dict[int, Context] = {}
        self._graphs: dict[int, Any] = {}
        self._under_way = 0
        self._input, self._outputs = _door(plan)
        self.most = most
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    @property
    def outputs(self) -> Mapping[str, Sequence[int]]:
        """Shape of every output without the batch."""
        return {output.name: output.shape[1:] for output in self._outputs}

    @property
    def captured(self) -> tuple[int, ...]:
        """Batch sizes that are launched as one graph; others, if any, as three calls."""
        return tuple(sorted(self._graphs))

    def begin(self, pixels: NDArray[np.uint8]) -> None:
        """Give a batch, (N, H, W, 3) uint8, to the GPU; returns before it is done. `pixels` may change from now on.

        Raises:
            CudaError, PlanError: the GPU failed.
        """
        if self._under_way:
            raise RuntimeError("a batch is under way; take its answer first")
        count = len(pixels)
        if not 1 <= count <= self.most:
            raise PlanError(f"wanted a batch of 1 to {self.most} frames, got {count}")
        self._enter()
        np.copyto(self._host[self._input.name].array[:count], pixels)
        graph = self._graphs.get(count)
        if graph is None:
            self._enqueue(count)
        else:
            self._cuda.launch(graph, self._stream)
        self._under_way = count

    def take(self) -> dict[str, NDArray[np.float32]]:
        """Wait for the batch and give its outputs, as arrays of their own.

        Raises:
            CudaError: the GPU failed.
        """
        count, self._under_way = self._under_way, 0
        self._enter()
        self._cuda.wait(self._stream)
        return {output.name: self._host[output.name].array[:count].copy() for output in self._outputs}

    def close(self) -> None:
        """Give everything back. Also after a failure, when the device may refuse to take it: then the process's end
        does."""
        self._under_way = 0
        with suppress(CudaError):
            self._enter()
        graphs, self._graphs = self._graphs, {}
        for graph in graphs.values():
            with suppress(CudaError):
                self._cuda.free_graph(graph)
        self._contexts.clear()
        host, self._host = self._host, {}
        for memory in host.values():
            with suppress(CudaError):
                self._cuda.free_pinned(memory)
        device, self._device = self._device, {}
        for address in device.values():
            with suppress(CudaError):
                self._cuda.free_device_memory(address)
        if self._stream is not None:
            with suppress(CudaError):
                self._cuda.free_stream(self._stream)
            self._stream = None

    def _enter(self) -> None:
        """The device is chosen per thread."""
        thread = threading.get_ident()
        if thread != self._thread:
            self._cuda.use(self._gpu.index)
            self._thread = thread

    def _prepare(self) -> None:
        self._enter()
        self._stream = self._cuda.make_stream()
        for tensor in (self._input, *self._outputs):
            shape = (self.most, *tensor.shape[1:])
            self._host[tensor.name] = self._cuda.pinned(shape, tensor.dtype)
            self._device[tensor.name] = self._cuda.device_memory(self._host[tensor.name].nbytes)
        self._host[self._input.name].array[:] = 0
        for count in range(1, self.most + 1):
            context = self._plan.context()
            context.set({self._input.name: (count, *self._input.shape[1:])}, self._device)
            self._contexts[count] = context
            # Once without capture: TensorRT finishes setting up, which must not be written down.
            self._enqueue(count)
            self._cuda.wait(self._stream)
            self._capture(count)

    def _capture(self, count: int) -> None:
        """Write the batch size down as a graph. Networks that cannot be (shapes that depend on data) run without."""
        self._cuda.begin_capture(self._stream)
        try:
            self._enqueue(count)
        except BackendError:
            self._cuda.abandon_capture(self._stream)
            return
        try:
            graph = self._cuda.end_capture(self._stream)
        except CudaError as error:
            if error.failure != "other":
                raise
            return
        self._graphs[count] = graph
        self._cuda.launch(graph, self._stream)
        self._cuda.wait(self._stream)

    def _enqueue(self, count: int) -> None:
        source = self._input.name
        self._cuda.upload(self._device[source], self._host[source], self._bytes(source, count), self._stream)
        self._contexts[count].enqueue(self._stream)
        for output in self._outputs:
            size = self._bytes(output.name, count)
            self._cuda.download(self._host[output.name], self._device[output.name], size, self._stream)

    def _bytes(self, tensor: str, count: int) -> int:
        return self._host[tensor].nbytes // self.most * count


def _door(plan: Plan) -> tuple[PlanTensor, tuple[PlanTensor, ...]]:
    """The input and the outputs."""
    inputs = [tensor for tensor in plan.tensors if tensor.is_input]
    outputs = tuple(tensor for tensor in plan.tensors if not tensor.is_input)
    if len(inputs) != 1 or inputs[0].dtype != np.uint8 or any(each.dtype != np.float32 for each in outputs):
        said = [(tensor.name, str(tensor.dtype)) for tensor in plan.tensors]
        raise PlanError(f"wanted a plan with one uint8 input and float32 outputs, it has {said}")
    return inputs[0], outputs
