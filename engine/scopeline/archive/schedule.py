"""Schedule: which task comes next. Pure: no process, no clock, no file; told what became of tasks, asked for new ones.

Recordings are worked on side by side, a long one chunk after chunk, each beginning in the state in which the one before
ended. Only when a worker would have nothing else to do is a chunk begun ahead of its turn, warmed up from an earlier
state. Such a chunk counts when it turns out to have begun in the very state in which the one before it ended; else it
is done again. So results are always those of one pass, and usually several workers share one recording.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from scopeline.archive.chunk_file import ChunkHead
from scopeline.archive.stream_state import FRESH
from scopeline.archive.task import (
    Answer,
    ChunkDone,
    ChunkTask,
    Cut,
    Ended,
    JoinTask,
    RecordingTask,
    Setup,
    Stopped,
    Task,
    Uncuttable,
)
from scopeline.batch import Job, Outcome

LOSSES = 3
"""Workers that may die under one recording beyond its retries before it is taken for the cause."""


@dataclass(slots=True)
class _Long:
    """A recording in chunks."""

    chunks: int
    may_run_ahead: bool
    heads: dict[int, ChunkHead]
    at_work: set[int] = field(default_factory=set)
    confirmed: int = 0
    """Chunks from the start that are known to add up to one pass."""
    joining: bool = False


@dataclass(slots=True)
class _State:
    job: Job
    whole: bool = False
    failures: int = 0
    losses: int = 0
    long: _Long | None = None


class Schedule:
    """Tasks for a list of recordings.

    Args:
        jobs: In the order in which they are begun.
        setup: The same for all.
        retries: How often a recording that failed is tried again, after all others had their turn.
    """

    def __init__(self, jobs: Sequence[Job], setup: Setup, *, retries: int = 0) -> None:
        self._setup, self._retries = setup, retries
        self._waiting = deque(_State(job) for job in jobs)
        self._long: list[_State] = []
        self._tickets: dict[int, tuple[Task, _State]] = {}
        self._count = 0
        self._left = len(jobs)
        self._stopping = False
        self.ran_ahead = self.done_again = 0
        """Chunks that were begun ahead of their turn, and those of them that had to be done again."""

    @property
    def is_over(self) -> bool:
        """Nothing is at work, and nothing is left to do or wanted any more."""
        return not self._tickets and (self._stopping or self._left == 0)

    def stop(self) -> None:
        """Give out no more tasks."""
        self._stopping = True

    def next(self, *, ahead: bool = True) -> tuple[int, Task] | None:
        """A task and its ticket; None when there is nothing to do before others have answered.

        Args:
            ahead: Whether chunks may be begun ahead of their turn.
        """
        if self._stopping:
            return None
        found = next(self._tasks(ahead), None)
        if found is None:
            return None
        task, state = found
        self._count += 1
        self._tickets[self._count] = (task, state)
        return self._count, task

    def answer(self, ticket: int, answer: Answer) -> list[Outcome]:
        """What a worker said; the outcomes that follow from it."""
        task, state = self._tickets.pop(ticket)
        if isinstance(task, ChunkTask) and state.long is not None:
            state.long.at_work.discard(task.index)
        if isinstance(answer, Stopped) or (state.long is None and not isinstance(task, RecordingTask)):
            return []  # the latter: a piece of a recording that was begun anew meanwhile
        if isinstance(answer, Ended):
            return self._ended(state, answer.outcome)
        if isinstance(answer, Uncuttable):
            self._in_one_pass(state)
        elif isinstance(answer, Cut):
            heads = {head.index: head for head in answer.heads}
            state.long = _Long(answer.chunks, answer.may_run_ahead, heads)
            self._long.append(state)
            self._confirm(state, state.long)
        elif state.long is not None:
            self._chunk_done(state, state.long, answer)
        return []

    def lost(self, ticket: int, why: str, *, begun: bool = True) -> list[Outcome]:
        """The worker died with the task. The recording goes on where it was, unless it seems to be the cause."""
        task, state = self._tickets.pop(ticket)
        if state.long is None and not isinstance(task, RecordingTask):
            return []
        state.losses += begun
        if state.losses > self._retries + LOSSES:
            outcome = Outcome(
                state.job, "failed", None, f"{state.losses} workers died over it, the last: {why}"
            )
            return self._close(state, outcome)
        if isinstance(task, ChunkTask) and state.long is not None:
            state.long.at_work.discard(task.index)
        elif isinstance(task, JoinTask) and state.long is not None:
            state.long.joining = False
        else:
            self._waiting.appendleft(state)
        return []

    def _tasks(self, ahead: bool) -> Iterator[tuple[Task, _State]]:
        """What could be given out now, best first."""
        setup = self._setup
        for state in self._long:
            long = state.long
            assert long is not None
            if long.confirmed == long.chunks:
                if not long.joining and not long.at_work:
                    long.joining = True
                    yield JoinTask(state.job, setup, long.chunks), state
            elif long.confirmed not in long.at_work and long.confirmed not in long.heads:
                long.at_work.add(long.confirmed)
                yield ChunkTask(state.job, setup, long.confirmed), state
        if self._waiting:
            state = self._waiting.popleft()
            yield RecordingTask(state.job, setup, state.whole), state
        if ahead:
            yield from self._ahead()

    def _ahead(self) -> Iterator[tuple[Task, _State]]:
        for state in self._long:
            long = state.long
            assert long is not None
            if not long.may_run_ahead or long.confirmed == 0 or long.joining:
                continue
            for index in range(long.confirmed + 1, long.chunks):
                if index not in long.at_work and index not in long.heads:
                    long.at_work.add(index)
                    self.ran_ahead += 1
                    yield ChunkTask(state.job, self._setup, index, seed=long.confirmed - 1), state

    def _chunk_done(self, state: _State, long: _Long, answer: ChunkDone) -> None:
        head = answer.head
        if head.index < long.confirmed:
            return  # done twice, by a worker that was thought to be dead
        long.heads[head.index] = head
        self._confirm(state, long)

    def _confirm(self, state: _State, long: _Long) -> None:
        """Take chunks that fit to those before them; forget those that do not."""
        while long.confirmed in long.heads:
            head = long.heads[long.confirmed]
            before = long.heads.get(long.confirmed - 1)
            if before is not None and head.first_picture != before.next_picture:
                self._in_one_pass(state)
                return
            if head.begun != (before.ended if before else FRESH):
                del long.heads[long.confirmed]
                self.done_again += 1
                break
            long.confirmed += 1
        if long.confirmed:
            era = long.heads[long.confirmed - 1].era
            for index in [i for i, head in long.heads.items() if i > long.confirmed]:
                # The field has another number since: what was warmed up from before cannot fit any more.
                if long.heads[index].seed_era not in (None, era):
                    del long.heads[index]
                    self.done_again += 1

    def _in_one_pass(self, state: _State) -> None:
        """Give chunks up; the results are the same, with one worker and nothing kept between calls."""
        self._forget(state)
        state.whole = True
        self._waiting.appendleft(state)

    def _ended(self, state: _State, outcome: Outcome) -> list[Outcome]:
        if outcome.state == "failed" and state.failures < self._retries and not self._stopping:
            state.failures += 1
            self._forget(state)
            self._waiting.append(state)
            return []
        return self._close(state, outcome)

    def _close(self, state: _State, outcome: Outcome) -> list[Outcome]:
        self._forget(state)
        for ticket, (task, other) in list(self._tickets.items()):
            if other is state:  # what others still do of it leads to nothing
                self._tickets[ticket] = (task, _State(state.job))
        self._left -= 1
        return [outcome]

    def _forget(self, state: _State) -> None:
        if state.long is not None:
            self._long.remove(state)
            state.long = None
