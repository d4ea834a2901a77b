"""Local workers: processes of this machine, each doing one task while the next one's pictures are decoded.

A worker that dies costs what it had in hand. When the process that asked dies, its workers end themselves at once:
their end of the pipe closes, also after `kill -9`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from scopeline.archive.perform import Control, perform
from scopeline.archive.task import Far, Task, progress_of
from scopeline.archive.workers import Answered, Event, Lost
from scopeline.handoff import Handoff

_LANES: Final = 2
"""Tasks that a worker holds: one at work, one that begins when the first has no picture left to decode."""
_GOODBYE_S: Final = 5.0
"""How long a worker that was told to go may take."""


@dataclass(slots=True)
class _Worker:
    number: int
    process: BaseProcess
    connection: Connection
    tickets: list[int] = field(default_factory=list)
    begun: set[int] = field(default_factory=set)


class LocalWorkers:
    """Processes, started when there is something to do; one that dies is replaced.

    Args:
        count: At most so many.
        work: What a worker does with a task, importable by name; another one in tests.
    """

    def __init__(self, count: int, work: Callable[[Task, Control], object] = perform) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._work = work
        self._wake_here, self._wake_there = os.pipe()
        os.set_blocking(self._wake_there, False)
        self._count = count
        self._workers: list[_Worker] = []
        self._lost: list[Event] = []

    def idle(self) -> int:
        return self._count - sum(bool(worker.tickets) for worker in self._workers)

    def spare(self) -> int:
        return sum(0 < len(worker.tickets) < _LANES for worker in self._workers)

    def submit(self, ticket: int, task: Task) -> None:
        worker = min(self._workers, key=lambda each: (len(each.tickets), each.number), default=None)
        if worker is None or (worker.tickets and len(self._workers) < self._count):
            worker = self._start(len(self._workers))
            self._workers.append(worker)
        worker.tickets.append(ticket)
        try:
            worker.connection.send((ticket, task))
        except OSError:
            self._lost += self._bury(worker)

    def wait(self) -> list[Event]:
        events, self._lost = self._lost, []
        if events:
            return events
        by_connection = {worker.connection: worker for worker in self._workers}
        for ready in wait([*by_connection, self._wake_here]):
            if isinstance(ready, Connection):
                events += self._heard(by_connection[ready])
            else:
                os.read(self._wake_here, 64)
        return events

    def wake(self) -> None:
        try:
            os.write(self._wake_there, b"!")
        except BlockingIOError:
            return  # it has been told often enough

    def stop(self) -> None:
        for worker in self._workers:
            try:
                worker.connection.send(None)
            except OSError:
                continue  # it is gone; `wait` will say so

    def close(self) -> None:
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(_GOODBYE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        os.close(self._wake_here)
        os.close(self._wake_there)

    @property
    def process_ids(self) -> list[int]:
        """For whoever wants to watch their memory, or kill one."""
        return [worker.process.pid or 0 for worker in self._workers]

    def _start(self, number: int) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(
            target=serve,
            args=(there, f"worker {number + 1}", self._work),
            name=f"scopeline-worker-{number + 1}",
        )
        process.start()
        there.close()
        return _Worker(number, process, here)

    def _heard(self, worker: _Worker) -> list[Event]:
        try:
            said = worker.connection.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        if isinstance(said, int):
            worker.begun.add(said)
            return []
        if isinstance(said, Answered):
            worker.tickets.remove(said.ticket)
            worker.begun.discard(said.ticket)
        return [said]

    def _bury(self, worker: _Worker) -> list[Event]:
        """A new one takes its place. Tasks that it had not begun are not to blame."""
        worker.connection.close()
        worker.process.join()
        code = worker.process.exitcode
        worker.process.close()
        self._workers[self._workers.index(worker)] = self._start(worker.number)
        why = f"worker {worker.number + 1} ended with {code}"
        return [Lost(ticket, why, ticket in worker.begun) for ticket in worker.tickets]


def serve(connection: Connection, name: str, work: Callable[[Task, Control], object]) -> None:
    """A worker's life: tasks come, answers and progress go, until the other side is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever asked hears them, and says when to stop
        signal.signal(number, signal.SIG_IGN)
    _Service(connection, name, work).run()


class _Service:
    def __init__(self, connection: Connection, name: str, work: Callable[[Task, Control], object]) -> None:
        self._connection, self._name, self._work = connection, name, work
        self._sending, self._decoding = threading.Lock(), threading.Semaphore(1)
        self._tasks: Handoff[tuple[int, Task]] = Handoff(_LANES)
        self._stopped = False
        self._controls: set[Control] = set()
        self._lock = threading.Lock()

    def run(self) -> None:
        lanes = [threading.Thread(target=self._live, name=f"lane {number}") for number in range(_LANES)]
        for lane in lanes:
            lane.start()
        while True:
            try:
                said = self._connection.recv()
            except (EOFError, OSError):
                # Nobody is left to hear of it, and what is on disk is whole at every moment: threads are not awaited.
                sys.stdout.flush()
                os._exit(0)
            if said is None:
                self._stop()
            else:
                self._tasks.put(said)

    def _live(self) -> None:
        """A lane that failed would leave whoever asked waiting for ever: the whole worker goes, and that is noticed."""
        try:
            self._lane()
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def _lane(self) -> None:
        """One task after the other. The next one of the other lane begins when this one's last picture is decoded."""
        for ticket, task in self._tasks:
            decoding = _Turn(self._decoding)
            control = Control(partial(self._tell, ticket, task), decoding.over)
            with self._lock:
                self._controls.add(control)
                if self._stopped:
                    control.stop()
            self._send(ticket)
            try:
                answer = self._work(task, control)
            finally:
                decoding.over()
                with self._lock:
                    self._controls.discard(control)
            self._send(Answered(ticket, answer))  # type: ignore[arg-type]

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for control in self._controls:
                control.stop()

    def _tell(self, ticket: int, task: Task, far: Far) -> None:
        self._send(progress_of(task, ticket, self._name, far))

    def _send(self, said: object) -> None:
        with self._sending:
            self._connection.send(said)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Turn:
    """The right to decode, given back once."""

    def __init__(self, decoding: threading.Semaphore) -> None:
        self._decoding, self._held = decoding, True
        decoding.acquire()

    def over(self) -> None:
        if self._held:
            self._held = False
            self._decoding.release()
