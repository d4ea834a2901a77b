"""The ports of the engine: where frames come from, what judges them, where results go, and what runs beside it.

A new source, backend or sink is one file with one class of this form; none of them holds a thread or a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scopeline.frame import Frame
from scopeline.wire import Message


class Source(Protocol):
    """Where frames come from. Iterated by one thread; `close` may come from another, and twice."""

    name: str
    """What a person would call it: the file name, the device."""

    @property
    def damaged(self) -> Mapping[str, int]:
        """Packets that never became a frame, by reason. They have no number, so the ledger lists them apart."""
        ...

    @property
    def duration_s(self) -> float | None:
        """Length of the recording in seconds where it is known, for progress bars."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Frames until the source ends or is closed."""
        ...

    def close(self) -> None:
        """Make a waiting `frames()` return."""
        ...


class Backend(Protocol):
    """A runtime with one network loaded. Worked by one thread."""

    name: str
    """`onnxruntime`, `openvino`, ..."""
    precision: str
    """The arithmetic it really uses: `fp32`, `bf16`, ..."""

    def infer(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """(N, H, W, 3) uint8 RGB -> logits per head, (N, K) float32, or (N, 1, H, W) of a mask."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Eager(Protocol):
    """A backend that can be left at work while others are started: all networks of a frame run at the same time."""

    def begin(self, pixels: NDArray[np.uint8]) -> Callable[[], Mapping[str, NDArray[np.float32]]]:
        """Start a batch; what is returned waits for what `infer` would have given. One batch at a time."""
        ...


class Sink(Protocol):
    """Where messages go. Made, worked and closed by one thread."""

    def publish(self, message: Message) -> None: ...

    def close(self) -> None: ...


class Companion(Protocol):
    """What runs beside the stages in a thread of its own for as long as they do: control socket, metrics page."""

    name: str

    def work(self) -> None:
        """Serve until `stop`; what goes wrong with one request is answered, never raised."""
        ...

    def stop(self) -> None:
        """Make `work` return within a second. From any thread, any number of times, also before `work`."""
        ...
