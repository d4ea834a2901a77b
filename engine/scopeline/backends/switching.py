"""Switching backend: the CPU judges until the GPU is ready, and again when it fails. No frame is lost or left without
an answer on the way.

Which of the two serves is decided batch by batch by the thread that infers; who brings the GPU up only offers it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scopeline.errors import BackendError
from scopeline.ports import Backend, Eager

Answer = Mapping[str, NDArray[np.float32]]


class EagerBackend(Backend, Eager, Protocol):
    """A backend that can be left at work."""


class SwitchingBackend:
    """A backend on the CPU and, while there is one, another on the GPU.

    Args:
        cpu: Always there; closed with this.
        on_failure: Called in the inferring thread with the error that made the GPU's answer missing; the CPU gives it
            instead.
    """

    def __init__(self, cpu: Backend, on_failure: Callable[[BackendError], None]) -> None:
        self._cpu, self._on_failure = cpu, on_failure
        self._gpu: EagerBackend | None = None
        self._failed: list[EagerBackend] = []
        self.name, self.precision = cpu.name, cpu.precision
        """Of the runtime that gave the latest answer."""

    def offer(self, gpu: EagerBackend) -> None:
        """From the next batch on this one serves. From any thread; it is closed with this."""
        self._gpu = gpu

    def infer(self, pixels: NDArray[np.uint8]) -> Answer:
        """(N, H, W, 3) uint8 RGB -> logits per head, (N, K) float32, or (N, 1, H, W) of a mask."""
        return self.begin(pixels)()

    def begin(self, pixels: NDArray[np.uint8]) -> Callable[[], Answer]:
        """Start a batch where that is possible; what is returned gives the answer, whoever finds it."""
        gpu = self._gpu
        if gpu is None:
            return lambda: self._by_cpu(pixels)
        try:
            take = gpu.begin(pixels)
        except BackendError as error:
            self._give_up(gpu, error)
            return lambda: self._by_cpu(pixels)
        return lambda: self._by_gpu(gpu, take, pixels)

    def close(self) -> None:
        """Close both, and those that failed before."""
        gpus = [*self._failed, *([self._gpu] if self._gpu is not None else [])]
        self._gpu, self._failed = None, []
        for gpu in gpus:
            gpu.close()
        self._cpu.close()

    def _by_cpu(self, pixels: NDArray[np.uint8]) -> Answer:
        answer = self._cpu.infer(pixels)
        self._answered(self._cpu)
        return answer

    def _by_gpu(self, gpu: EagerBackend, take: Callable[[], Answer], pixels: NDArray[np.uint8]) -> Answer:
        try:
            answer = take()
        except BackendError as error:
            self._give_up(gpu, error)
            return self._by_cpu(pixels)
        self._answered(gpu)
        return answer

    def _answered(self, backend: Backend) -> None:
        self.name, self.precision = backend.name, backend.precision

    def _give_up(self, gpu: EagerBackend, error: BackendError) -> None:
        """Closed at the end and not now: giving back memory of a lost device can take seconds."""
        self._gpu = None
        self._failed.append(gpu)
        self._on_failure(error)
