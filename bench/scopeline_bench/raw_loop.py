"""Raw loop: the same plans without an engine: uploaded, enqueued, downloaded and waited for, over and over. What the
hardware and TensorRT give, to hold the engine's own time against.

Written against the driver and the library, without `PlanRunner`: it is the independent reference. It, too, replays a
graph."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from scopeline.backends.cuda_driver import Cuda
from scopeline.backends.tensorrt_library import Context, Plan, TensorRt
from scopeline.sources.pace import Pace


class RawPlan:
    """One plan at batch 1, captured once."""

    def __init__(self, cuda: Cuda, plan: Plan) -> None:
        self._cuda = cuda
        self._stream: Any = cuda.make_stream()
        self._context: Context = plan.context()
        self._host, self._device, shapes = [], {}, {}
        for tensor in plan.tensors:
            memory = cuda.pinned((1, *tensor.shape[1:]), tensor.dtype)
            if tensor.is_input:
                shapes[tensor.name] = (1, *tensor.shape[1:])
                noise = np.random.default_rng(0).integers(0, 256, shapes[tensor.name])
                memory.array[:] = noise.astype(np.uint8)
            self._host.append((tensor, memory))
            self._device[tensor.name] = cuda.device_memory(memory.nbytes)
        self._context.set(shapes, self._device)
        self._give()
        cuda.wait(self._stream)
        cuda.begin_capture(self._stream)
        self._give()
        self._graph: Any = cuda.end_capture(self._stream)

    def _give(self) -> None:
        for tensor, memory in self._host:
            if tensor.is_input:
                self._cuda.upload(self._device[tensor.name], memory, memory.nbytes, self._stream)
        self._context.enqueue(self._stream)
        for tensor, memory in self._host:
            if not tensor.is_input:
                self._cuda.download(memory, self._device[tensor.name], memory.nbytes, self._stream)

    def launch(self) -> None:
        """Start it; returns at once."""
        self._cuda.launch(self._graph, self._stream)

    def wait(self) -> None:
        """Return when it is done."""
        self._cuda.wait(self._stream)


def raw_loop_ms(plans: Sequence[RawPlan], *, count: int, fps: float | None = None) -> list[float]:
    """Milliseconds of each round: all plans launched, all waited for.

    Args:
        count: Rounds; a tenth of it goes before and does not count.
        fps: Rounds per second, to see what idle clocks do; one after the other when left out.
    """
    pace, times = Pace(), []
    begin_ns = time.monotonic_ns()
    for number in range(-(count // 10), count):
        if fps is not None:
            pace.wait_until(begin_ns + round((number + count // 10) / fps * 1e9))
        start_ns = time.monotonic_ns()
        for plan in plans:
            plan.launch()
        for plan in plans:
            plan.wait()
        if number >= 0:
            times.append((time.monotonic_ns() - start_ns) / 1e6)
    return times


def open_raw(cuda: Cuda, library: TensorRt, plans: Sequence[bytes]) -> list[RawPlan]:
    """Plans ready for the loop, on the current device."""
    return [RawPlan(cuda, library.load(plan)) for plan in plans]
