"""Workers: who does the tasks. The one port between the archive's arithmetic and processes, machines, a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from scopeline.archive.task import Answer, Progress, Task


@dataclass(frozen=True, slots=True)
class Answered:
    """A task was done."""

    ticket: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Lost:
    """Whoever had the task is gone."""

    ticket: int
    why: str
    begun: bool = True
    """Whether it was at work; one that only lay ready is not to blame."""


Event = Answered | Lost | Progress


class Workers(Protocol):
    """Takes tasks, says what became of them. Used by one thread; `wake` may be called from a signal handler."""

    def idle(self) -> int:
        """How many tasks could be begun at once."""
        ...

    def spare(self) -> int:
        """How many more may be handed over, to lie ready where a worker is at work."""
        ...

    def submit(self, ticket: int, task: Task) -> None:
        """Hand over a task."""
        ...

    def wait(self) -> list[Event]:
        """What has happened since; waits until something has, or until `wake`."""
        ...

    def wake(self) -> None:
        """Make `wait` return."""
        ...

    def stop(self) -> None:
        """Ask all to end their tasks early; their answers still come."""
        ...

    def close(self) -> None:
        """Everybody go home, whatever is at work."""
        ...
