"""CUDA kernel: one function of our own on the device, loaded from PTX, which the driver makes into machine code.

PTX, and not a compiler at run time: cuda-python brings the bindings of NVRTC but not its library, which is 90 MB more,
and one PTX serves every device from compute capability 6.0 on. `python -m scopeline_bench.compile_kernel` makes it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from scopeline.backends.cuda_driver import INSTALL, CudaError, failure_of
from scopeline.errors import BackendError

Argument = tuple[int, Any]
"""A value and its ctypes type: `(address, ctypes.c_void_p)`, `(3, ctypes.c_int)`."""


class Kernel:
    """A function that is ready to be launched on the device that was current when it was loaded.

    Args:
        driver: The module `cuda.bindings.driver`, or one that behaves like it.
        ptx: The program.
        name: Of the function in it.

    Raises:
        CudaError: the driver refuses the program.
    """

    def __init__(self, driver: Any, ptx: bytes, name: str) -> None:
        self._driver = driver
        text = ctypes.create_string_buffer(
            ptx
        )  # with the zero at its end by which the driver knows its length
        self._module = self._call("cuModuleLoadData", ctypes.addressof(text))
        self._function = self._call("cuModuleGetFunction", self._module, name.encode())

    def launch(
        self, blocks: tuple[int, int], threads: tuple[int, int], arguments: Sequence[Argument], stream: Any
    ) -> None:
        """Give it to a stream of the runtime; returns before it is done."""
        values, types = tuple(value for value, _ in arguments), tuple(kind for _, kind in arguments)
        self._call(
            "cuLaunchKernel", self._function, *blocks, 1, *threads, 1, 0, int(stream), (values, types), 0
        )

    def _call(self, name: str, *arguments: Any) -> Any:
        error, *results = getattr(self._driver, name)(*arguments)
        code = int(error)
        if code:
            said = getattr(error, "name", f"error {code}")
            raise CudaError(f"{name}: {said} ({code})", failure_of(code), code)
        return results[0] if results else None


def open_driver() -> Any:
    """The module `cuda.bindings.driver`.

    Raises:
        BackendError: the package is not installed.
    """
    try:
        return import_module("cuda.bindings.driver")
    except ImportError as error:
        raise BackendError(f"work on the GPU needs cuda-python ({error}): {INSTALL}") from error
