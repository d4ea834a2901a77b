"""Keep-warm: gives a GPU a little work all the time, so that it does not lower its clocks between frames.

A GPU that is busy for one millisecond in sixteen looks idle to its power management; inference at the rate of a feed
then takes two to three times what a benchmark loop says (NVIDIA/TensorRT issues 2042 and 2107). Fixing the clocks is
the administrator's way (`nvidia-smi -lgc`); this is one that needs no rights. What it is worth is measured by the proof
script (docs/gpu.md).
"""

from __future__ import annotations

import threading
from typing import Final

from scopeline.backends.cuda_driver import Cuda, choose_gpu, open_cuda
from scopeline.errors import BackendError

PERIOD_S: Final = 0.002
_BYTES: Final = 16 << 20


class KeepWarm:
    """A companion of the engine: fills some device memory every other millisecond, on a stream of low priority.

    Args:
        device: Number of the GPU.
        cuda: Opened when the work begins, if left out.
        period_s: Between two fillings.
    """

    name = "keep-warm"

    def __init__(self, device: int, cuda: Cuda | None = None, *, period_s: float = PERIOD_S) -> None:
        self._device, self._cuda, self._period_s = device, cuda, period_s
        self._stopped = threading.Event()

    def work(self) -> None:
        """Fill until `stop`. Ends early without a word when there is no GPU: who judges on it tells that."""
        try:
            cuda = self._cuda or open_cuda()
            choose_gpu(cuda, self._device)
            stream, memory = cuda.make_stream(urgent=False), cuda.device_memory(_BYTES)
            while not self._stopped.wait(self._period_s):
                cuda.fill(memory, 0, _BYTES, stream)
                cuda.wait(stream)
            cuda.free_device_memory(memory)
            cuda.free_stream(stream)
        except BackendError:
            return

    def stop(self) -> None:
        """End the work."""
        self._stopped.set()
