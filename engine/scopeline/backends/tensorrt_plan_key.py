"""Plan key: everything that a TensorRT plan depends on. Another value of any of it is another plan.

A plan of another version, driver or device is refused by TensorRT at best and gives wrong or slow answers at worst
(NVIDIA/TensorRT issues 564 and 2176; microsoft/onnxruntime issue 22244 on a cache without the version).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from scopeline.backends.cuda_driver import Cuda, Gpu
from scopeline.bundle import Bundle

RECIPE: Final = 1
"""Counts changes in how Scopeline builds: what stays in FP32, tactic sources, flags."""
MOST_FRAMES: Final = 8
"""Plans are built for batches of 1 to this many frames."""

_KERNEL_MODULE: Final = Path("/sys/module/nvidia/version")


class PlanKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan was built from and for."""

    network_sha256: str
    tensorrt: str
    driver: str
    gpu: str
    compute_capability: str
    precision: str
    width: int
    height: int
    most: int
    recipe: int
    fp32: tuple[str, ...]
    """What the bundle wants kept in FP32."""

    @property
    def digest(self) -> str:
        """16 digits that name the plan's files."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]

    @property
    def machine(self) -> str:
        """16 digits of all that does not depend on the network: what a timing cache may be shared within."""
        of = [self.tensorrt, self.driver, self.gpu, self.compute_capability]
        return hashlib.sha256(msgspec.json.encode(of)).hexdigest()[:16]


def plan_key(bundle: Bundle, gpu: Gpu, *, tensorrt: str, driver: str) -> PlanKey:
    """The key of a bundle's plan on a device."""
    return PlanKey(
        network_sha256=bundle.network.sha256,
        tensorrt=tensorrt,
        driver=driver,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        precision="fp16",
        width=bundle.input.width,
        height=bundle.input.height,
        most=MOST_FRAMES,
        recipe=RECIPE,
        fp32=bundle.network.fp32,
    )


def driver_version(cuda: Cuda, module: Path = _KERNEL_MODULE) -> str:
    """The driver: its own version where the system tells (`580.159.03`), else the CUDA it knows (`cuda-13.0`)."""
    try:
        text = module.read_text(encoding="utf-8").strip()
    except OSError:
        text = ""
    return text or f"cuda-{cuda.driver_version()}"
