"""TensorRT in FP16: the GPU runtime (the extra `tensorrt`). Runs plans that were built here and passed the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scopeline.backends.cuda_driver import Cuda, choose_gpu, open_cuda
from scopeline.backends.tensorrt_library import TensorRt, open_tensorrt
from scopeline.backends.tensorrt_plan_key import MOST_FRAMES, driver_version, plan_key
from scopeline.backends.tensorrt_plan_store import NoPlan, PlanStore, RefusedPlan, StoredPlan
from scopeline.backends.tensorrt_runner import PlanRunner
from scopeline.bundle import Bundle, check_outputs
from scopeline.cache_folder import cache_folder
from scopeline.config import GpuRule
from scopeline.errors import BackendError
from scopeline.parity import ParityVerdict
from scopeline.proof import heads_hash

Answer = Mapping[str, NDArray[np.float32]]


class TensorRtBackend:
    """One network in TensorRT.

    Args:
        threads: Not used: the GPU has its own.
        precision: `fp16`, by name; nothing else is offered.
        gpu: Which device, and where plans are kept.
        most: Largest batch that is prepared for; larger ones are split. 1 live, so that no memory lies idle.

    Raises:
        BackendError: TensorRT, cuda-python, a driver or a device is missing; there is no plan yet; the gate refused it.
    """

    name = "tensorrt"
    precision = "fp16"

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int,
        precision: str,
        gpu: GpuRule | None = None,
        most: int = MOST_FRAMES,
    ) -> None:
        check_precision(precision)
        rule = gpu or GpuRule()
        library, cuda = open_tensorrt(), open_cuda()
        self._runner = open_runner(bundle, rule, cuda, library, most=most)

    def infer(self, pixels: NDArray[np.uint8]) -> Answer:
        """(N, H, W, 3) uint8 RGB -> logits per head, (N, K) float32, or (N, 1, H, W) of a mask."""
        return self.begin(pixels)()

    def begin(self, pixels: NDArray[np.uint8]) -> Callable[[], Answer]:
        """Start a batch and return at once; what is returned waits for its answer. Call it before the next `begin`."""
        runner = self._runner
        if len(pixels) <= runner.most:
            runner.begin(pixels)
            return runner.take
        return lambda: self._in_parts(pixels)

    def _in_parts(self, pixels: NDArray[np.uint8]) -> Answer:
        parts: list[Answer] = []
        for start in range(0, len(pixels), self._runner.most):
            self._runner.begin(pixels[start : start + self._runner.most])
            parts.append(self._runner.take())
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def close(self) -> None:
        """Give memory and stream back."""
        self._runner.close()


def check_precision(precision: str) -> None:
    """Refuse anything but `fp16`.

    Raises:
        BackendError: says what to set.
    """
    if precision != "fp16":
        raise BackendError(
            f'tensorrt runs bundles in fp16, got precision {precision!r}: set precision = "fp16"'
        )


def open_runner(bundle: Bundle, rule: GpuRule, cuda: Cuda, library: TensorRt, *, most: int) -> PlanRunner:
    """The bundle's plan, loaded on its device.

    Raises:
        NoPlan, RefusedPlan: there is none that may judge.
        BackendError: it cannot be loaded.
    """
    device = choose_gpu(cuda, rule.device)
    key = plan_key(bundle, device, tensorrt=library.version, driver=driver_version(cuda))
    store = plan_store(rule)
    stored, heads = store.find(key), heads_hash(bundle)
    if stored is not None and stored.manifest.heads == heads and not stored.manifest.verdict.passed:
        raise RefusedPlan(refusal(bundle.name, stored.manifest.verdict))
    if stored is None or stored.manifest.heads != heads:
        raise NoPlan(
            f"{bundle.name}: no proven TensorRT {library.version} plan for {device.name} in {store.folder}; "
            f"build it: scopeline model build {bundle.folder}"
        )
    return open_stored(bundle, stored, cuda, library, device_index=device.index, most=most)


def open_stored(
    bundle: Bundle, stored: StoredPlan, cuda: Cuda, library: TensorRt, *, device_index: int, most: int
) -> PlanRunner:
    """A plan at hand, ready to run."""
    device = choose_gpu(cuda, device_index)
    runner = PlanRunner(cuda, device, library.load(stored.plan), most=min(most, MOST_FRAMES))
    try:
        check_outputs(bundle, runner.outputs)
    except BaseException:
        runner.close()
        raise
    return runner


def plan_store(rule: GpuRule) -> PlanStore:
    """Where the plans of a pipeline lie."""
    return PlanStore(Path(rule.cache) if rule.cache else cache_folder("plans"))


def refusal(name: str, verdict: ParityVerdict) -> str:
    """What to say of a plan that did not pass."""
    said = ", ".join(f"{row.head} {row.check} {row.figure:.4g} (bar {row.bar:g})" for row in verdict.failures)
    return (
        f"{name}: in FP16 the network gives other answers than in FP32 ({said}); it stays on the CPU. "
        "To build and judge it anew: scopeline model build --again"
    )
