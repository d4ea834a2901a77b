"""Machine: where figures were measured, so that nobody compares what cannot be compared."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

_PACKAGES = (
    "scopeline",
    "av",
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "openvino",
    "pyzmq",
    "msgspec",
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The computer, the software and how busy both were."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    versions: dict[str, str]
    commit: str
    """Twelve digits, or `none` outside a checkout."""
    uncommitted: bool
    """The checkout had changes that no commit holds."""
    date: str
    """UTC, ISO 8601."""
    clock: str
    """Of the cores now, in MHz."""
    governor: str
    """What decides the clock."""
    container: str
    gpu: str
    load_before: float
    """Load average of the last minute: runnable processes, ours not yet among them. Above 0 others disturb."""


def this_machine() -> Machine:
    """The machine as it is now."""
    checkout = Path(__file__).parent
    commit = _git(checkout, "rev-parse", "--short=12", "HEAD")
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions={name: _version(name) for name in _PACKAGES},
        commit=commit or "none",
        uncommitted=bool(_git(checkout, "status", "--porcelain", "--untracked-files=no")),
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        clock=_clock(),
        governor=_governor(),
        container=_container(),
        gpu=_gpu(),
        load_before=load(),
    )


def load() -> float:
    """The load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def _cpu_name() -> str:
    names = _cpuinfo("model name")
    return names[0] if names else platform.processor() or "unknown"


def _clock() -> str:
    clocks = [f"{float(each):.0f}" for each in _cpuinfo("cpu MHz")]
    return f"{', '.join(clocks)} MHz" if clocks else "clock not told"


def _cpuinfo(field: str) -> list[str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(field)]


def _governor() -> str:
    files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted({file.read_text().strip() for file in files})) or "not told (virtual machine)"


def _container() -> str:
    signs = {"/.dockerenv": "Docker", "/run/.containerenv": "Podman"}
    kinds = [kind for sign, kind in signs.items() if Path(sign).exists()]
    return f"in a container ({kinds[0]})" if kinds else "in no container that shows"


def _gpu() -> str:
    """Name, driver, clock, temperature and what throttles it, as its driver says."""
    asked = "name,driver_version,clocks.sm,temperature.gpu,clocks_event_reasons.active"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        return "none"
    return "; ".join(done.stdout.strip().splitlines()) if done.returncode == 0 else "none that answers"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
