"""A stand-in for `cuda.bindings.driver`: the kernel's own source, compiled for the processor, over the memory of
`FakeCudaRuntime`, one thread of the grid after the other."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scopeline.backends.plane_shrinker import PTX
from scopeline_bench.compile_kernel import source_line

_AROUND = """
struct Place {{ int x, y; }};
static Place blockIdx, blockDim, threadIdx;
#define __global__
#define __device__
#include "{source}"
extern "C" void run(const int *grid, {parameters})
{{
    blockDim = {{grid[2], grid[3]}};
    for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++)
            for (threadIdx.y = 0; threadIdx.y < blockDim.y; threadIdx.y++)
                for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++)
                    shrink({names});
}}
"""
_POINTER, _INT, _LONG = "unsigned char *", "int ", "long long "
_KINDS = [_POINTER, *[_INT] * 2, *[_LONG] * 2, *[_INT] * 3, _POINTER, *[_INT] * 8]
"""Of the kernel's parameters, in order."""


@cache
def compiled_for_the_processor(folder: Path) -> Any:
    """The kernel as a function of this machine; skips the test where there is no C++ compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler to try the kernel's source with")
    names = [f"p{number}" for number in range(len(_KINDS))]
    parameters = ", ".join(kind + name for kind, name in zip(_KINDS, names, strict=True))
    around = _AROUND.format(source=PTX.with_suffix(".cu"), parameters=parameters, names=", ".join(names))
    (folder / "shrink.cpp").write_text(around)
    # Every product that would overflow ends the process instead of giving a wrong grey level.
    flags = ["-O1", "-Wall", "-Werror", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    flags += ["-shared", "-fPIC"]
    built = folder / "shrink.so"
    subprocess.run([compiler, *flags, str(folder / "shrink.cpp"), "-o", str(built)], check=True)
    return ctypes.CDLL(str(built)).run


@dataclass
class FakeCudaDriver:
    """`fail` maps a function's name to the error it returns from now on."""

    folder: Path
    fail: dict[str, int] = field(default_factory=dict)
    launches: int = 0

    def cuModuleLoadData(self, image: int) -> tuple[Any, ...]:
        if not self.fail.get("cuModuleLoadData"):
            said = ctypes.string_at(image)
            assert said.startswith(source_line(PTX.with_suffix(".cu"))), "the PTX is of another source"
            assert b".entry shrink(" in said
        return self.fail.get("cuModuleLoadData", 0), object()

    def cuModuleGetFunction(self, module: Any, name: bytes) -> tuple[Any, ...]:
        assert name == b"shrink"
        return 0, compiled_for_the_processor(self.folder)

    def cuLaunchKernel(
        self, function: Any, x: int, y: int, z: int, width: int, height: int, depth: int, *rest: Any
    ) -> tuple[Any, ...]:
        shared_bytes, stream, (values, kinds), extra = rest
        assert (z, depth, shared_bytes, extra) == (1, 1, 0, 0)
        assert isinstance(stream, int)
        code = self.fail.get("cuLaunchKernel", 0)
        if not code:
            self.launches += 1
            grid = (ctypes.c_int * 4)(x, y, width, height)
            function(grid, *(kind(value) for kind, value in zip(kinds, values, strict=True)))
        return (code,)
