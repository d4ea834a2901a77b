"""Plane shrinker: a picture's planes go up to the GPU, one kernel (`shrink.cu`) shrinks and colours them, the view
comes back. The hard gate looks at the view on the CPU, so it has to come anyway: 150 kB where 2 MB went up."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from pathlib import Path
from typing import Any, Final

from scopeline.backends.cuda_driver import Cuda, Gpu, PinnedArray, choose_gpu, open_cuda
from scopeline.backends.cuda_kernel import Argument, Kernel, open_driver
from scopeline.backends.plane_cut import PlaneCut
from scopeline.backends.yuv_colour import Colour
from scopeline.picture import Pixels

PTX: Final = Path(__file__).with_name("shrink.ptx")
_THREADS: Final = (32, 4)


class _Memory:
    """Page-locked and device memory of the same size."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self._cuda, self.size = cuda, size
        self.host: PinnedArray = cuda.pinned((size,), "uint8")
        try:
            self.device = cuda.device_memory(size)
        except BaseException:
            cuda.free_pinned(self.host)
            raise

    def free(self) -> None:
        self._cuda.free_pinned(self.host)
        self._cuda.free_device_memory(self.device)


class PlaneShrinker:
    """Shrinks one cut after the other, for any thread. Its memory grows to the largest cut that came.

    Raises:
        CudaError: there is no memory, or the driver refuses the kernel.
    """

    def __init__(self, cuda: Cuda, driver: Any, gpu: Gpu) -> None:
        self._cuda, self._gpu = cuda, gpu
        self._lock = threading.Lock()
        # The stream first: with it the runtime takes hold of the device, and only then can a kernel be loaded.
        self._stream: Any = cuda.make_stream()
        self._kernel = Kernel(driver, PTX.read_bytes(), "shrink")
        self._up: _Memory | None = None
        self._down: _Memory | None = None

    def shrink(self, cut: PlaneCut, colour: Colour, out: Pixels) -> None:
        """Fill `out`, (height, width, 3) uint8 RGB, from the whole of the cut.

        Raises:
            CudaError: the GPU failed.
        """
        cuda = self._cuda
        with self._lock:
            cuda.use(self._gpu.index)  # the device is chosen per thread
            self._up = up = self._at_least(self._up, cut.nbytes)
            self._down = down = self._at_least(self._down, out.nbytes)
            cut.pack(up.host.array)
            cuda.upload(up.device, up.host, cut.nbytes, self._stream)
            height, width = out.shape[:2]
            blocks = (-(-width // 2 // _THREADS[0]), -(-height // _THREADS[1]))
            arguments = kernel_arguments(up.device, cut, down.device, (width, height), colour)
            self._kernel.launch(blocks, _THREADS, arguments, self._stream)
            cuda.download(down.host, down.device, out.nbytes, self._stream)
            cuda.wait(self._stream)
            out[:] = down.host.array[: out.nbytes].reshape(out.shape)

    def _at_least(self, memory: _Memory | None, size: int) -> _Memory:
        if memory is not None and memory.size >= size:
            return memory
        new = _Memory(self._cuda, size)
        if memory is not None:
            memory.free()
        return new


def kernel_arguments(
    planes: int, cut: PlaneCut, out: int, size: tuple[int, int], colour: Colour
) -> list[Argument]:
    """In the order of the kernel's parameters."""
    blue_at = cut.planes[0].size
    red_at = blue_at + (1 if cut.chroma_step == 2 else cut.planes[1].size)
    numbers = (cut.chroma_step, cut.chroma_width, cut.chroma_height)
    shades = (
        *(colour.of_luma, colour.of_red, colour.of_blue, colour.green_of_blue, colour.green_of_red),
        int(colour.is_full),
    )
    return [
        (planes, ctypes.c_void_p),
        *((value, ctypes.c_int) for value in (cut.width, cut.height)),
        *((value, ctypes.c_longlong) for value in (blue_at, red_at)),
        *((value, ctypes.c_int) for value in numbers),
        (out, ctypes.c_void_p),
        *((value, ctypes.c_int) for value in (*size, *shades)),
    ]


@cache
def shared_shrinker(device: int) -> PlaneShrinker:
    """The shrinker of a device for this process, opened once: a batch makes new views for every recording, and the few
    megabytes it holds live as long as the driver's own hold on the device, until the process ends.

    Raises:
        BackendError: cuda-python, a driver or the device is missing.
    """
    cuda = open_cuda()
    return PlaneShrinker(cuda, open_driver(), choose_gpu(cuda, device))
