"""Batch: many recordings, one folder of results each, and no work done twice.

A recording is worked on in `<name>.partial`, which becomes `<name>` in one step when everything is in place.
What is found there with the same recording, pipeline, models and marks is left as it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import msgspec

from scopeline.archive.code import code_hash
from scopeline.assemble import assemble, installed_version, profile_paths
from scopeline.bundle import Bundle, load_bundle
from scopeline.config import Pipeline
from scopeline.contact_sheet import Cutout
from scopeline.crop import View
from scopeline.engine import Engine, RunReport
from scopeline.errors import ScopelineError, SinkError, SourceError
from scopeline.frame import Frame
from scopeline.freed_memory import return_freed_memory
from scopeline.marks import marks_path, read_marks
from scopeline.notices import Notices, Trouble
from scopeline.outputs.findings import Findings
from scopeline.outputs.kinds import missing_outputs, with_what_was_there, withdraw_pictures, write_outputs
from scopeline.pictures import FIELD, cutouts_of, wanted_frames, write_pictures
from scopeline.replace_file import cannot_write, replace_file, unfinished
from scopeline.results_folder import SUMMARY, read_frames, read_tally
from scopeline.sinks.folder import FolderSink, write_tables
from scopeline.sources.key_frames import key_frames
from scopeline.sources.media import MediaSource, probe
from scopeline.sources.nvdec import Nvdec
from scopeline.summary import Inputs, Recording, Summary, summarize
from scopeline.tally import Tally
from scopeline.wire import LedgerReport, MaskResult, Message

PARTIAL: Final = ".partial"
REPLACED: Final = ".old"
ERROR: Final = "error.txt"
_ENDS_BYTES: Final = 1 << 20

State = Literal["done", "already done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Job:
    """A recording and where its results go."""

    video: Path
    folder: Path
    place: str
    """Hash of the recording's path."""
    inputs: Inputs | None
    """None when the recording cannot be read; working on it says why."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the list of recordings says of it."""

    @property
    def partial(self) -> Path:
        return self.folder.with_name(self.folder.name + PARTIAL)

    @property
    def replaced(self) -> Path:
        return self.folder.with_name(self.folder.name + REPLACED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job."""

    job: Job
    state: State
    summary: Summary | None
    reason: str = ""
    """Why it failed, or what to know of it."""


class Batch:
    """Works through recordings in this process, one after the other.

    Args:
        pipeline: The set-up, the same for all.
        decode_ahead: A core is idle beside this process: decode in a thread of its own.
        on_start: Called before a recording is read, with its length in seconds where it is known.
        on_message: Called with every message of every run, in the engine's thread.
        on_decoded: Called when a recording's last picture has been decoded; others are still being judged then.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        decode_ahead: bool = False,
        on_start: Callable[[Job, float | None], None] = lambda job, duration_s: None,
        on_message: Callable[[Message], None] | None = None,
        on_decoded: Callable[[], None] = lambda: None,
    ) -> None:
        self._pipeline, self._decode_ahead = pipeline, decode_ahead
        self._on_start, self._on_message, self._on_decoded = on_start, on_message, on_decoded
        self._engine: Engine | None = None
        self.stopped = False

    def stop(self) -> None:
        """End the recording at work and begin no other. From any thread, also from a signal handler."""
        self.stopped = True
        if self._engine is not None:
            self._engine.stop()

    def work(self, jobs: Sequence[Job], *, again: bool = False) -> Iterator[Outcome]:
        """Every job's outcome, as it ends; none of those that were not begun when `stop` was called.

        Args:
            again: Also work on what is done already.
        """
        for job in jobs:
            if self.stopped:
                return
            finished = None if again else finished_summary(job)
            yield Outcome(job, "already done", finished) if finished else self._guarded(job)

    def _guarded(self, job: Job) -> Outcome:
        """One recording's failure, of whatever kind, must not take the night's other two hundred with it."""
        try:
            with held(job):
                clear(job)
                outcome = self.work_on(job)
                if outcome.state == "done":
                    put_in_place(job)
                return outcome
        except Exception as error:
            return failure(job, error)

    def work_on(self, job: Job) -> Outcome:
        """One recording, in one pass, into its working folder, which is the caller's to hold and to put in place."""
        recording, tally = recording_of(job), Tally()
        report = self._run_engine(job, lambda: FolderSink(job.partial, recording=recording, tally=tally))
        if report.ended == "stopped":
            summary = summarize(tally, recording)
            kept = f"what was judged is in {job.partial.name}; the same command begins it anew"
            return Outcome(job, "interrupted", summary, kept)
        return complete(job, self._pipeline, recording, tally, report.ledger)

    def _run_engine(self, job: Job, make_sink: Callable[[], FolderSink]) -> RunReport:
        marks = read_marks(marks_path(job.video)) if marks_path(job.video).is_file() else None
        # One decoding thread: cores are filled by several recordings, and a damaged one decodes alike everywhere.
        notices = Notices()
        source = _Told(
            MediaSource(job.video, threads=1, nvdec=_nvdec(self._pipeline, notices)), self._on_decoded
        )
        self._on_start(job, source.duration_s)
        try:
            self._engine = assemble(
                self._pipeline,
                source,
                [make_sink],
                live=False,
                bulk=True,
                decode_ahead=self._decode_ahead,
                marks=marks,
                on_message=self._on_message,
                notices=notices,
            )
            if self.stopped:  # asked while the models were loaded
                self._engine.stop()
            return self._engine.run()
        finally:
            self._engine = None
            source.close()


def _nvdec(pipeline: Pipeline, notices: Notices) -> Nvdec | None:
    """The GPU's decoder where the pipeline asks for it. Recordings that are cut into pieces for several workers are
    decoded on the CPU all the same: their pieces begin in the middle of a stream."""
    if not pipeline.gpu.decode:
        return None
    return Nvdec(pipeline.gpu.device, lambda text: notices.post(Trouble.GPU_FAILED, text))


class _Told:
    """A source that tells when its last picture has been decoded."""

    def __init__(self, source: MediaSource, on_decoded: Callable[[], None]) -> None:
        self._source, self._on_decoded = source, on_decoded
        self.name, self.duration_s, self.close = source.name, source.duration_s, source.close

    @property
    def damaged(self) -> Mapping[str, int]:
        return self._source.damaged

    def frames(self) -> Iterator[Frame]:
        yield from self._source.frames()
        self._on_decoded()


def complete(
    job: Job,
    pipeline: Pipeline,
    recording: Recording,
    tally: Tally,
    ledger: LedgerReport,
    *,
    before_s: float = 0.0,
) -> Outcome:
    """What is written when all of a recording was judged: pictures, and whatever else is made of the whole.

    Args:
        before_s: Wall time that was spent on it before the messages that the tally counted.
    """
    summary = summarize(tally, recording, before_s=before_s)
    cut = _cut_off(ledger, summary)
    if cut:
        summary = msgspec.structs.replace(summary, complete=False, ended="the file is cut off")
    return_freed_memory()
    cutouts = _draw(job, pipeline, tally, summary) if pipeline.results.pictures else {}
    wanted = with_what_was_there(job.folder, pipeline.results)
    write_outputs(Findings(job.partial, job.video, tally, summary, cutouts), wanted)
    if cut or before_s:
        write_tables(job.partial, tally, summary)
    if cut:
        return Outcome(
            job, "failed", summary, f"{job.video.name}: {cut} in {job.partial.name}; copy it again"
        )
    damage = [f"{count} {reason}" for reason, count in ledger.damaged.items()]
    return Outcome(job, "done", summary, ", ".join([*damage, *tally.troubles]))


def add_outputs(job: Job, pipeline: Pipeline) -> None:
    """Make what a finished folder lacks of what is wanted, and take pictures away that are not, without judging the
    recording again.

    Raises:
        SourceError: the recording or its results cannot be read.
        SinkError: the folder cannot be written.
    """
    if not pipeline.results.pictures and (job.folder / FIELD).exists():
        withdraw_pictures(job.folder)
    lacking = missing_outputs(job.folder, pipeline.results)
    summary = read_summary(job.folder)
    if not lacking or summary is None:
        return
    tally = read_tally(job.folder)
    shown = wanted_frames(tally) if pipeline.results.pictures else {}
    cutouts = cutouts_of(tally, key_frames(job.video, shown, stream_s=tally.stream_s, folder=job.folder))
    write_outputs(Findings(job.folder, job.video, tally, summary, cutouts), pipeline.results, lacking)


def failure(job: Job, error: Exception) -> Outcome:
    """The outcome of a recording on which somebody failed; a defect of ours leaves its traceback in the folder."""
    if isinstance(error, ScopelineError):
        return Outcome(job, "failed", None, str(error))
    with suppress(SinkError):  # the disk may be what failed
        if job.partial.is_dir():
            replace_file(job.partial / ERROR, "".join(traceback.format_exception(error)).encode())
    what = f"{type(error).__name__}: {error}"
    return Outcome(job, "failed", None, f"{what}. A defect of Scopeline: please report it with {ERROR}")


def _draw(job: Job, pipeline: Pipeline, tally: Tally, summary: Summary) -> Mapping[int, Cutout]:
    bundles = [load_bundle(pipeline.bundle_path(choice)) for choice in pipeline.bundles]
    first = bundles[0].input
    frames = key_frames(job.video, wanted_frames(tally), stream_s=tally.stream_s, folder=job.partial)
    return_freed_memory()
    view = View(first.crop, first.width, first.height)
    marked = _marked(job.partial, bundles, frames)
    write_pictures(job.partial, tally, summary, frames, view, marked=marked)
    return cutouts_of(tally, frames)


def _marked(folder: Path, bundles: Sequence[Bundle], wanted: Collection[int]) -> dict[int, list[MaskResult]]:
    """What is marked on these frames, by number. All frames are only read again where something can be marked."""
    marks = any(head.role == "mask" for bundle in bundles for head in bundle.heads)
    frames = read_frames(folder) if marks else ()
    return {each.frame: list(each.masks.values()) for each in frames if each.masks and each.frame in wanted}


def plan(
    videos: Sequence[Path],
    out: Path,
    pipeline: Pipeline,
    metadata: Mapping[Path, Mapping[str, str]] | None = None,
) -> list[Job]:
    """A job for each recording, each with a folder of its own.

    The folder is named after the file. If another recording has that name already, six digits that stand for
    the path are added. The same path given twice is one job.

    Args:
        metadata: By recording, what a list says of it.

    Raises:
        BundleError, ConfigError: a model of the pipeline is damaged, or its scope profile is missing.
    """
    bundles = {
        Path(choice.path).name: _hash_of_bundle(pipeline.bundle_path(choice)) for choice in pipeline.bundles
    }
    profile = _hash_of_profiles(profile_paths(pipeline))
    jobs: dict[str, Job] = {}
    for video in videos:
        place = hashlib.sha256(str(video.resolve()).encode()).hexdigest()[:12]
        if place in jobs:
            continue
        print_ = _fingerprint(video)
        inputs = None
        if print_ is not None:
            inputs = Inputs(
                video=print_,
                version=installed_version(),
                config=pipeline.hash,
                bundles=bundles,
                marks=_hash_of_file(marks_path(video)),
                profile=profile,
                code=code_hash(),
            )
        taken = {job.folder for job in jobs.values()}
        folder = _choose_folder(out, video.stem, place, print_, taken)
        jobs[place] = Job(video, folder, place, inputs, (metadata or {}).get(video, {}))
    return list(jobs.values())


def finished_summary(job: Job) -> Summary | None:
    """The summary of a job whose results are complete and come from the very same inputs."""
    if not job.folder.exists() and job.replaced.is_dir():
        job.replaced.rename(job.folder)  # killed between the two renamings of `put_in_place`
    summary = read_summary(job.folder)
    if summary is None or not summary.complete or summary.recording is None:
        return None
    return summary if summary.recording.inputs == job.inputs else None


def read_summary(folder: Path) -> Summary | None:
    """The summary in a folder of results; None when the folder is something else."""
    try:
        return msgspec.json.decode((folder / SUMMARY).read_bytes(), type=Summary)
    except (OSError, msgspec.DecodeError):
        return None


def _choose_folder(out: Path, stem: str, place: str, video: str | None, taken: set[Path]) -> Path:
    """The folder that holds this recording's results already, or else one that nobody has."""
    names = [f"{stem}-{place[:6]}", f"{stem}-{place}"]
    if not stem.endswith((PARTIAL, REPLACED)):
        names.insert(0, stem)
    folders = [out / name for name in names if out / name not in taken]
    owners = {folder: _owners(folder) for folder in folders}
    for folder in folders:
        if any(owner is not None and owner.place == place for owner in owners[folder]):
            return folder
    for folder in folders:
        if any(owner is not None and owner.inputs.video == video for owner in owners[folder]):
            return folder
    for folder in folders:
        if not owners[folder]:
            return folder
    raise SinkError(f"{out}: has folders named {names} that are no results of Scopeline; name another folder")


def _owners(folder: Path) -> list[Recording | None]:
    """Whose results stand there, finished or not; None for a folder that is not ours to touch."""
    found: list[Recording | None] = []
    for suffix in ("", PARTIAL, REPLACED):
        place = folder.with_name(folder.name + suffix)
        if place.exists() and not _is_unclaimed(place):
            summary = read_summary(place)
            found.append(summary.recording if summary else None)
    return found


def _is_unclaimed(folder: Path) -> bool:
    """Nothing is in it, or no more than what a process had written of its claim when it was killed."""
    return folder.is_dir() and {each.name for each in folder.iterdir()} <= {unfinished(Path(SUMMARY)).name}


@contextmanager
def held(job: Job) -> Iterator[None]:
    """The job's working folder, locked against a second run over the same recording.

    Raises:
        SinkError: it cannot be made, or another run has it.
    """
    if not job.video.is_file():
        raise _not_a_file(job.video)
    try:
        job.partial.mkdir(parents=True, exist_ok=True)
        handle = os.open(job.partial, os.O_RDONLY)
    except OSError as error:
        raise cannot_write(job.partial, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SinkError(f"{job.partial}: another run is at work there; wait for it") from error
        yield
    finally:
        os.close(handle)
        _remove_if_empty(job.partial)


def _remove_if_empty(folder: Path) -> None:
    """A recording that could not be opened leaves nothing behind."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def clear(job: Job, *, keep: str = "") -> None:
    """Empty the working folder, but for files whose names begin with `keep`. What says whose it is goes last, and stays
    where anything does."""
    for left in sorted(job.partial.iterdir(), key=lambda each: each.name == SUMMARY):
        if keep and left.name.startswith((keep, SUMMARY)):
            continue
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def put_in_place(job: Job) -> None:
    """`<name>.partial` becomes `<name>`; at no moment are there neither the old results nor the new ones."""
    try:
        shutil.rmtree(job.replaced, ignore_errors=True)
        if job.folder.exists():
            job.folder.rename(job.replaced)
        job.partial.rename(job.folder)
        shutil.rmtree(job.replaced, ignore_errors=True)
    except OSError as error:
        raise cannot_write(job.folder, error) from error


def recording_of(job: Job) -> Recording:
    """The file as it is.

    Raises:
        SourceError: it cannot be read, or holds no picture.
    """
    if job.inputs is None:
        raise SourceError(f"{job.video}: wanted a video file, may not read this one; check its permissions")
    facts = probe(job.video)
    return Recording(
        file=job.video.name,
        bytes=job.video.stat().st_size,
        duration_s=facts.duration_s,
        width_px=facts.width_px,
        height_px=facts.height_px,
        fps=facts.fps,
        codec=facts.codec,
        place=job.place,
        inputs=job.inputs,
        metadata=dict(job.metadata),
    )


def _not_a_file(video: Path) -> SourceError:
    if video.is_dir():
        return SourceError(
            f"{video}: wanted a video file, got a folder; give the files in it, as {video}/*.mp4"
        )
    what = "is a device or pipe" if video.exists() else "does not exist"
    return SourceError(f"{video}: wanted a video file, this {what}; check the path")


def _cut_off(ledger: LedgerReport, summary: Summary) -> str:
    if not ledger.damaged.get("truncated"):
        return ""
    declared = summary.recording.duration_s if summary.recording else None
    of = f" of {declared:.1f} s" if declared else ""
    return f"the file ends before its own headers say; {summary.stream_s:.1f} s{of} were judged and are"


def _fingerprint(video: Path) -> str | None:
    """`sha256:<12 digits>` of size, time of change and both ends of a file; None when it cannot be read."""
    try:
        if not video.is_file():
            return None
        facts = video.stat()
        digest = hashlib.sha256(f"{facts.st_size} {facts.st_mtime_ns}".encode())
        with video.open("rb") as file:
            digest.update(file.read(_ENDS_BYTES))
            file.seek(max(facts.st_size - _ENDS_BYTES, 0))
            digest.update(file.read(_ENDS_BYTES))
    except OSError:
        return None
    return f"sha256:{digest.hexdigest()[:12]}"


def _hash_of_bundle(folder: Path) -> str:
    load_bundle(folder)  # the description names the weights' hash; this has checked it
    return _hash_of_file(folder / "bundle.toml") or ""


def _hash_of_profiles(paths: Sequence[Path]) -> str | None:
    """Of every scope profile that may decide where the field is; None without one."""
    held = [path for path in paths if path.is_file()]
    whole = hashlib.sha256(b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in held))
    return f"sha256:{whole.hexdigest()[:12]}" if held else None


def _hash_of_file(path: Path) -> str | None:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}" if path.is_file() else None
