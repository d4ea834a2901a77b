"""Compile kernel: makes `shrink.ptx` from `shrink.cu` with NVIDIA's run-time compiler, which needs no GPU.

    python -m scopeline_bench.compile_kernel .../libnvrtc.so.12        (in the wheel nvidia-cuda-nvrtc-cu12)

Version 12.1 writes PTX 8.1, which drivers from 530 on read."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from pathlib import Path
from typing import Final

from scopeline.backends.plane_shrinker import PTX

SOURCE: Final = PTX.with_suffix(".cu")
_TARGET: Final = b"--gpu-architecture=compute_60"


def compiled(source: Path, nvrtc: Path) -> bytes:
    """PTX of a source, with the source's hash in its first line.

    Raises:
        ValueError: the compiler refuses the source; with what it says.
    """
    library = ctypes.CDLL(str(nvrtc))
    program, code = ctypes.c_void_p(), source.read_bytes()
    library.nvrtcCreateProgram(ctypes.byref(program), code, source.name.encode(), 0, None, None)
    if library.nvrtcCompileProgram(program, 1, (ctypes.c_char_p * 1)(_TARGET)):
        raise ValueError(_text(library, program, "ProgramLog").decode())
    return source_line(source) + _text(library, program, "PTX") + b"\n"


def source_line(source: Path) -> bytes:
    """What the first line of a PTX says of its source."""
    return b"// sha256 of " + source.name.encode() + b": " + _hash(source) + b"\n"


def _hash(source: Path) -> bytes:
    return hashlib.sha256(source.read_bytes()).hexdigest().encode()


def _text(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, text)
    return text.value.rstrip()


if __name__ == "__main__":
    PTX.write_bytes(compiled(SOURCE, Path(sys.argv[1])))
    print(f"wrote {PTX}")
