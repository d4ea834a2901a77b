"""Many recordings, one folder each: nothing lost, nothing done twice, and one bad file spoils no other."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import pytest
import zstandard

from colour_bundle import coloured, write_pipeline
from media_clips import write_clip
from scopeline.batch import Batch, Outcome, plan
from scopeline.commands.interrupt import stops_on_interrupt
from scopeline.config import load_pipeline
from scopeline.errors import ConfigError
from scopeline.picture import picture_from_file
from scopeline.wire import FrameMessage, Message

_ROOT = Path(__file__).parents[1]
_FILES = {
    "frames.jsonl.zst",
    "segments.csv",
    "chapters.vtt",
    "summary.json",
    "events.jsonl",
    "contact_sheet.jpg",
    "field.jpg",
}


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of sigmoid at MES 1, then eight of rectum at MES 3, 150 frames in all."""
    pixels = coloured("sigmoid", 75, seed=1) + coloured("rectum", 75, seed=2)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    stamps_ms = [107 * number for number in range(150)]
    return write_clip(path, pixels=pixels, stamps_ms=stamps_ms, options={"preset": "ultrafast", "g": "25"})


class _Archive:
    """A folder of recordings, a pipeline, a folder of results."""

    def __init__(self, root: Path, clip: Path) -> None:
        self.root, self.clip, self.out = root, clip, root / "results"
        self.pipeline = write_pipeline(root / "pipelines")

    def add(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy2(self.clip, path))

    def run(self, *videos: Path, again: bool = False, out: Path | None = None) -> list[Outcome]:
        pipeline = load_pipeline(self.pipeline)
        return list(Batch(pipeline).work(plan(videos, out or self.out, pipeline), again=again))

    def names(self) -> set[str]:
        """Of the folders of results; the list of them lies beside."""
        return {entry.name for entry in self.out.iterdir() if entry.is_dir()}


@pytest.fixture
def archive(tmp_path: Path, clip: Path) -> _Archive:
    return _Archive(tmp_path, clip)


def _states(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes]


def _summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return content


def _frames(folder: Path) -> list[int]:
    with zstandard.ZstdDecompressor().stream_reader(
        (folder / "frames.jsonl.zst").read_bytes(), read_across_frames=True
    ) as reader:
        return [json.loads(line)["frame"] for line in reader.read().splitlines()]


def test_a_recording_becomes_a_folder_that_other_programs_read(archive: _Archive) -> None:
    (outcome,) = archive.run(archive.add("withdrawal.mp4"))
    assert (outcome.state, outcome.reason) == ("done", "")
    folder = archive.out / "withdrawal"
    assert {file.name for file in folder.iterdir()} == _FILES
    assert archive.names() == {"withdrawal"}
    assert _frames(folder) == list(range(150))
    with (folder / "segments.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["location"], row["mes_dominant"]) for row in rows] == [("sigmoid", "1"), ("rectum", "3")]
    assert float(rows[1]["start_s"]) == pytest.approx(8.0, abs=0.2)
    with av.open(str(folder / "chapters.vtt")) as chapters:
        texts = [bytes(packet).decode() for packet in chapters.demux() if packet.size]
    assert texts == ["sigmoid, MES 1", "rectum, MES 3"]
    for name in ("contact_sheet.jpg", "field.jpg"):
        assert picture_from_file(folder / name).width > 700
    summary = _summary(folder)
    assert (summary["complete"], summary["source"]) == (True, "withdrawal.mp4")
    assert summary["procedure"]["worst_mes"] == 3
    assert summary["ledger"]["captured"] == summary["ledger"]["published"] == 150
    assert summary["recording"]["width_px"] == 192


def test_no_path_and_no_date_is_in_the_results(archive: _Archive) -> None:
    archive.run(archive.add("station_7/withdrawal.mp4"))
    for name in ("summary.json", "segments.csv", "chapters.vtt"):
        text = (archive.out / "withdrawal" / name).read_text()
        assert "station_7" not in text
        assert str(archive.root) not in text


def test_bad_files_are_told_one_by_one_and_the_others_are_done(archive: _Archive) -> None:
    good = [archive.add("first.mp4"), archive.add("last.mp4")]
    text, empty, cut = archive.root / "text.mp4", archive.root / "empty.mp4", archive.root / "cut.mp4"
    text.write_text("this is a letter and no video\n" * 40)
    empty.touch()
    cut.write_bytes(archive.clip.read_bytes()[:20_000])  # its index is at the end, and gone
    folder, missing = archive.root / "folder.mp4", archive.root / "missing.mp4"
    folder.mkdir()
    videos = [good[0], text, empty, folder, missing, cut, good[1]]
    outcomes = archive.run(*videos)
    assert _states(outcomes) == ["done", "failed", "failed", "failed", "failed", "failed", "done"]
    for outcome, word in zip(outcomes[1:6], ("text", "empty", "folder", "not exist", "cut off"), strict=True):
        assert outcome.job.video.name in outcome.reason
        assert word in outcome.reason
    assert archive.names() == {"first", "last"}


def test_a_truncated_copy_fails_and_what_it_held_can_be_read(archive: _Archive) -> None:
    whole = archive.root / "whole.mp4"
    pixels = coloured("sigmoid", 60, seed=3)
    write_clip(whole, pixels=pixels, options={"g": "10"}, container_options={"movflags": "faststart"})
    cut = archive.root / "copy.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    (outcome,) = archive.run(cut)
    assert outcome.state == "failed"
    assert "copy.mp4" in outcome.reason
    assert "copy it again" in outcome.reason
    assert archive.names() == {"copy.partial"}
    partial = archive.out / "copy.partial"
    frames = _frames(partial)
    assert frames == list(range(len(frames)))
    assert 20 < len(frames) < 60
    assert _summary(partial)["complete"] is False
    shutil.copy2(whole, cut)
    assert _states(archive.run(cut)) == ["done"]
    assert archive.names() == {"copy"}


def test_what_is_done_is_left_alone(archive: _Archive) -> None:
    videos = [archive.add("one.mp4"), archive.add("two.mp4")]
    archive.run(videos[0])
    before = {file: file.stat().st_mtime_ns for file in (archive.out / "one").iterdir()}
    assert _states(archive.run(*videos)) == ["already done", "done"]
    assert _states(archive.run(*videos)) == ["already done", "already done"]
    assert {file: file.stat().st_mtime_ns for file in (archive.out / "one").iterdir()} == before
    assert _states(archive.run(videos[0], again=True)) == ["done"]


def test_whatever_decides_the_results_makes_them_be_done_again(archive: _Archive) -> None:
    video = archive.add("one.mp4")
    archive.run(video)
    write_pipeline(archive.root / "pipelines", temperature=2.0)  # the model, same weights
    assert _states(archive.run(video)) == ["done"]
    archive.pipeline.write_text(archive.pipeline.read_text() + "[quality]\nusable_at = 0.4\n")
    assert _states(archive.run(video)) == ["done"]
    (archive.root / "one.marks.toml").write_text('[[marks]]\nat_s = 1.0\nlabel = "caecum"\n')
    assert _states(archive.run(video)) == ["done"]
    assert "caecum" in (archive.out / "one" / "segments.csv").read_text()
    os.utime(video, ns=(0, 0))
    assert _states(archive.run(video)) == ["done"]
    assert _states(archive.run(video)) == ["already done"]
    assert archive.names() == {"one"}


def test_wrong_marks_fail_their_recording_only(archive: _Archive) -> None:
    videos = [archive.add("one.mp4"), archive.add("two.mp4")]
    (archive.root / "one.marks.toml").write_text('[[marks]]\nat = "noon"\nlabel = "caecum"\n')
    outcomes = archive.run(*videos)
    assert _states(outcomes) == ["failed", "done"]
    assert "one.marks.toml" in outcomes[0].reason


def test_recordings_of_one_name_get_folders_of_their_own_and_keep_them(archive: _Archive) -> None:
    first, second = archive.add("monday/case.mp4"), archive.add("tuesday/case.mp4")
    os.utime(second, ns=(0, 0))  # else it is a copy of the same recording
    assert _states(archive.run(second)) == ["done"]
    outcomes = archive.run(first, second, first)
    assert _states(outcomes) == ["done", "already done"]
    assert outcomes[1].job.folder.name == "case"
    assert outcomes[0].job.folder.name.startswith("case-")
    assert len(archive.names()) == 2
    assert _states(archive.run(second, first)) == ["already done", "already done"]


def test_a_recording_that_was_moved_is_recognized(archive: _Archive) -> None:
    video = archive.add("inbox/case.mp4")
    archive.run(video)
    moved = archive.root / "archive" / "case.mp4"
    moved.parent.mkdir()
    video.rename(moved)
    assert _states(archive.run(moved)) == ["already done"]


def test_a_folder_of_somebody_else_is_not_touched(archive: _Archive) -> None:
    theirs = archive.out / "case"
    theirs.mkdir(parents=True)
    (theirs / "thesis.tex").write_text("three years of work")
    (outcome,) = archive.run(archive.add("case.mp4"))
    assert outcome.state == "done"
    assert outcome.job.folder.name.startswith("case-")
    assert [file.name for file in theirs.iterdir()] == ["thesis.tex"]


def test_old_results_stand_until_the_new_ones_are_complete(archive: _Archive) -> None:
    video = archive.add("case.mp4")
    archive.run(video)
    before = (archive.out / "case" / "summary.json").read_text()
    archive.pipeline.write_text(archive.pipeline.read_text() + "[quality]\nusable_at = 0.4\n")
    _, outcomes = _interrupted(archive, [video], at_frame=30)
    assert _states(outcomes) == ["interrupted"]
    assert (archive.out / "case" / "summary.json").read_text() == before
    assert archive.names() == {"case", "case.partial"}


def test_a_process_killed_between_two_renamings_loses_nothing(archive: _Archive) -> None:
    video = archive.add("case.mp4")
    archive.run(video)
    (archive.out / "case").rename(archive.out / "case.old")
    assert _states(archive.run(video)) == ["already done"]
    assert archive.names() == {"case"}


def test_wherever_a_process_is_killed_the_next_one_finds_its_folder_again(
    archive: _Archive, tmp_path: Path
) -> None:
    """Killed before every single change of the disk, each time one later, over what the one before has left."""
    program = tmp_path / "kill_everywhere.py"
    program.write_text(_KILL_EVERYWHERE)
    paths = os.pathsep.join([str(_ROOT / "engine"), str(_ROOT / "tests")])
    told = subprocess.run(
        [sys.executable, str(program), str(archive.pipeline), str(archive.add("case.mp4")), str(archive.out)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    folders = told.stdout.split()
    assert len(folders) > 20
    assert set(folders) == {"case"}
    assert _states(archive.run(archive.root / "case.mp4")) == ["done"]
    assert archive.names() == {"case"}


_KILL_EVERYWHERE = """
import os, signal, sys
from pathlib import Path
from scopeline.batch import clear, held, plan, recording_of
from scopeline.config import load_pipeline
from scopeline.sinks.folder import FolderSink

pipeline, video, out = load_pipeline(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3])
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")

def die_at(count):
    left = [count]
    def hook(event, arguments):
        written = event == "open" and str(out) in str(arguments[0]) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or written:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

code, count = signal.SIGKILL, 0
while code == signal.SIGKILL:
    (job,) = plan([video], out, pipeline)
    print(job.folder.name, flush=True)
    recording = recording_of(job)
    child = os.fork()
    if child == 0:
        die_at(count)
        with held(job):
            clear(job)
            FolderSink(job.partial, recording=recording).close()
            clear(job)
        os._exit(0)
    code, count = os.waitpid(child, 0)[1], count + 1
"""


def _interrupted(archive: _Archive, videos: Sequence[Path], *, at_frame: int) -> tuple[Batch, list[Outcome]]:
    """A run in which Ctrl-C is pressed when a frame comes out of the engine."""
    pipeline = load_pipeline(archive.pipeline)

    def press(message: Message) -> None:
        if isinstance(message, FrameMessage) and message.frame == at_frame and not batch.stopped:
            os.kill(os.getpid(), signal.SIGINT)

    batch = Batch(pipeline, on_message=press)
    with stops_on_interrupt(batch):
        return batch, list(batch.work(plan(videos, archive.out, pipeline)))


def test_ctrl_c_keeps_what_was_judged_and_the_next_call_goes_on(archive: _Archive) -> None:
    videos = [archive.add(f"{name}.mp4") for name in ("one", "two", "three")]
    assert _states(archive.run(videos[0])) == ["done"]
    batch, outcomes = _interrupted(archive, videos, at_frame=40)
    assert batch.stopped
    assert _states(outcomes) == ["already done", "interrupted"]
    partial = archive.out / "two.partial"
    frames = _frames(partial)
    assert frames == list(range(len(frames)))
    assert 41 <= len(frames) < 150
    summary = _summary(partial)
    assert (summary["complete"], summary["ended"]) == (False, "stopped on request")
    assert summary["ledger"]["captured"] == len(frames) + sum(summary["ledger"]["lost"].values())
    assert "sigmoid" in (partial / "segments.csv").read_text()
    assert _states(archive.run(*videos)) == ["already done", "done", "done"]
    assert archive.names() == {"one", "two", "three"}
    assert _frames(archive.out / "two") == list(range(150))


def test_two_runs_do_not_work_on_one_recording(archive: _Archive) -> None:
    video = archive.add("case.mp4")
    pipeline = load_pipeline(archive.pipeline)
    inner: list[Outcome] = []

    def run_again(message: Message) -> None:
        if isinstance(message, FrameMessage) and message.frame == 50:
            inner.extend(Batch(pipeline).work(plan([video], archive.out, pipeline)))

    outer = list(Batch(pipeline, on_message=run_again).work(plan([video], archive.out, pipeline)))
    assert _states(inner) == ["failed"]
    assert "another run" in inner[0].reason
    assert _states(outer) == ["done"]
    assert _frames(archive.out / "case") == list(range(150))


def test_a_full_disk_or_a_file_in_the_way_fails_with_its_name(archive: _Archive) -> None:
    archive.out.write_text("a file where the results should go")
    (outcome,) = archive.run(archive.add("case.mp4"))
    assert outcome.state == "failed"
    assert "results" in outcome.reason


def test_a_pipeline_that_does_not_exist_is_an_error_of_configuration(archive: _Archive) -> None:
    with pytest.raises(ConfigError, match="no such pipeline"):
        load_pipeline(archive.root / "nothing.toml")


# The command as it is typed.

_PROGRAM = "import typer; from scopeline.commands.batch import batch; typer.run(batch)"


def _command(archive: _Archive, *videos: Path) -> subprocess.Popen[str]:
    arguments = [*map(str, videos), "-p", str(archive.pipeline), "-o", str(archive.out), "--workers", "1"]
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *arguments],
        env=os.environ | {"PYTHONPATH": str(_ROOT / "engine"), "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_command_says_what_became_of_each_recording(archive: _Archive) -> None:
    bad = archive.root / "letter.mp4"
    bad.write_text("no video")
    with _command(archive, archive.add("case.mp4"), bad) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    told = sorted(line.split()[:2] for line in said.splitlines()[:2])
    assert told == [["done", "case.mp4"], ["failed", "letter.mp4"]]
    row = next(line for line in said.splitlines() if "case.mp4" in line and "150" in line)
    assert "3" in row
    assert "results" in said
    with _command(archive, archive.add("case.mp4")) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "already done" in said


def test_ctrl_c_ends_the_command_with_130_and_whole_files(archive: _Archive, tmp_path: Path) -> None:
    pixels = coloured("rectum", 900, seed=5, width=96, height=72)
    long = write_clip(tmp_path / "long.mp4", pixels=pixels, options={"preset": "ultrafast"})
    with _command(archive, archive.add("short.mp4"), long) as process:
        assert process.stdout is not None
        assert "short.mp4" in process.stdout.readline()  # done; the long one is next
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert archive.names() - {"long.partial"} == {"short"}
    assert {file.name for file in (archive.out / "short").iterdir()} == _FILES


def test_a_killed_command_loses_nothing_that_was_done_and_is_gone_on_with(
    archive: _Archive, tmp_path: Path
) -> None:
    pixels = coloured("rectum", 600, seed=5, width=96, height=72)
    long = write_clip(tmp_path / "long.mp4", pixels=pixels, options={"preset": "ultrafast"})
    short = archive.add("short.mp4")
    with _command(archive, short, long) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert _states(archive.run(short, long)) == ["already done", "done"]
    assert archive.names() == {"short", "long"}
    assert _frames(archive.out / "long") == list(range(600))


def test_a_defect_that_cannot_even_be_written_down_stops_no_other_recording(archive: _Archive) -> None:
    videos = [archive.add("a.mp4"), archive.add("b.mp4")]
    pipeline = load_pipeline(archive.pipeline)

    def fail(message: Message) -> None:
        for partial in archive.out.glob("*.partial"):
            (partial / ".error.txt.new").mkdir(exist_ok=True)  # nothing can be written there any more
        raise RuntimeError("a defect")

    outcomes = list(Batch(pipeline, on_message=fail).work(plan(videos, archive.out, pipeline)))
    assert [outcome.state for outcome in outcomes] == ["failed", "failed"]
    assert all("a defect" in outcome.reason for outcome in outcomes)
