"""A machine with a fake GPU and a bundle on it, put together as the engine would."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes_tensorrt import FakeCudaRuntime, FakeFaults, fake_tensorrt
from scopeline.backends.cuda_driver import Cuda
from scopeline.backends.tensorrt_build_words import Report
from scopeline.backends.tensorrt_forge import Forge, Shown
from scopeline.backends.tensorrt_library import TensorRt
from scopeline.backends.tensorrt_plan_store import PlanStore
from scopeline.bundle import Bundle, load_bundle
from scopeline.hostile_frames import hostile_frames
from tiny_bundle import SIZE, write_tiny_bundle


@dataclass
class FakeMachine:
    """Everything is in `folder`."""

    folder: Path
    version: str = "10.16.1"
    runtime: FakeCudaRuntime = field(default_factory=FakeCudaRuntime)
    faults: FakeFaults = field(default_factory=FakeFaults)
    told: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bundle: Bundle = load_bundle(write_tiny_bundle(self.folder / "tiny"))
        self.store = PlanStore(self.folder / "plans")
        self.cuda = Cuda(self.runtime)

    @property
    def library(self) -> TensorRt:
        return TensorRt(fake_tensorrt(self.version, self.runtime, self.faults))

    @property
    def forge(self) -> Forge:
        return Forge(self.cuda, self.library, self.store, device=0, tell=self.told.append)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As if both packages were installed, and caches were in the folder."""
        module = fake_tensorrt(self.version, self.runtime, self.faults)
        monkeypatch.setitem(__import__("sys").modules, "tensorrt", module)
        monkeypatch.setitem(__import__("sys").modules, "cuda.bindings.runtime", self.runtime)
        monkeypatch.setenv("SCOPELINE_CACHE", str(self.folder))


def few_frames() -> Shown:
    """Enough to judge a fake."""
    return Shown(hostile_frames((SIZE, SIZE), count=24), (), "24 hostile")


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """(count, SIZE, SIZE, 3) noise."""
    drawn = np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3))
    return np.asarray(drawn, np.uint8)
