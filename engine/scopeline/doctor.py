"""What this machine has, what it lacks, and how to get it. Every check is one function and never raises.

Whatever a check reads is an argument, so that a test can plant the machine it is about.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from scopeline.bundle import load_bundle
from scopeline.devices import Machine, list_devices
from scopeline.errors import BundleError
from scopeline.extras import how_to_install
from scopeline.probe import (
    ASK_AV,
    ASK_CUDA,
    ASK_ONNXRUNTIME,
    ASK_OPENCV,
    ASK_OPENVINO,
    ASK_TENSORRT,
    ASK_ZEROMQ,
    Ask,
    AskProgram,
    ProbeError,
    ask_program,
    ask_python,
)
from scopeline.shipped import shipped_pipelines
from scopeline.sources.system_ffmpeg import devices, protocols
from scopeline.wire import DEFAULT_PORT

State = Literal["ok", "optional", "problem"]
"""`optional`: something is missing that the CPU path does without. `problem`: the CPU path cannot work."""

_GIB: Final = 2**30
_LEAST_MEMORY: Final = 2 * _GIB
_LEAST_DISK: Final = 2 * _GIB
_WANTED_INSTRUCTIONS: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    remedy: str = ""
    """What to do, in words; empty when there is nothing to do."""


def examine(ask: Ask = ask_python) -> list[Finding]:
    """All checks, in the order in which a person reads them. Takes a few seconds."""
    checks: Sequence[Callable[[], Finding]] = (
        check_python,
        check_platform,
        check_cores,
        check_memory,
        check_instructions,
        check_disk,
        check_switch_interval,
        lambda: check_video(ask),
        lambda: check_network_video(ask),
        check_capture,
        lambda: check_opencv(ask),
        lambda: check_onnxruntime(ask),
        lambda: check_openvino(ask),
        lambda: check_zeromq(ask),
        check_port,
        check_bundles,
        lambda: check_nvidia(ask),
        lambda: check_tensorrt(ask),
        check_torch,
    )
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda check: check(), checks))


def cpu_path_works(findings: Sequence[Finding]) -> bool:
    """Nothing stands in the way of judging video on the CPU."""
    return all(finding.state != "problem" for finding in findings)


# The machine


def check_python(running: tuple[int, int, int] = sys.version_info[:3]) -> Finding:
    found = ".".join(map(str, running))
    if running < (3, 11):
        return Finding(
            "Python", "problem", found, "install Python 3.11 or later and make a new environment with it"
        )
    return Finding("Python", "ok", found)


def check_platform(system: str = sys.platform) -> Finding:
    if not system.startswith("linux"):
        remedy = "recordings work; capture cards, thread priorities and this check's figures are for Linux"
        return Finding("platform", "optional", platform.platform(), remedy)
    return Finding("platform", "ok", platform.platform())


def check_cores(usable: int | None = None, cgroup: Path = Path("/sys/fs/cgroup")) -> Finding:
    """Cores that this process may use: what it is pinned to, and the share a container was given."""
    count = len(os.sched_getaffinity(0)) if usable is None and hasattr(os, "sched_getaffinity") else usable
    count = count or os.cpu_count() or 1
    quota = _cpu_quota(cgroup)
    found = f"{count} usable of {os.cpu_count()}" + (
        f", limited to {quota:g} by the container" if quota else ""
    )
    if min(count, quota or count) < 2:
        remedy = "recordings work; a live feed wants two cores, one to decode and one to infer"
        return Finding("cores", "optional", found, remedy)
    return Finding("cores", "ok", found)


def check_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> Finding:
    total = _kib(meminfo, "MemTotal")
    if total is None:
        return Finding("memory", "optional", "unknown", "make sure that 2 GiB are free")
    limit = _number(cgroup / "memory.max")
    most = min(total, limit or total)
    free = min(_kib(meminfo, "MemAvailable") or most, most)
    found = f"{most / _GIB:.1f} GiB, {free / _GIB:.1f} GiB free"
    if free < _LEAST_MEMORY:
        return Finding(
            "memory", "optional", found, "close other programs: two bundles and HD video want 2 GiB"
        )
    return Finding("memory", "ok", found)


def check_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> Finding:
    """Vector instructions: what decides how long a network takes on this processor."""
    text = _read(cpuinfo)
    flags = next(
        (line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith("flags")), []
    )
    here = [name for name in _WANTED_INSTRUCTIONS if name in flags]
    if not flags:
        return Finding("instructions", "ok", "unknown on this platform")
    if "avx2" not in here:
        remedy = "networks will be slow without AVX2; if this is a virtual machine, pass the host's processor through"
        return Finding("instructions", "optional", ", ".join(here) or "no AVX2", remedy)
    return Finding("instructions", "ok", ", ".join(here))


def check_disk(folder: Path | None = None, free_bytes: int | None = None) -> Finding:
    place = folder or Path.cwd()
    free = shutil.disk_usage(place).free if free_bytes is None else free_bytes
    found = f"{free / _GIB:.1f} GiB free in {place}"
    if free < _LEAST_DISK:
        return Finding("disk", "optional", found, "results are small, but recordings and caches want 2 GiB")
    return Finding("disk", "ok", found)


def check_switch_interval() -> Finding:
    found = f"threads take turns every {sys.getswitchinterval() * 1e3:g} ms; a run chooses its own"
    return Finding("interpreter", "ok", found)


# Video


def check_video(ask: Ask) -> Finding:
    remedy = "pip install --force-reinstall av"
    try:
        answer = ask(ASK_AV)
    except ProbeError as error:
        return Finding("video (PyAV)", "problem", str(error), remedy)
    inputs = ", ".join(name for name, there in answer["inputs"].items() if there)
    return Finding(
        "video (PyAV)", "ok", f"PyAV {answer['version']}, FFmpeg {answer['ffmpeg']} inside; {inputs}"
    )


def check_network_video(
    ask: Ask, ffmpeg: str | None = shutil.which("ffmpeg"), run: AskProgram = ask_program
) -> Finding:
    """Inputs that the FFmpeg inside PyAV lacks, and which of them a system ffmpeg opens in its place."""
    name = "further inputs"
    try:
        missing = [each for each, there in ask(ASK_AV)["inputs"].items() if not there]
    except ProbeError:
        return Finding(name, "optional", "unknown without PyAV", "see above")
    lacking = f"{', '.join(missing)} missing inside PyAV" if missing else "none missing inside PyAV"
    if ffmpeg is None:
        remedy = "only for srt://, rist://, decklink: and ndi: feeds: apt-get install ffmpeg"
        return Finding(name, "optional", f"{lacking}; no system ffmpeg", remedy)
    has = protocols(ffmpeg, run) | devices(ffmpeg, run)
    opened = [word for word, part in _BY_PROGRAM.items() if part in has]
    unopened = [word for word in _BY_PROGRAM if word not in opened]
    found = f"{lacking}; {ffmpeg} opens {', '.join(opened) or 'none of them'}"
    found += f", not {', '.join(unopened)}" if opened and unopened else ""
    if "srt" in opened:
        return Finding(name, "ok", found)
    return Finding(
        name, "optional", found, "only for such feeds: Debian's and Ubuntu's ffmpeg has srt and rist"
    )


_BY_PROGRAM: Final = {"srt": "srt", "rist": "rist", "decklink": "decklink", "ndi": "libndi_newtek"}
"""What feeds are called here -> what ffmpeg calls it."""


def check_capture(system: str = sys.platform, machine: Machine | None = None) -> Finding:
    """Capture devices, whether they can be opened, and whether what they offer is known."""
    name = "capture devices"
    listing = list_devices(system, machine)
    if not listing.devices:
        return Finding(name, "optional", "none", f"only for a card in this machine: {listing.explanation}")
    found = ", ".join(f"{device.address} ({device.name})" for device in listing.devices)
    if troubles := [device.trouble for device in listing.devices if device.trouble]:
        return Finding(name, "optional", found, "; ".join(dict.fromkeys(troubles)))
    return Finding(name, "ok", f"{found}; scopeline devices lists what they offer")


# Libraries


def check_opencv(ask: Ask) -> Finding:
    return _library(
        "OpenCV", "problem", ask, ASK_OPENCV, "pip install --force-reinstall opencv-python-headless", _version
    )


def check_onnxruntime(ask: Ask) -> Finding:
    remedy = "pip install --force-reinstall onnxruntime"
    finding = _library("ONNX Runtime", "problem", ask, ASK_ONNXRUNTIME, remedy, _providers)
    if finding.state == "ok" and "CPUExecutionProvider" not in finding.found:
        return Finding(finding.name, "problem", finding.found, remedy)
    return finding


def check_openvino(ask: Ask) -> Finding:
    remedy = f"often faster on Intel processors: {how_to_install('cpu-fast')}"
    return _library("OpenVINO", "optional", ask, ASK_OPENVINO, remedy, _devices)


def check_zeromq(ask: Ask) -> Finding:
    remedy = "pip install --force-reinstall pyzmq"
    return _library("ZeroMQ", "problem", ask, ASK_ZEROMQ, remedy, _zmq)


def check_torch(version_of: Callable[[str], str | None] | None = None) -> Finding:
    """Asked of the package's papers only: importing it takes seconds, and running needs none of it."""
    found = (version_of or _installed)("torch")
    if found is None:
        remedy = f"only to train: {how_to_install('training')}"
        return Finding("PyTorch", "optional", "not installed", remedy)
    return Finding("PyTorch", "ok", found)


def check_bundles(folder: Path | None = None) -> Finding:
    """The model bundles that ship: there, and undamaged."""
    place = folder or shipped_pipelines() / "bundles"
    loaded, broken = [], []
    for description in sorted(place.glob("*/bundle.toml")):
        try:
            bundle = load_bundle(description.parent)
        except BundleError as error:
            broken.append(str(error))
        else:
            loaded.append(f"{bundle.name} {bundle.version}")
    if broken:
        return Finding(
            "model bundles", "problem", "; ".join(broken), "install Scopeline again, or train it anew"
        )
    if not loaded:
        remedy = "install Scopeline again, or train one: scopeline train"
        return Finding("model bundles", "problem", f"none in {place}", remedy)
    return Finding("model bundles", "ok", ", ".join(loaded))


def check_port(port: int = DEFAULT_PORT) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            remedy = "perhaps a run is publishing there already; otherwise choose another with --publish"
            return Finding("port", "optional", f"{port} is in use", remedy)
    return Finding("port", "ok", f"{port} is free")


# NVIDIA


def check_nvidia(ask: Ask, module: Path = Path("/sys/module/nvidia/version")) -> Finding:
    name = "NVIDIA driver"
    loaded = _read(module).strip()
    try:
        answer = ask(ASK_CUDA)
    except ProbeError as error:
        return Finding(
            name, "optional", str(error), "the CPU path needs none; otherwise install the driver again"
        )
    if not answer["library"]:
        found = f"kernel module {loaded}, but no libcuda.so.1" if loaded else "none"
        remedy = "in a container: --gpus all" if loaded else "only for an NVIDIA GPU: install NVIDIA's driver"
        return Finding(name, "optional", found, remedy)
    if answer["error"] or not answer["devices"]:
        found = f"does not answer (CUDA error {answer['error']})" if answer["error"] else "sees no GPU"
        remedy = "compare nvidia-smi; after an update of the driver, restart the machine"
        return Finding(name, "optional", f"{loaded or 'driver'}: {found}", remedy)
    devices = ", ".join(
        f"{d['name']} ({d['memory'] / _GIB:.0f} GiB, sm_{d['sm']})" for d in answer["devices"]
    )
    return Finding(name, "ok", f"{loaded}, CUDA {answer['cuda']}; {devices}".lstrip(", "))


def check_tensorrt(ask: Ask) -> Finding:
    remedy = f"only for an NVIDIA GPU: {how_to_install('tensorrt')}"
    return _library("TensorRT", "optional", ask, ASK_TENSORRT, remedy, _version)


# Wording


def _library(
    name: str, absent: State, ask: Ask, code: str, remedy: str, words: Callable[[Mapping[str, object]], str]
) -> Finding:
    """What the library says of itself, or the state that its absence means."""
    try:
        return Finding(name, "ok", words(ask(code)))
    except ProbeError as error:
        return Finding(name, absent, "not installed" if error.missing else str(error), remedy)


def _version(answer: Mapping[str, object]) -> str:
    return str(answer["version"])


def _providers(answer: Mapping[str, object]) -> str:
    return f"{answer['version']}; {_listed(answer['providers'])}"


def _devices(answer: Mapping[str, object]) -> str:
    return f"{str(answer['version']).split('-')[0]}; {_listed(answer['devices'])}"


def _listed(names: object) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list) else str(names)


def _zmq(answer: Mapping[str, object]) -> str:
    extras = ", ".join(name for name in ("ipc", "curve") if answer[name])
    return f"pyzmq {answer['version']}, libzmq {answer['libzmq']}; {extras}"


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(path: Path) -> str:
    """The text of a small file; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _kib(meminfo: Path, name: str) -> int | None:
    """An entry of /proc/meminfo, in bytes."""
    for line in _read(meminfo).splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def _cpu_quota(cgroup: Path) -> float | None:
    """Cores by the container's quota; None without one."""
    share, _, period = _read(cgroup / "cpu.max").strip().partition(" ")
    return int(share) / int(period) if share.isdecimal() and period.isdecimal() else None
