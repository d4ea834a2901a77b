"""Ray workers: the cores and GPUs of a cluster that the lab has already, or of one that is started for the occasion.

Tasks are as small as for local workers; recordings and results lie where every machine sees them under the same path.
A worker or a machine that dies costs what it had in hand, and one that joins is used from its first second.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from typing import Any, Final

from scopeline.archive.perform import Control, perform
from scopeline.archive.task import Answer, Far, Progress, Task, progress_of
from scopeline.archive.workers import Answered, Event, Lost
from scopeline.errors import BackendError
from scopeline.extras import how_to_install

LOCAL: Final = "local"
"""Instead of an address: a cluster of this machine alone, which ends with the call."""
_LOOK_S: Final = 0.5
"""Ray has no way to be woken while it waits; this often it looks up for progress, new machines and Ctrl-C."""
_TELL_S: Final = 1.0
"""A task tells how far it is at most this often."""


class RayWorkers:
    """As many tasks at once as the cluster has room for.

    Args:
        address: Of a cluster, as `ray.init` takes it (`auto`, `10.0.0.1:6379`, `ray://head:10001`), or `local`.
        cpus: Cores that one task takes.
        gpus: GPUs that one task takes; 0.25 lets four share one.
        most: At most so many tasks at once.

    Raises:
        BackendError: Ray is not installed, or no cluster answers.
    """

    def __init__(
        self, address: str, *, cpus: float = 1.0, gpus: float = 0.0, most: int | None = None
    ) -> None:
        self._ray, self._cpus, self._gpus, self._most = _ray(), cpus, gpus, most
        try:
            self._ray.init(
                address=LOCAL if address == LOCAL else address,
                log_to_driver=False,
                include_dashboard=False if address == LOCAL else None,
            )
        except Exception as error:
            raise BackendError(f"{address}: wanted a Ray cluster, could not join it ({error})") from error
        need = {"num_cpus": cpus, "num_gpus": gpus}
        self._work = self._ray.remote(**need, max_retries=0)(_work)
        self._board: Any = self._ray.remote(num_cpus=0)(_Board).remote()
        self._tickets: dict[Any, int] = {}
        self._woken = threading.Event()

    def idle(self) -> int:
        return max(self._room() - len(self._tickets), 0)

    def spare(self) -> int:
        return 0

    def submit(self, ticket: int, task: Task) -> None:
        self._tickets[self._work.remote(ticket, task.travelling(), self._board)] = ticket

    def wait(self) -> list[Event]:
        while not self._woken.is_set():
            if not self._tickets:  # the machines are gone; new ones may come
                self._woken.wait(_LOOK_S)
                return []
            done, _ = self._ray.wait(list(self._tickets), num_returns=1, timeout=_LOOK_S)
            events: list[Event] = [self._outcome(reference) for reference in done]
            events += self._progress()
            if events or self.idle():
                return events
        self._woken.clear()
        return []

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        for reference in self._tickets:
            self._ray.cancel(reference, force=True)  # what is on disk is whole at every moment

    def close(self) -> None:
        self.stop()
        self._ray.shutdown()

    def _room(self) -> int:
        there = self._ray.cluster_resources()
        rooms = [int(there.get("CPU", 0) / self._cpus)] if self._cpus else []
        rooms += [int(there.get("GPU", 0) / self._gpus)] if self._gpus else []
        return min([*rooms, self._most or 1 << 30])

    def _outcome(self, reference: Any) -> Event:
        ticket = self._tickets.pop(reference)
        failed = self._ray.exceptions
        try:
            return Answered(ticket, self._ray.get(reference))
        except failed.RayTaskError as error:
            raise BackendError(
                f"a machine of the cluster cannot do a task; is the same Scopeline installed there? ({error})"
            ) from error
        except failed.RayError as error:
            return Lost(ticket, f"{type(error).__name__}: {str(error).splitlines()[0]}")

    def _progress(self) -> list[Event]:
        with contextlib.suppress(self._ray.exceptions.RayError):  # it died with its machine: no bars any more
            return list(self._ray.get(self._board.take.remote(), timeout=_LOOK_S))
        return []


class _Board:
    """An actor: the newest word of every task that is at work."""

    def __init__(self) -> None:
        self._words: dict[int, Progress] = {}

    def tell(self, word: Progress) -> None:
        self._words[word.ticket] = word

    def take(self) -> list[Progress]:
        words, self._words = self._words, {}
        return list(words.values())


def _work(ticket: int, task: Task, board: Any) -> Answer:
    """A task, on whatever machine has room for it."""
    ray = _ray()
    task = task.arrived()
    context = ray.get_runtime_context()
    name = f"{ray.util.get_node_ip_address()} {context.get_worker_id()[:6]}"
    next_s = 0.0

    def tell(far: Far) -> None:
        nonlocal next_s
        now_s = time.monotonic()
        if now_s >= next_s:
            next_s = now_s + _TELL_S
            board.tell.remote(progress_of(task, ticket, name, far))

    return perform(task, Control(tell))


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise BackendError(f"Ray is not installed: {how_to_install('ray')}") from error
