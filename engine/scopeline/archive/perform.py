"""Perform: do one task in this process. The same wherever it runs: in a local worker, on a cluster, in a test."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from scopeline.archive.chunk_file import read_end, read_head
from scopeline.archive.chunk_plan import ChunkPlan, cut, read_plan, warm_up, write_plan
from scopeline.archive.chunk_run import Abandoned, ChunkRun
from scopeline.archive.code import code_hash
from scopeline.archive.join import is_one_pass, join
from scopeline.archive.stream_state import StreamState
from scopeline.archive.task import (
    Answer,
    ChunkDone,
    ChunkTask,
    Cut,
    Ended,
    Far,
    JoinTask,
    RecordingTask,
    Setup,
    Stopped,
    Task,
    Uncuttable,
)
from scopeline.assemble import Parts, assemble_parts
from scopeline.batch import Batch, Job, clear, complete, failure, recording_of
from scopeline.errors import ConfigError, SourceError
from scopeline.freed_memory import return_freed_memory
from scopeline.marks import marks_path, read_marks
from scopeline.sinks.folder import FolderSink, claim, write_tables
from scopeline.sources.media import probe
from scopeline.sources.packet_scan import scan_packets
from scopeline.sources.stretch import NotInPieces, StretchSource
from scopeline.summary import summarize
from scopeline.tally import Tally
from scopeline.wire import FrameMessage, Message

CHUNK: Final = "chunk-"
PLAN: Final = f"{CHUNK}plan.msgpack"
LONGER: Final = 1.5
"""Recordings longer than so many chunks are cut."""


class _Stoppable(Protocol):
    def stop(self) -> None: ...


class Control:
    """How whoever runs a task hears of it and stops it.

    Args:
        hear: Called now and then with how far the task is.
        decoded: Called when no picture is left to decode.
    """

    def __init__(
        self,
        hear: Callable[[Far], None] = lambda far: None,
        decoded: Callable[[], None] = lambda: None,
    ) -> None:
        self.hear, self.decoded = hear, decoded
        self.stopped = threading.Event()
        self._at_work: _Stoppable | None = None
        self._lock = threading.Lock()

    def stop(self) -> None:
        """End the task early. From any thread."""
        with self._lock:
            self.stopped.set()
            if self._at_work is not None:
                self._at_work.stop()

    def holds(self, at_work: _Stoppable) -> None:
        """What is to be stopped by `stop`, from now on."""
        with self._lock:
            self._at_work = at_work
            if self.stopped.is_set():
                at_work.stop()


def perform(task: Task, control: Control) -> Answer:
    """The answer to a task. A recording's failure is an answer too; nothing but a defect of this function is raised."""
    if control.stopped.is_set():
        return Stopped()
    try:
        _check_code(task.job)
        if isinstance(task, ChunkTask):
            return _chunk(task, control)
        return _join(task, control) if isinstance(task, JoinTask) else _recording(task, control)
    except Abandoned:
        return Stopped()
    except NotInPieces as error:
        return Uncuttable(str(error))
    except Exception as error:
        return Ended(failure(task.job, error))
    finally:
        return_freed_memory()


def chunk_path(job: Job, index: int) -> Path:
    """Where a chunk's file lies."""
    return job.partial / f"{CHUNK}{index:05d}"


def _check_code(job: Job) -> None:
    if job.inputs is not None and job.inputs.code != code_hash():
        raise ConfigError(
            f"this worker has another Scopeline ({code_hash()}) than the one that asks ({job.inputs.code}); "
            "install the same on every machine"
        )


def _recording(task: RecordingTask, control: Control) -> Answer:
    plan = None if task.whole else _plan(task.job, task.setup)
    if plan is not None:
        heads = [read_head(chunk_path(task.job, index)) for index in range(len(plan))]
        left = [
            head for index, head in enumerate(heads) if head is not None and head.key == plan.chunk_key(index)
        ]
        rules = task.setup.pipeline.heads.values()
        ahead = all(rule.every_ms == 0 for rule in rules)
        return Cut(len(plan), len(plan.scan.stamps), ahead, tuple(left))
    clear(task.job)
    length_s: list[float | None] = [None]

    def hear(message: Message) -> None:
        if isinstance(message, FrameMessage) and message.frame % _EVERY == 0:
            control.hear(Far(message.time_s, length_s[0], message.frame))

    def begin(job: Job, duration_s: float | None) -> None:
        length_s[0] = duration_s

    run = Batch(
        task.setup.pipeline,
        decode_ahead=task.setup.decode_ahead,
        on_start=begin,
        on_message=hear,
        on_decoded=control.decoded,
    )
    control.holds(run)
    return Ended(run.work_on(task.job))


def _plan(job: Job, setup: Setup) -> ChunkPlan | None:
    """How a long recording is cut, as it was cut before where that was kept; None for one that is not cut."""
    key = _key(job, setup)
    kept = read_plan(job.partial / PLAN, key=key)
    if kept is not None:
        return kept
    facts = probe(job.video)
    if facts.duration_s is None or facts.duration_s <= LONGER * setup.chunk_s or facts.is_interlaced:
        return None
    try:
        plan = cut(scan_packets(job.video), key, chunk_s=setup.chunk_s, batch=setup.pipeline.batch)
    except SourceError:
        return None  # what is damaged is worked on in one pass, which counts the damage
    if len(plan) < 2:
        return None
    clear(job)
    recording = recording_of(job)
    claim(job.partial, recording)
    write_tables(job.partial, Tally(), summarize(Tally(), recording))
    write_plan(job.partial / PLAN, plan)
    return plan


def _key(job: Job, setup: Setup) -> str:
    rle = setup.pipeline.publish.mask_rle
    text = f"{job.inputs} {setup.chunk_s} {setup.pipeline.batch} {rle}"
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _chunk(task: ChunkTask, control: Control) -> Answer:
    job, setup, index = task.job, task.setup, task.index
    plan = read_plan(job.partial / PLAN, key=_key(job, setup))
    if plan is None:
        raise SourceError(
            f"{job.video.name}: wanted the plan of its chunks, it is gone; run the same command again"
        )
    first, end = plan.span(index)
    start, state, era = _begin(plan, task)
    timeline = plan.timeline_before(start)
    source = StretchSource(job.video, plan.scan, first=start, end=end, timeline=timeline)
    length_s = plan.scan.stamp_s(end - 1) - plan.scan.stamp_s(first)
    try:
        parts = assemble_parts(setup.pipeline, source.name)
        run = ChunkRun(
            source,
            parts,
            first=first,
            end=end,
            state=state,
            timeline=plan.timeline_before(first) if first else timeline,
            batch=setup.pipeline.batch,
            rle=setup.pipeline.publish.mask_rle,
            hear=lambda frames, time_s: control.hear(
                Far(
                    frames / (end - first) * length_s, length_s, frames, (end - first) / len(plan.scan.stamps)
                )
            ),
            decoded=control.decoded,
        )
    except BaseException:
        source.close()
        raise
    control.holds(run)
    head, writer, last = run.run(plan.chunk_key(index), index, era)
    writer.write(chunk_path(job, index), head, last)
    return ChunkDone(head)


def _begin(plan: ChunkPlan, task: ChunkTask) -> tuple[int, StreamState | None, str | None]:
    """The frame to begin with, what is remembered there, and the era of the seed that was warmed up, if one was."""
    if task.index == 0:
        return 0, None, None
    if task.seed is None:
        return plan.firsts[task.index], read_end(chunk_path(task.job, task.index - 1)), None
    seed = read_end(chunk_path(task.job, task.seed))
    warm = warm_up(plan, task.index, task.seed, seed)
    return warm.first, warm.state, seed.era


def _join(task: JoinTask, control: Control) -> Answer:
    job = task.job
    chunks = [chunk_path(job, index) for index in range(task.chunks)]
    if not is_one_pass(chunks):
        return Uncuttable(f"{job.video.name}: its chunks do not fit together")
    recording, tally = recording_of(job), Tally()
    parts = _with_marks(job, task.setup)
    clear(job, keep=CHUNK)

    def hear(frames: int, time_s: float) -> None:
        if frames % _EVERY == 0:
            control.hear(Far(time_s, recording.duration_s, frames, 0.0))

    def sink() -> FolderSink:
        return FolderSink(job.partial, recording=recording, tally=tally)

    ledger = join(chunks, parts, sink, stopped=control.stopped, hear=hear)
    control.decoded()
    before_s = sum(head.seconds for path in chunks if (head := read_head(path)) is not None)
    return Ended(complete(job, task.setup.pipeline, recording, tally, ledger, before_s=before_s))


def _with_marks(job: Job, setup: Setup) -> Parts:
    marks = read_marks(marks_path(job.video)) if marks_path(job.video).is_file() else None
    return assemble_parts(setup.pipeline, job.video.name, marks=marks)


_EVERY: Final = 16
"""Frames between two words of progress."""
