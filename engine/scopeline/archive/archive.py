"""Archive: recordings through workers, until each has an outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from scopeline.archive.manifest import Manifest
from scopeline.archive.perform import CHUNK
from scopeline.archive.schedule import Schedule
from scopeline.archive.task import Ended, Progress, Setup, Task
from scopeline.archive.workers import Answered, Lost, Workers
from scopeline.batch import Job, Outcome, failure, finished_summary, held, put_in_place
from scopeline.replace_file import replace_file
from scopeline.results_folder import SUMMARY
from scopeline.summary import Summary


class Archive:
    """Works through recordings with whoever is there to work.

    Args:
        setup: The set-up, the same for all.
        workers: Who does it; closed by whoever made them.
        out: Folder of the results and their manifest.
        retries: How often a recording that failed is tried again.
        on_progress: Called with every word of a worker.
    """

    def __init__(
        self,
        setup: Setup,
        workers: Workers,
        out: Path,
        *,
        retries: int = 0,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._setup, self._workers, self._out, self._retries = setup, workers, out, retries
        self._on_progress = on_progress
        self._told = False
        self._holds: dict[str, tuple[Job, ExitStack]] = {}
        self.stopped = False

    def stop(self) -> None:
        """End what is at work and begin nothing more. Also from a signal handler."""
        self.stopped = True
        self._workers.wake()

    def work(self, jobs: Sequence[Job], *, again: bool = False) -> Iterator[Outcome]:
        """Every job's outcome, as it ends; none of those that were not begun when `stop` was called.

        Args:
            again: Also work on what is done already.

        Raises:
            SinkError: the manifest cannot be written.
        """
        manifest = Manifest(self._out)
        to_do: list[Job] = []
        for job in jobs:
            finished = None if again else finished_summary(job)
            if finished is None:
                to_do.append(job)
            else:
                yield _already_done(job, finished)
        try:
            for outcome in self._work(Schedule(to_do, self._setup, retries=self._retries)):
                manifest.add(outcome)
                yield outcome
        finally:
            for _, hold in self._holds.values():
                hold.close()
            self._holds.clear()

    def _work(self, schedule: Schedule) -> Iterator[Outcome]:
        while not schedule.is_over:
            if self.stopped and not self._told:
                self._told = True
                schedule.stop()
                self._workers.stop()
            yield from self._placed(self._hand_out(schedule))
            if schedule.is_over:
                break
            for event in self._workers.wait():
                if isinstance(event, Progress):
                    self._on_progress(event)
                elif isinstance(event, Answered):
                    yield from self._placed(schedule.answer(event.ticket, event.answer))
                elif isinstance(event, Lost):
                    yield from self._placed(schedule.lost(event.ticket, event.why, begun=event.begun))
        # Stopped without a last word; chunks that are done wait for the next call.
        for job in [job for job, _ in self._holds.values() if any(job.partial.iterdir())]:
            yield Outcome(
                job, "interrupted", None, "the pieces that are done are kept; the same command goes on"
            )

    def _hand_out(self, schedule: Schedule) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while (idle := self._workers.idle()) or self._workers.spare():
            given = schedule.next(ahead=idle > 0)
            if given is None:
                break
            ticket, task = given
            outcomes += self._submit(schedule, ticket, task)
        return outcomes

    def _submit(self, schedule: Schedule, ticket: int, task: Task) -> list[Outcome]:
        job = task.job
        try:
            if job.place not in self._holds:
                hold = ExitStack()
                hold.enter_context(held(job))
                self._holds[job.place] = job, hold
        except Exception as error:
            return schedule.answer(ticket, Ended(failure(job, error)))
        self._workers.submit(ticket, task)
        return []

    def _placed(self, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """The outcomes, with the folders of those that are done put in place, and all let go."""
        for outcome in outcomes:
            job = outcome.job
            try:
                if outcome.state == "done":
                    for left in job.partial.glob(f"{CHUNK}*"):
                        left.unlink()
                    put_in_place(job)
            except Exception as error:
                outcome = failure(job, error)
            if job.place in self._holds:
                self._holds.pop(job.place)[1].close()
            yield outcome


def _already_done(job: Job, summary: Summary) -> Outcome:
    """Results that stand; what the list says of the recording now is brought into them without judging it again."""
    recording = summary.recording
    if recording is None or not job.metadata or recording.metadata == dict(job.metadata):
        return Outcome(job, "already done", summary)
    recording = msgspec.structs.replace(recording, metadata=dict(job.metadata))
    summary = msgspec.structs.replace(summary, recording=recording)
    replace_file(job.folder / SUMMARY, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    return Outcome(job, "already done", summary, "its metadata is new")
