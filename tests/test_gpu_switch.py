"""The CPU judges until the GPU can, and again when it cannot; no frame waits, is lost, or goes without an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from fakes import FakeBackend
from scopeline.backends.cuda_driver import CudaError
from scopeline.backends.gpu_attendant import GpuAttendant
from scopeline.backends.gpu_state import GpuProgress, GpuState
from scopeline.backends.keep_warm import KeepWarm
from scopeline.backends.switching import SwitchingBackend
from scopeline.backends.tensorrt_build_words import Broken, Done, Report, Told, Word
from scopeline.backends.tensorrt_plan_store import NoPlan, RefusedPlan
from scopeline.errors import BackendError
from scopeline.notices import Notices, Trouble
from scopeline.parity import ParityRow, ParityVerdict

_PIXELS = np.zeros((1, 4, 4, 3), np.uint8)
_LOST = CudaError("the GPU no longer answers", "lost", 700)
_FULL = CudaError("the GPU's memory is full", "memory", 2)


class FakeGpu:
    """A backend on a GPU. `fails` makes it raise, when begun or when taken."""

    name, precision = "tensorrt", "fp16"

    def __init__(self) -> None:
        self.fails_to_begin: BackendError | None = None
        self.fails_to_answer: BackendError | None = None
        self.closed = False

    def infer(self, pixels: Any) -> Mapping[str, Any]:
        return self.begin(pixels)()

    def begin(self, pixels: Any) -> Callable[[], Mapping[str, Any]]:
        if self.fails_to_begin:
            raise self.fails_to_begin

        def take() -> Mapping[str, Any]:
            if self.fails_to_answer:
                raise self.fails_to_answer
            return {"head": np.full((len(pixels), 2), 16, np.float32)}

        return take

    def close(self) -> None:
        self.closed = True


class FakeBuild:
    """Says its words; `gate`, if given, is waited for before each."""

    def __init__(self, *words: Word, gate: threading.Semaphore | None = None) -> None:
        self._words, self._gate = words, gate
        self.interrupted, self.closed = threading.Event(), False

    def words(self) -> Iterator[Word]:
        for word in self._words:
            if self._gate is not None:
                self._gate.acquire()
            if self.interrupted.is_set():
                yield Broken(why="interrupted")
                return
            yield word

    def interrupt(self) -> None:
        self.interrupted.set()
        if self._gate is not None:
            self._gate.release()

    def close(self) -> None:
        self.closed = True


def _verdict(*, passed: bool) -> ParityVerdict:
    row = ParityRow(check="max_difference", head="mes", figure=0.5, bar=0.02, batch=1, passed=passed)
    return ParityVerdict(
        bundle="b",
        network_sha256="",
        reference="",
        candidate="",
        frames=1,
        stretches=0,
        batches=(1,),
        rows=(row,),
    )


def _done(*, passed: bool = True) -> Done:
    return Done(verdict=_verdict(passed=passed), build_s=1, verify_s=1, plan_bytes=1)


_BUILDING = Told(report=Report(step="building", expected_s=90))
_VERIFYING = Told(report=Report(step="verifying"))


class _Bench:
    """An attendant with its switch; `opened` are the answers of the attempts to open the GPU, in order."""

    def __init__(
        self, *opened: FakeGpu | BackendError, build: FakeBuild | None = None, retry_s: float = 0.0
    ) -> None:
        self.opened, self.build = list(opened), build or FakeBuild(_BUILDING, _VERIFYING, _done())
        self.notices = Notices()
        self.cpu = FakeBackend(lambda picture: {"head": [32.0, 32.0]})
        self.switch = SwitchingBackend(self.cpu, lambda error: self.attendant.on_failure(error))
        self.attendant = GpuAttendant(
            "colon", self.switch, self._open, lambda: self.build, self.notices, retry_s=(retry_s,)
        )
        self.thread = threading.Thread(target=self.attendant.work)

    def _open(self) -> FakeGpu:
        answer = self.opened.pop(0)
        if isinstance(answer, BackendError):
            raise answer
        return answer

    def told(self, count: int) -> list[Trouble]:
        """Waits for so many notices."""
        told: list[Any] = []
        pause = threading.Event()
        for _ in range(500):
            told += [notice.what for notice in self.notices.take()]
            if len(told) >= count:
                break
            pause.wait(0.01)
        return told

    @property
    def judged_by(self) -> str:
        self.switch.infer(_PIXELS)
        return self.switch.name

    def end(self) -> None:
        self.attendant.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.switch.close()


@pytest.fixture
def bench() -> Iterator[Callable[..., _Bench]]:
    made: list[_Bench] = []

    def make(*opened: FakeGpu | BackendError, **options: Any) -> _Bench:
        made.append(_Bench(*opened, **options))
        made[-1].thread.start()
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_a_proven_plan_serves_without_a_build(bench: Callable[..., _Bench]) -> None:
    here = bench(FakeGpu())
    assert here.told(1) == [Trouble.GPU_SERVING]
    assert here.judged_by == "tensorrt"


def test_without_a_plan_the_cpu_judges_until_one_is_built_and_proven(bench: Callable[..., _Bench]) -> None:
    gate = threading.Semaphore(0)
    here = bench(NoPlan("none"), FakeGpu(), build=FakeBuild(_BUILDING, _VERIFYING, _done(), gate=gate))
    for expected in (Trouble.GPU_BUILDING, Trouble.GPU_VERIFYING):
        gate.release()
        assert here.told(1) == [expected]
        assert here.judged_by == "fake"
    gate.release()
    assert here.told(1) == [Trouble.GPU_SERVING]
    assert here.judged_by == "tensorrt"
    assert here.build.closed


def test_a_plan_that_fails_the_gate_leaves_the_cpu_judging_and_says_which_row(
    bench: Callable[..., _Bench],
) -> None:
    here = bench(NoPlan("none"), build=FakeBuild(_BUILDING, _VERIFYING, _done(passed=False)))
    assert here.told(3)[-1] is Trouble.GPU_REFUSED
    assert here.judged_by == "fake"
    assert here.attendant.state is GpuState.REFUSED


def test_a_verdict_known_from_before_is_not_tried_again(bench: Callable[..., _Bench]) -> None:
    here = bench(RefusedPlan("other answers"))
    assert here.told(1) == [Trouble.GPU_REFUSED]
    assert here.judged_by == "fake"


@pytest.mark.parametrize("error", [BackendError("no TensorRT"), _LOST])
def test_a_gpu_that_cannot_be_opened_stops_nothing(bench: Callable[..., _Bench], error: BackendError) -> None:
    here = bench(error)
    assert here.told(1) == [Trouble.GPU_FAILED]
    assert here.judged_by == "fake"


def test_a_build_that_crashes_is_told_and_stops_nothing(bench: Callable[..., _Bench]) -> None:
    here = bench(NoPlan("none"), build=FakeBuild(_BUILDING, Broken(why="signal 11")))
    assert here.told(2) == [Trouble.GPU_BUILDING, Trouble.GPU_FAILED]
    assert here.judged_by == "fake"


@pytest.mark.parametrize("when", ["fails_to_begin", "fails_to_answer"])
def test_the_frame_on_which_the_device_is_lost_is_answered_by_the_cpu(
    bench: Callable[..., _Bench], when: str
) -> None:
    gpu = FakeGpu()
    here = bench(gpu)
    here.told(1)
    setattr(gpu, when, _LOST)
    np.testing.assert_array_equal(here.switch.infer(_PIXELS)["head"], [[32, 32]])
    assert here.switch.name == "fake"
    assert here.told(1) == [Trouble.GPU_FAILED]
    assert here.judged_by == "fake"


def test_after_a_shortage_of_memory_the_gpu_is_tried_again(bench: Callable[..., _Bench]) -> None:
    gpu, again = FakeGpu(), FakeGpu()
    here = bench(gpu, _FULL, again)
    here.told(1)
    gpu.fails_to_answer = _FULL
    assert here.judged_by == "fake"
    assert here.told(2) == [Trouble.GPU_FAILED, Trouble.GPU_SERVING]
    assert here.judged_by == "tensorrt"


def test_stopping_ends_a_build_at_once(bench: Callable[..., _Bench]) -> None:
    here = bench(NoPlan("none"), build=FakeBuild(_BUILDING, _done(), gate=threading.Semaphore(0)))
    here.attendant.stop()
    here.thread.join(10)
    assert here.build.closed or not here.build.interrupted.is_set()
    assert here.attendant.state is GpuState.ABSENT


def test_closing_closes_the_cpu_the_gpu_and_those_that_failed() -> None:
    cpu = FakeBackend(lambda picture: {"head": [0.0, 0.0]})
    switch = SwitchingBackend(cpu, lambda error: None)
    lost, serving = FakeGpu(), FakeGpu()
    lost.fails_to_begin = _LOST
    switch.offer(lost)
    switch.infer(_PIXELS)
    switch.offer(serving)
    switch.close()
    assert (cpu.closed, lost.closed, serving.closed) == (True, True, True)


def test_no_way_leads_back_from_a_refusal() -> None:
    told: list[GpuState] = []
    progress = GpuProgress(lambda state, text: told.append(state))
    progress.move(GpuState.BUILDING, "")
    progress.move(GpuState.BUILDING, "")
    progress.move(GpuState.REFUSED, "")
    with pytest.raises(ValueError, match="cannot go from refused to serving"):
        progress.move(GpuState.SERVING, "")
    assert told == [GpuState.BUILDING, GpuState.REFUSED]


def test_keeping_warm_ends_at_once_and_gives_back_what_it_took() -> None:
    from fakes_tensorrt import FakeCudaRuntime
    from scopeline.backends.cuda_driver import Cuda

    runtime = FakeCudaRuntime()
    warm = KeepWarm(0, Cuda(runtime), period_s=0.001)
    thread = threading.Thread(target=warm.work)
    thread.start()
    pause = threading.Event()
    for _ in range(500):
        if runtime.calls.count("cudaMemsetAsync") > 2:
            break
        pause.wait(0.01)
    warm.stop()
    thread.join(10)
    assert runtime.calls.count("cudaMemsetAsync") > 2
    assert (runtime.memory, runtime.streams) == ({}, {})
