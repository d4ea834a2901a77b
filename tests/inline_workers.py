"""Workers of an archive within the test's own process: they do what they are given when they are waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from scopeline.archive.perform import Control, perform
from scopeline.archive.task import Task
from scopeline.archive.workers import Answered, Event, Lost


class InlineWorkers:
    """Holds up to `count` tasks and does the newest first, so that what was begun ahead of its turn ends first.

    Args:
        count: Tasks that may be out at once.
        dies: Asked before a task is done; True: the worker is gone with it.
        heard: Called with every task that is done.
    """

    def __init__(
        self,
        count: int,
        *,
        dies: Callable[[Task], bool] = lambda task: False,
        heard: Callable[[Task], None] = lambda task: None,
    ) -> None:
        self._count, self._dies, self._heard = count, dies, heard
        self._tasks: deque[tuple[int, Task]] = deque()
        self._stopped = False

    def idle(self) -> int:
        return self._count - len(self._tasks)

    def spare(self) -> int:
        return 0

    def submit(self, ticket: int, task: Task) -> None:
        self._tasks.append((ticket, task))

    def wait(self) -> list[Event]:
        if not self._tasks:
            return []
        ticket, task = self._tasks.pop()
        if self._dies(task):
            return [Lost(ticket, "it was told to die")]
        control = Control()
        if self._stopped:
            control.stop()
        answer = perform(task, control)
        self._heard(task)
        return [Answered(ticket, answer)]

    def wake(self) -> None:
        """Nobody waits."""

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        """Nothing is open."""
