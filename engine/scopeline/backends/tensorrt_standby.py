"""Standby: a bundle that shall run on the GPU, put together so that the CPU can always take its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scopeline.backends import open_backend
from scopeline.backends.gpu_attendant import GpuAttendant
from scopeline.backends.keep_warm import KeepWarm
from scopeline.backends.switching import SwitchingBackend
from scopeline.backends.tensorrt_build_process import BuildProcess
from scopeline.backends.tensorrt_build_words import BuildOrder
from scopeline.backends.tensorrt_runtime import TensorRtBackend, check_precision, plan_store
from scopeline.bundle import Bundle
from scopeline.config import BundleChoice, GpuRule
from scopeline.errors import BackendError
from scopeline.notices import Notices, Trouble
from scopeline.ports import Companion


@dataclass(frozen=True, slots=True)
class Standby:
    """A backend, and what must run beside the engine for its sake."""

    backend: SwitchingBackend
    companions: tuple[Companion, ...]


def stand_by(bundle: Bundle, choice: BundleChoice, rule: GpuRule, notices: Notices) -> Standby:
    """Live: the CPU judges at once, the GPU as soon as it can; whatever is missing is told and stops nothing.

    Raises:
        BackendError: the precision is not one of TensorRT's, or the CPU's runtime refuses the network.
    """
    check_precision(choice.precision)
    attendants: list[GpuAttendant] = []
    cpu = open_backend("onnxruntime", bundle, threads=choice.threads, precision="fp32")
    switch = SwitchingBackend(cpu, lambda error: attendants[0].on_failure(error))
    order = BuildOrder(bundle=str(bundle.folder), device=rule.device, cache=str(plan_store(rule).folder))
    attendants.append(
        GpuAttendant(
            bundle.name,
            switch,
            lambda: TensorRtBackend(bundle, threads=1, precision="fp16", gpu=rule, most=1),
            lambda: BuildProcess(order),
            notices,
        )
    )
    return Standby(switch, tuple(attendants))


def on_gpu(bundle: Bundle, choice: BundleChoice, rule: GpuRule, notices: Notices, *, most: int) -> Standby:
    """Recordings: the GPU from the first frame on, so that the same recording gives the same answers; the CPU only when
    it fails on the way, which is told.

    Raises:
        BackendError: something is missing, or there is no plan yet; says what to do.
    """
    gpu = TensorRtBackend(bundle, threads=1, precision=choice.precision, gpu=rule, most=most)
    try:
        cpu = open_backend("onnxruntime", bundle, threads=choice.threads, precision="fp32")
    except BaseException:
        gpu.close()
        raise

    def tell(error: BackendError) -> None:
        notices.post(Trouble.GPU_FAILED, f"{error}; the CPU judges")

    switch = SwitchingBackend(cpu, tell)
    switch.offer(gpu)
    return Standby(switch, ())


def warmers(choices: Sequence[BundleChoice], rule: GpuRule) -> tuple[Companion, ...]:
    """What keeps the clocks up, where that is wanted and anything runs on the GPU."""
    is_wanted = rule.keep_warm and any(choice.backend == TensorRtBackend.name for choice in choices)
    return (KeepWarm(rule.device),) if is_wanted else ()
