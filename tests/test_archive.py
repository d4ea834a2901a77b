"""Many recordings, many workers: who is asked for what, what a death costs, what is written down."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from colour_bundle import coloured, write_pipeline
from inline_workers import InlineWorkers
from media_clips import write_clip
from scopeline.archive.archive import Archive
from scopeline.archive.chunk_file import ChunkHead
from scopeline.archive.code import code_hash
from scopeline.archive.local_workers import LocalWorkers
from scopeline.archive.manifest import MANIFEST, read_manifest
from scopeline.archive.perform import Control, perform
from scopeline.archive.recordings import find_recordings
from scopeline.archive.schedule import Schedule
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
    Task,
)
from scopeline.batch import Job, Outcome, plan
from scopeline.config import BundleChoice, Pipeline, load_pipeline
from scopeline.errors import ConfigError
from scopeline.run_stamps import digests

_SETUP = Setup(Pipeline(name="none", bundles=(BundleChoice(path="none"),)), 300.0)


def _job(name: str) -> Job:
    return Job(Path(f"{name}.mp4"), Path(f"out/{name}"), name, None)


def _done(job: Job) -> Ended:
    return Ended(Outcome(job, "done", None))


def _failed(job: Job) -> Ended:
    return Ended(Outcome(job, "failed", None, "no video"))


def _head(index: int, begun: str, ended: str, *, seed_era: str | None = None, era: str = "one") -> ChunkDone:
    return ChunkDone(
        ChunkHead(
            key="key",
            index=index,
            frames=4,
            begun=begun,
            ended=ended,
            seed_era=seed_era,
            era=era,
            first_picture=f"picture {index}",
            next_picture=f"picture {index + 1}",
        )
    )


def _next(schedule: Schedule) -> tuple[int, Task]:
    given = schedule.next()
    assert given is not None
    return given


def test_recordings_that_fail_are_tried_again_after_all_others_as_often_as_told() -> None:
    schedule = Schedule([_job("bad"), _job("good")], _SETUP, retries=1)
    order = []
    outcomes: list[Outcome] = []
    while not schedule.is_over:
        ticket, task = _next(schedule)
        order.append(task.job.place)
        outcomes += schedule.answer(ticket, _failed(task.job) if task.job.place == "bad" else _done(task.job))
    assert order == ["bad", "good", "bad"]
    assert [(outcome.job.place, outcome.state) for outcome in outcomes] == [
        ("good", "done"),
        ("bad", "failed"),
    ]


def test_a_recording_over_which_workers_keep_dying_fails_and_one_that_lay_ready_is_not_blamed() -> None:
    schedule = Schedule([_job("killer"), _job("victim")], _SETUP)
    outcomes: list[Outcome] = []
    deaths = 0
    while not outcomes:
        (ticket, task), (other, waiting) = _next(schedule), _next(schedule)
        assert {task.job.place, waiting.job.place} == {"killer", "victim"}
        deaths += 1
        for each, it in ((ticket, task), (other, waiting)):
            outcomes += schedule.lost(each, "ended with -9", begun=it.job.place == "killer")
    assert outcomes[0].job.place == "killer"
    assert "-9" in outcomes[0].reason
    assert deaths == 4
    ticket, task = _next(schedule)
    assert [outcome.state for outcome in schedule.answer(ticket, _done(task.job))] == ["done"]
    assert schedule.is_over


def test_chunks_go_one_by_one_while_there_is_other_work_and_ahead_when_there_is_none() -> None:
    schedule = Schedule([_job("long"), _job("short")], _SETUP)
    ticket, task = _next(schedule)
    schedule.answer(ticket, Cut(4, 16, True, ()))
    first, task = _next(schedule)
    assert isinstance(task, ChunkTask)
    assert (task.index, task.seed) == (0, None)
    _, task = _next(schedule)
    assert isinstance(task, RecordingTask)
    assert schedule.next() is None  # no state is known yet from which to warm up
    schedule.answer(first, _head(0, FRESH, "a"))
    given = [_next(schedule)[1] for _ in range(3)]
    assert [(one.index, one.seed) for one in given if isinstance(one, ChunkTask)] == [
        (1, None),
        (2, 0),
        (3, 0),
    ]
    assert schedule.next() is None


def test_a_chunk_that_began_in_the_wrong_state_is_done_again_from_the_right_one() -> None:
    schedule = Schedule([_job("long")], _SETUP)
    ticket, _ = _next(schedule)
    schedule.answer(ticket, Cut(3, 12, True, ()))
    ticket, _ = _next(schedule)
    schedule.answer(ticket, _head(0, FRESH, "a"))
    exact, _ = _next(schedule)
    ahead, _ = _next(schedule)
    schedule.answer(ahead, _head(2, "guess", "z", seed_era="one"))
    schedule.answer(exact, _head(1, "a", "b"))
    again, task = _next(schedule)
    assert isinstance(task, ChunkTask)
    assert (task.index, task.seed) == (2, None)
    schedule.answer(again, _head(2, "b", "c"))
    ticket, task = _next(schedule)
    assert isinstance(task, JoinTask)
    assert schedule.done_again == 1
    schedule.answer(ticket, _done(task.job))
    assert schedule.is_over


def test_a_recording_whose_pieces_show_other_pictures_is_worked_on_in_one_pass() -> None:
    schedule = Schedule([_job("long")], _SETUP)
    ticket, _ = _next(schedule)
    schedule.answer(ticket, Cut(2, 8, True, ()))
    ticket, _ = _next(schedule)
    schedule.answer(ticket, _head(0, FRESH, "a"))
    ticket, _ = _next(schedule)
    other = _head(1, "a", "b").head
    schedule.answer(ticket, ChunkDone(_with_first_picture(other, "another")))
    _, task = _next(schedule)
    assert isinstance(task, RecordingTask)
    assert task.whole


def _with_first_picture(head: ChunkHead, digest: str) -> ChunkHead:
    return msgspec.structs.replace(head, first_picture=digest)


# What a person names.


def test_folders_patterns_and_lists_stand_for_their_recordings(tmp_path: Path) -> None:
    for name in (
        "a/one.MP4",
        "a/deep/two.mkv",
        "a/.hidden/no.mp4",
        "a/notes.md",
        "b/three.mp4",
        "results/old.mp4",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("# monday\nb/three.mp4\n\nb/gone.mp4\n")
    (tmp_path / "table.csv").write_text("age,video\n44,a/one.MP4\n", encoding="utf-8-sig")

    def names(*inputs: str) -> list[str]:
        found = find_recordings([str(tmp_path / each) for each in inputs], leave_out=tmp_path / "results")
        return [str(each.video.relative_to(tmp_path)) for each in found]

    assert names("a") == ["a/deep/two.mkv", "a/one.MP4"]
    assert names("") == ["a/deep/two.mkv", "a/one.MP4", "b/three.mp4"]
    assert names("*/*.mp4") == ["b/three.mp4", "results/old.mp4"]
    assert names("list.txt", "b/three.mp4") == ["b/three.mp4", "b/gone.mp4"]
    (named,) = find_recordings([str(tmp_path / "a/one.MP4"), str(tmp_path / "table.csv")])
    assert named.metadata == {"age": "44"}


@pytest.mark.parametrize(
    "content", ["name\nx.mp4\n", "video,age\nx.mp4\n", "video,age\n,4\n", "video\nx.mp4,4\n"]
)
def test_a_table_that_is_not_one_is_refused(tmp_path: Path, content: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(content)
    with pytest.raises(ConfigError, match=r"table\.csv"):
        find_recordings([str(table)])


def test_a_folder_or_pattern_without_recordings_is_refused(tmp_path: Path) -> None:
    for text in (str(tmp_path), str(tmp_path / "*.mp4")):
        with pytest.raises(ConfigError, match="none"):
            find_recordings([text])


# With real recordings.


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(
        path, pixels=coloured("sigmoid", 24, width=64, height=48), options={"preset": "ultrafast"}
    )


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return load_pipeline(write_pipeline(tmp_path / "pipelines"))


def _copies(clip: Path, folder: Path, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).write_bytes(clip.read_bytes())
        os.utime(folder / name, ns=(number, number))
    return [folder / name for name in names]


def test_the_manifest_says_what_became_of_each_and_from_what(
    tmp_path: Path, clip: Path, pipeline: Pipeline
) -> None:
    (good,) = _copies(clip, tmp_path / "in", "good.mp4")
    bad = tmp_path / "in" / "bad.mp4"
    bad.write_text("a letter")
    out = tmp_path / "out"
    jobs = plan([good, bad], out, pipeline, {good: {"age": "44"}})
    list(Archive(Setup(pipeline, 300.0), InlineWorkers(1), out).work(jobs))
    lines = {line["file"]: line for line in map(json.loads, (out / MANIFEST).read_text().splitlines())}
    assert (lines["good.mp4"]["state"], lines["good.mp4"]["metadata"]) == ("done", {"age": "44"})
    hashes = lines["good.mp4"]["inputs"]
    assert hashes["code"] == code_hash()
    assert all(hashes[name].startswith("sha256:") for name in ("video", "config", "code"))
    assert lines["bad.mp4"]["state"] == "failed"
    assert "bad.mp4" in lines["bad.mp4"]["reason"]
    assert str(tmp_path) not in (out / MANIFEST).read_text()


def test_a_cut_line_of_the_manifest_is_ignored_and_the_newest_line_counts(tmp_path: Path) -> None:
    line = '{"place":"p","file":"a.mp4","folder":"a","state":"%s","inputs":null}\n'
    path = tmp_path / MANIFEST
    path.write_text(line % "failed" + line % "done" + '{"place":"q","fil')
    assert {place: entry.state for place, entry in read_manifest(path).items()} == {"p": "done"}


def test_new_metadata_is_brought_into_results_that_stand(
    tmp_path: Path, clip: Path, pipeline: Pipeline
) -> None:
    (video,) = _copies(clip, tmp_path / "in", "case.mp4")
    out = tmp_path / "out"
    setup = Setup(pipeline, 300.0)
    list(Archive(setup, InlineWorkers(1), out).work(plan([video], out, pipeline)))
    jobs = plan([video], out, pipeline, {video: {"site": "7"}})
    (outcome,) = Archive(setup, InlineWorkers(1), out).work(jobs)
    assert outcome.state == "already done"
    assert json.loads((out / "case/summary.json").read_text())["recording"]["metadata"] == {"site": "7"}
    (outcome,) = Archive(setup, InlineWorkers(1), out).work(plan([video], out, pipeline))
    assert outcome.reason == ""


def _die_over_the_second(task: Task, control: Control) -> Answer:
    if task.job.video.name == "second.mp4":
        flag = task.job.folder.with_name("died")
        if not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return perform(task, control)


def test_processes_give_what_this_one_gives_also_when_one_is_killed(
    tmp_path: Path, clip: Path, pipeline: Pipeline
) -> None:
    videos = _copies(clip, tmp_path / "in", "first.mp4", "second.mp4", "third.mp4")
    setup = Setup(pipeline, 300.0)
    here, there = tmp_path / "here", tmp_path / "there"
    list(Archive(setup, InlineWorkers(1), here).work(plan(videos, here, pipeline)))
    with closing(LocalWorkers(2, _die_over_the_second)) as workers:
        outcomes = list(Archive(setup, workers, there).work(plan(videos, there, pipeline)))
    assert {outcome.reason: outcome.state for outcome in outcomes} == {"": "done"}
    assert (there / "died").exists()
    for name in ("first", "second", "third"):
        assert digests(here / name) == digests(there / name)


def test_a_worker_with_another_scopeline_is_refused(tmp_path: Path, clip: Path, pipeline: Pipeline) -> None:
    (video,) = _copies(clip, tmp_path / "in", "case.mp4")
    (job,) = plan([video], tmp_path / "out", pipeline)
    assert job.inputs is not None
    foreign = Job(job.video, job.folder, job.place, msgspec.structs.replace(job.inputs, code="sha256:other"))
    answer = perform(RecordingTask(foreign, Setup(pipeline, 300.0)), Control())
    assert isinstance(answer, Ended)
    assert "another Scopeline" in answer.outcome.reason
