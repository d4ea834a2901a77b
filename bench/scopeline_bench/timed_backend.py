"""Timed backends: a runtime with a clock around it, for finding out which part of a frame's time is the network's.

Named in a pipeline as `scopeline_bench.timed_backend:TimedTensorRt`; what was measured lies in `SPENT` until it is
taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from scopeline.backends import open_backend
from scopeline.backends.tensorrt_runtime import TensorRtBackend
from scopeline.bundle import Bundle

Answer = Mapping[str, NDArray[np.float32]]

SPENT: dict[str, list[tuple[int, int]]] = {}
"""By bundle: when each batch was given to the runtime and when its answer was there, `time.monotonic_ns()`."""


class TimedOnnxRuntime:
    """ONNX Runtime with a clock."""

    def __init__(self, bundle: Bundle, *, threads: int, precision: str) -> None:
        self._inner = open_backend("onnxruntime", bundle, threads=threads, precision=precision)
        self.name, self.precision = self._inner.name, self._inner.precision
        self._spent = SPENT.setdefault(bundle.name, [])

    def infer(self, pixels: NDArray[np.uint8]) -> Answer:
        """As the runtime's."""
        start_ns = time.monotonic_ns()
        answer = self._inner.infer(pixels)
        self._spent.append((start_ns, time.monotonic_ns()))
        return answer

    def close(self) -> None:
        self._inner.close()


class TimedTensorRt:
    """TensorRT with a clock; its plan must be there (`SCOPELINE_CACHE` says where)."""

    def __init__(self, bundle: Bundle, *, threads: int, precision: str) -> None:
        self._inner = TensorRtBackend(bundle, threads=threads, precision=precision, most=1)
        self.name, self.precision = self._inner.name, self._inner.precision
        self._spent = SPENT.setdefault(bundle.name, [])

    def infer(self, pixels: NDArray[np.uint8]) -> Answer:
        """As the runtime's."""
        return self.begin(pixels)()

    def begin(self, pixels: NDArray[np.uint8]) -> Callable[[], Answer]:
        """As the runtime's."""
        start_ns = time.monotonic_ns()
        take = self._inner.begin(pixels)

        def timed() -> Answer:
            answer = take()
            self._spent.append((start_ns, time.monotonic_ns()))
            return answer

        return timed

    def close(self) -> None:
        self._inner.close()


def together_ms(spent: Mapping[str, list[tuple[int, int]]]) -> list[float]:
    """Per frame, milliseconds from the first network's start to the last one's end; frames that not every network saw
    are left out by counting from the end."""
    count = min((len(times) for times in spent.values()), default=0)
    rows = zip(*(times[-count:] for times in spent.values()), strict=True) if count else ()
    return [(max(end for _, end in row) - min(start for start, _ in row)) / 1e6 for row in rows]
