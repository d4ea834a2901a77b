"""Tasks: what a worker is asked to do, and what it answers. Small: paths and numbers, never pixels.

All of them lie on the same disk, share or cluster file system as the results; between tasks everything is in files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import msgspec

from scopeline.archive.chunk_file import ChunkHead
from scopeline.batch import Job, Outcome
from scopeline.config import Pipeline
from scopeline.shipped import shipped_pipelines

_SHIPPED = "<shipped>"


@dataclass(frozen=True, slots=True)
class Setup:
    """What is the same for all recordings of a call."""

    pipeline: Pipeline
    chunk_s: float
    """Recordings longer than one and a half of it are worked on in chunks of about this length."""
    decode_ahead: bool = False
    """There is a second core for each recording that is worked on in one pass."""

    def travelling(self) -> Setup:
        """The same for another machine, where what ships with Scopeline may lie in another folder."""
        home = Path(self.pipeline.folder).resolve()
        return self._in_folder(_SHIPPED if home == shipped_pipelines().resolve() else str(home))

    def arrived(self) -> Setup:
        """What `travelling` gave, on the other machine."""
        home = self.pipeline.folder
        return self._in_folder(str(shipped_pipelines()) if home == _SHIPPED else home)

    def _in_folder(self, folder: str) -> Setup:
        return replace(self, pipeline=msgspec.structs.replace(self.pipeline, folder=folder))


@dataclass(frozen=True, slots=True)
class _Task:
    """What all tasks have."""

    job: Job
    setup: Setup

    def travelling(self) -> Self:
        """The same for another machine: paths from the root on."""
        job = replace(self.job, video=self.job.video.resolve(), folder=self.job.folder.resolve())
        return replace(self, job=job, setup=self.setup.travelling())

    def arrived(self) -> Self:
        """What `travelling` gave, on the other machine."""
        return replace(self, setup=self.setup.arrived())


@dataclass(frozen=True, slots=True)
class RecordingTask(_Task):
    """Work on a recording in one pass, or say how it is cut when it is long."""

    whole: bool = False
    """In one pass, whatever its length."""


@dataclass(frozen=True, slots=True)
class ChunkTask(_Task):
    """Work on a chunk of a recording whose plan is written."""

    index: int
    seed: int | None = None
    """Number of a chunk that is done and from whose end to warm up; None: the chunk before is done, and this one begins
    in its last state."""


@dataclass(frozen=True, slots=True)
class JoinTask(_Task):
    """Make the results of a recording whose chunks are done."""

    chunks: int


Task = RecordingTask | ChunkTask | JoinTask


@dataclass(frozen=True, slots=True)
class Ended:
    """A recording's outcome. When it is `done`, its folder is ready to be put in place."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Cut:
    """A long recording was cut."""

    chunks: int
    frames: int
    may_run_ahead: bool
    """Whether chunks can be warmed up: not when a head is asked now and then, for nobody knows beforehand when."""
    heads: tuple[ChunkHead, ...]
    """Of chunks that an earlier call left."""


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """A chunk's file is written."""

    head: ChunkHead


@dataclass(frozen=True, slots=True)
class Uncuttable:
    """The recording is not the sum of its pieces; it must be worked on in one pass."""

    why: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """`stop` came first. What was judged in chunks is kept."""


Answer = Ended | Cut | ChunkDone | Uncuttable | Stopped


@dataclass(frozen=True, slots=True)
class Far:
    """How far a task is."""

    done_s: float
    """Stream seconds done of what the task works on."""
    of_s: float | None
    frames: int
    share: float = 1.0
    """Of the recording, what the task stands for, 0..1."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A worker's word on how far its task is."""

    ticket: int
    worker: str
    what: Literal["recording", "chunk", "join"]
    place: str
    """Of the recording, see `Job`."""
    chunk: int | None
    far: Far


def progress_of(task: Task, ticket: int, worker: str, far: Far) -> Progress:
    """A word on how far a task is."""
    place = task.job.place
    if isinstance(task, ChunkTask):
        return Progress(ticket, worker, "chunk", place, task.index, far)
    return Progress(ticket, worker, "join" if isinstance(task, JoinTask) else "recording", place, None, far)
