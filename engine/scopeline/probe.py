"""Asks a library, a driver or a program what it is, in a process of its own.

A wheel built for another processor, a driver of the wrong version, a missing shared library: importing such
a thing can kill the process that does it. So it is done in one that may die, and its last words are the
finding."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

Ask: TypeAlias = Callable[[str], Mapping[str, Any]]
"""Runs Python code that prints one JSON object, and gives that object."""
AskProgram: TypeAlias = Callable[[Sequence[str]], str]
"""Runs a program to its end and gives what it printed on both its outputs."""

_TIMEOUT_S: Final = 60
_PROGRAM_TIMEOUT_S: Final = 10


class ProbeError(Exception):
    """The code could not be run to its end. `missing` names the module that is not installed."""

    def __init__(self, text: str, missing: str | None = None) -> None:
        super().__init__(text)
        self.missing = missing


def ask_python(code: str) -> Mapping[str, Any]:
    """Run `code` in a fresh interpreter.

    Raises:
        ProbeError: it died, did not come back, or a module is missing; the text is its last line.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeError(f"did not answer within {_TIMEOUT_S} s") from error
    if done.returncode:
        raise _failure(done.returncode, done.stderr)
    answer: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def ask_program(words: Sequence[str]) -> str:
    """What a program printed on both its outputs; empty when it is not there or does not come back."""
    try:
        done = subprocess.run(
            list(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROGRAM_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _failure(code: int, errors: str) -> ProbeError:
    last = errors.strip().splitlines()[-1] if errors.strip() else ""
    if code < 0:
        return ProbeError(f"killed the interpreter with signal {-code}: {last}".rstrip(": "))
    kind, _, text = last.partition("No module named ")
    return ProbeError(last, missing=text.strip("'") if kind.startswith("ModuleNotFoundError") else None)


# The questions

ASK_AV: Final = """
import av, json
def speaks(protocol):
    try:
        av.open(protocol + "://127.0.0.1:9", timeout=(0.2, 0.2)).close()
    except av.error.ProtocolNotFoundError:
        return False
    except Exception:
        pass
    return True
formats = {name for each in av.formats_available for name in each.split(",")}
print(json.dumps({
    "version": av.__version__,
    "ffmpeg": av.ffmpeg_version_info,
    "inputs": {"v4l2": "v4l2" in formats, "rtsp": "rtsp" in formats, "srt": speaks("srt"), "rtmp": speaks("rtmp")},
}))
"""

ASK_ONNXRUNTIME: Final = """
import json, onnxruntime
print(json.dumps({"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}))
"""

ASK_OPENVINO: Final = """
import json, sys
sys.modules['openvino_telemetry'] = None  # asking must not send a usage event, see backends/openvino_runtime.py
import openvino
print(json.dumps({"version": openvino.__version__, "devices": openvino.Core().available_devices}))
"""

ASK_ZEROMQ: Final = """
import json, zmq
print(json.dumps({"version": zmq.__version__, "libzmq": zmq.zmq_version(), "ipc": zmq.has("ipc"),
                  "curve": zmq.has("curve")}))
"""

ASK_CUDA: Final = """
import ctypes, json
answer = {"library": True, "error": 0, "cuda": "", "devices": []}
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError:
    answer["library"] = False
else:
    number, size, text = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(128)
    cuda.cuDriverGetVersion(ctypes.byref(number))
    answer["cuda"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
    answer["error"] = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(number))
    for index in range(0 if answer["error"] else number.value):
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetName(text, len(text), device)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
        answer["devices"].append(
            {"name": text.value.decode(), "memory": size.value, "sm": f"{major.value}{minor.value}"}
        )
print(json.dumps(answer))
"""

ASK_OPENCV: Final = "import cv2, json; print(json.dumps({'version': cv2.__version__}))"

ASK_TENSORRT: Final = "import json, tensorrt; print(json.dumps({'version': tensorrt.__version__}))"
