"""Crew: threads that start, end and fail as one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class Crew:
    """A `with` block that ends when all its threads have ended, and raises the first error of any of them.

    Args:
        on_failure: Called once, in the failing thread, so that the other threads can be told to end.
    """

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self._on_failure = on_failure
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._first: BaseException | None = None

    def start(self, name: str, stage: Callable[[], None]) -> None:
        """Run `stage` in a thread of its own, named in any error that leaves it."""
        thread = threading.Thread(target=self._work, args=(name, stage), name=f"scopeline-{name}")
        thread.start()
        self._threads.append(thread)  # only then: what never started cannot be joined

    def _work(self, name: str, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:
            error.add_note(f"in stage '{name}'")
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            first, self._first = self._first, self._first or error
        if first is not None:
            first.add_note(f"then also: {type(error).__name__}: {error}")
            return
        try:
            self._on_failure()
        except BaseException as another:
            error.add_note(f"then also, telling the others: {type(another).__name__}: {another}")

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._on_failure()  # the block itself failed: tell the threads, then wait for them
        for thread in self._threads:
            thread.join()
        if error is None and self._first is not None:
            raise self._first
