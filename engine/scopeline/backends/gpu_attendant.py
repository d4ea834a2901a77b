"""GPU attendant: brings one bundle to the GPU beside a running engine, and back to it after a shortage of memory.

Frames never wait for it: until a proven plan is loaded, warmed and captured the CPU judges. What happens is published
as a status (`gpu_building`, `gpu_serving`, ...).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from scopeline.backends.cuda_driver import CudaError
from scopeline.backends.gpu_state import GpuProgress, GpuState
from scopeline.backends.switching import EagerBackend, SwitchingBackend
from scopeline.backends.tensorrt_build_words import Broken, Done, Told, Word
from scopeline.backends.tensorrt_plan_store import NoPlan, RefusedPlan
from scopeline.errors import BackendError
from scopeline.notices import Notices, Trouble

RETRY_S: Final = (10.0, 30.0, 60.0, 300.0)
"""After a shortage of memory; the last one again and again."""

_TELLS: Final[Mapping[GpuState, Trouble]] = {
    GpuState.BUILDING: Trouble.GPU_BUILDING,
    GpuState.VERIFYING: Trouble.GPU_VERIFYING,
    GpuState.SERVING: Trouble.GPU_SERVING,
    GpuState.REFUSED: Trouble.GPU_REFUSED,
    GpuState.FAILED: Trouble.GPU_FAILED,
}


class BuildUnderWay(Protocol):
    """A build that can be followed and ended, see `BuildProcess`."""

    def words(self) -> Iterator[Word]: ...

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


class GpuAttendant:
    """A companion of the engine for one bundle.

    Args:
        name: Of the bundle.
        switch: What the engine works with; is offered the GPU.
        open_gpu: Gives the bundle on the GPU, ready to judge. Raises `NoPlan` when a plan has to be built first.
        start_build: Starts building one.
        notices: Where changes are told.
        retry_s: Waits between attempts after a shortage of memory.
    """

    def __init__(
        self,
        name: str,
        switch: SwitchingBackend,
        open_gpu: Callable[[], EagerBackend],
        start_build: Callable[[], BuildUnderWay],
        notices: Notices,
        *,
        retry_s: tuple[float, ...] = RETRY_S,
    ) -> None:
        self.name = f"gpu-{name}"
        self._bundle, self._switch, self._notices = name, switch, notices
        self._open_gpu, self._start_build = open_gpu, start_build
        self._retry_s = retry_s
        self._progress = GpuProgress(self._announce)
        self._lock = threading.Lock()
        self._build: BuildUnderWay | None = None
        self._stopped = False
        self._call = threading.Event()
        """Set when there is something to do: memory ran out, or the end has come."""
        self._short_of_memory = False

    @property
    def state(self) -> GpuState:
        return self._progress.state

    def work(self) -> None:
        """Bring the bundle up, then wait for trouble; returns after `stop`, or when there is nothing left to try."""
        self._bring_up()
        attempt = 0
        while self._wait_for_call():
            pause_s = self._retry_s[min(attempt, len(self._retry_s) - 1)]
            attempt += 1
            if self._sleep(pause_s):
                return
            self._load()

    def stop(self) -> None:
        """Make `work` return; a build under way is ended."""
        with self._lock:
            self._stopped = True
            build = self._build
        self._call.set()
        if build is not None:
            build.interrupt()

    def on_failure(self, error: BackendError) -> None:
        """The GPU could not answer; called by the thread that infers, which answers by the CPU."""
        self._fail(error)

    def _bring_up(self) -> None:
        try:
            self._serve()
        except NoPlan:
            self._make_plan()
        except BackendError as error:
            self._fail(error)

    def _make_plan(self) -> None:
        with self._lock:
            if self._stopped:
                return
            self._build = self._start_build()
            build = self._build
        try:
            last = self._follow(build)
        finally:
            build.close()
            with self._lock:
                self._build = None
        if self._stopped:
            return
        if isinstance(last, Broken):
            self._progress.move(GpuState.FAILED, f"{self._bundle}: {last.why}; the CPU judges")
        elif isinstance(last, Done) and not last.verdict.passed:
            failed = ", ".join(f"{row.head} {row.check}" for row in last.verdict.failures)
            self._progress.move(
                GpuState.REFUSED, f"{self._bundle}: other answers than in FP32 ({failed}); the CPU judges"
            )
        else:
            self._load()

    def _follow(self, build: BuildUnderWay) -> Word | None:
        last: Word | None = None
        for last in build.words():
            if isinstance(last, Told) and last.report.step == "building":
                wait = last.report.expected_s
                text = "" if wait is None else f", about {wait:.0f} s by earlier builds"
                self._progress.move(
                    GpuState.BUILDING, f"{self._bundle}: building a plan{text}; the CPU judges"
                )
            elif isinstance(last, Told) and last.report.step == "verifying":
                if self._progress.state is GpuState.ABSENT:
                    self._progress.move(GpuState.BUILDING, f"{self._bundle}: a plan is there; the CPU judges")
                self._progress.move(
                    GpuState.VERIFYING, f"{self._bundle}: comparing with FP32; the CPU judges"
                )
        return last

    def _load(self) -> None:
        try:
            self._serve()
        except BackendError as error:
            self._fail(error)

    def _serve(self) -> None:
        gpu = self._open_gpu()
        with self._lock:
            if self._stopped:  # nobody will close it any more
                gpu.close()
                return
            self._switch.offer(gpu)
        self._progress.move(GpuState.SERVING, f"{self._bundle}: the GPU judges from now on")

    def _fail(self, error: BackendError) -> None:
        refused = isinstance(error, RefusedPlan)
        state = GpuState.REFUSED if refused else GpuState.FAILED
        self._progress.move(state, f"{error}; the CPU judges")
        if isinstance(error, CudaError) and error.failure == "memory":
            self._short_of_memory = True
            self._call.set()

    def _wait_for_call(self) -> bool:
        """True when memory ran out and another attempt is due; False at the end."""
        while True:
            self._call.wait()
            with self._lock:
                if self._stopped:
                    return False
                self._call.clear()
                if self._short_of_memory:
                    self._short_of_memory = False
                    return True

    def _sleep(self, seconds: float) -> bool:
        """Wait; True when the end came."""
        self._call.wait(seconds)
        return self._stopped

    def _announce(self, state: GpuState, text: str) -> None:
        self._notices.post(_TELLS[state], text)
