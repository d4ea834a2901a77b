"""Long recordings in pieces: the pieces add up to one pass, whoever worked on them and in whatever order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from colour_bundle import coloured, write_pipeline
from inline_workers import InlineWorkers
from media_clips import write_clip
from scopeline.archive.archive import Archive
from scopeline.archive.chunk_file import read_end, read_head
from scopeline.archive.perform import CHUNK, chunk_path
from scopeline.archive.stream_state import decode_state
from scopeline.archive.task import ChunkTask, JoinTask, RecordingTask, Setup, Task
from scopeline.batch import Batch, Outcome, plan
from scopeline.config import Pipeline, load_pipeline
from scopeline.picture import Pixels
from scopeline.run_stamps import digests
from scopeline.sources.packet_scan import scan_packets

_FPS = 2
_PLACES = ("sigmoid", "rectum", "outside", "sigmoid")
_CHUNK_S = 45.0
"""Half as long again and the recording is cut: 160 s in four pieces."""


def _film(border: Callable[[int], int], places: Sequence[str] = _PLACES) -> list[Pixels]:
    """A film that changes place every 40 s, in a black frame of some pixels."""
    pixels = [
        one
        for seed, place in enumerate(places)
        for one in coloured(place, 80, seed=seed, width=96, height=72)
    ]
    for number, one in enumerate(pixels):
        black = np.zeros_like(one)
        edge = border(number)
        black[edge : 72 - edge, edge : 96 - edge] = one[edge : 72 - edge, edge : 96 - edge]
        pixels[number] = black
    return pixels


def _write(path: Path, pixels: list[Pixels], **options: str) -> Path:
    stamps = [1000 // _FPS * number for number in range(len(pixels))]
    options = {"preset": "ultrafast", "g": "7", "sc_threshold": "0", "bf": "2"} | options
    return write_clip(path, pixels=pixels, stamps_ms=stamps, options=options)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("steady") / "long.mp4", _film(lambda number: 8))


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return load_pipeline(write_pipeline(tmp_path / "pipelines"))


def _one_pass(video: Path, out: Path, pipeline: Pipeline) -> dict[str, str]:
    (outcome,) = Batch(pipeline).work(plan([video], out, pipeline))
    assert outcome.state == "done", outcome.reason
    return digests(outcome.job.folder)


def _in_pieces(
    video: Path, out: Path, pipeline: Pipeline, workers: InlineWorkers, *, chunk_s: float = _CHUNK_S
) -> Outcome:
    archive = Archive(Setup(pipeline, chunk_s), workers, out)
    (outcome,) = archive.work(plan([video], out, pipeline))
    return outcome


def test_pieces_one_after_the_other_add_up_to_one_pass(
    tmp_path: Path, steady: Path, pipeline: Pipeline
) -> None:
    tasks: list[Task] = []
    outcome = _in_pieces(steady, tmp_path / "pieces", pipeline, InlineWorkers(1, heard=tasks.append))
    assert outcome.state == "done", outcome.reason
    assert [type(task) for task in tasks] == [RecordingTask, *[ChunkTask] * 4, JoinTask]
    assert digests(outcome.job.folder) == _one_pass(steady, tmp_path / "whole", pipeline)
    assert not list(outcome.job.folder.glob(f"{CHUNK}*"))


def test_pieces_begun_ahead_of_their_turn_fit_when_nothing_happened(
    tmp_path: Path, steady: Path, pipeline: Pipeline
) -> None:
    tasks: list[Task] = []
    outcome = _in_pieces(steady, tmp_path / "pieces", pipeline, InlineWorkers(3, heard=tasks.append))
    assert outcome.state == "done", outcome.reason
    chunks = [(task.index, task.seed) for task in tasks if isinstance(task, ChunkTask)]
    assert sorted(chunks) == [(0, None), (1, None), (2, 0), (3, 0)]  # none was done twice
    assert digests(outcome.job.folder) == _one_pass(steady, tmp_path / "whole", pipeline)


def test_pieces_begun_from_a_field_that_is_not_the_same_any_more_are_done_again(
    tmp_path: Path, pipeline: Pipeline
) -> None:
    # Twice between the end of the first piece and the warm-up of the third the field changes, and is as it was.
    pixels = _film(lambda number: 14 if 124 <= number < 168 else 8, (*_PLACES, "rectum"))
    video = _write(tmp_path / "long.mp4", pixels)
    tasks: list[Task] = []
    workers = InlineWorkers(2, heard=tasks.append)
    outcome = _in_pieces(video, tmp_path / "pieces", pipeline, workers, chunk_s=90.0)
    assert outcome.state == "done", outcome.reason
    chunks = [(task.index, task.seed) for task in tasks if isinstance(task, ChunkTask)]
    assert chunks == [(0, None), (2, 0), (1, None), (2, None)]
    assert outcome.summary is not None
    assert [field.field for field in outcome.summary.fields] == [1, 2, 3]
    assert digests(outcome.job.folder) == _one_pass(video, tmp_path / "whole", pipeline)


def test_a_head_that_is_asked_now_and_then_is_asked_on_the_same_frames(
    tmp_path: Path, steady: Path, pipeline: Pipeline
) -> None:
    file = Path(pipeline.folder) / "colour.toml"
    file.write_text(file.read_text() + "[heads.mes]\nevery_ms = 1700\n")
    pipeline = load_pipeline(file)
    tasks: list[Task] = []
    outcome = _in_pieces(steady, tmp_path / "pieces", pipeline, InlineWorkers(3, heard=tasks.append))
    assert all(task.seed is None for task in tasks if isinstance(task, ChunkTask))
    assert digests(outcome.job.folder) == _one_pass(steady, tmp_path / "whole", pipeline)


def test_marks_count_in_pieces_too(tmp_path: Path, steady: Path, pipeline: Pipeline) -> None:
    video = Path(shutil.copy2(steady, tmp_path / "long.mp4"))
    (tmp_path / "long.marks.toml").write_text(
        '[[marks]]\nat_s = 44.9\nlabel = "caecum"\n[[marks]]\nat_s = 91\nkind = "end"\n'
    )
    outcome = _in_pieces(video, tmp_path / "pieces", pipeline, InlineWorkers(1))
    assert "caecum" in (outcome.job.folder / "segments.csv").read_text()
    assert digests(outcome.job.folder) == _one_pass(video, tmp_path / "whole", pipeline)


def test_a_dead_worker_costs_its_piece_and_a_new_call_goes_on_where_the_last_was_killed(
    tmp_path: Path, steady: Path, pipeline: Pipeline
) -> None:
    class Killed(BaseException):
        """As `kill -9`: nothing is cleaned up by us."""

    deaths = iter([True])
    tasks: list[Task] = []

    def die(task: Task) -> bool:
        return isinstance(task, ChunkTask) and task.index == 1 and next(deaths, False)

    def kill(task: Task) -> None:
        tasks.append(task)
        if isinstance(task, ChunkTask) and task.index == 2:
            raise Killed

    with pytest.raises(Killed):
        _in_pieces(steady, tmp_path / "pieces", pipeline, InlineWorkers(1, dies=die, heard=kill))
    assert [task.index for task in tasks if isinstance(task, ChunkTask)] == [0, 1, 2]
    again: list[Task] = []
    outcome = _in_pieces(steady, tmp_path / "pieces", pipeline, InlineWorkers(1, heard=again.append))
    assert [task.index for task in again if isinstance(task, ChunkTask)] == [3]
    assert digests(outcome.job.folder) == _one_pass(steady, tmp_path / "whole", pipeline)


def test_a_damaged_recording_is_worked_on_in_one_pass(
    tmp_path: Path, steady: Path, pipeline: Pipeline
) -> None:
    content = bytearray(steady.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    video = tmp_path / "long.mp4"
    video.write_bytes(bytes(content))
    tasks: list[Task] = []
    outcome = _in_pieces(video, tmp_path / "pieces", pipeline, InlineWorkers(1, heard=tasks.append))
    assert outcome.state == "done", outcome.reason
    assert not any(isinstance(task, JoinTask) for task in tasks)
    assert digests(outcome.job.folder) == _one_pass(video, tmp_path / "whole", pipeline)


def test_a_state_is_the_same_after_it_went_through_a_file(
    tmp_path: Path, steady: Path, pipeline: Pipeline
) -> None:
    def last(task: Task) -> bool:
        if isinstance(task, JoinTask):
            path = chunk_path(task.job, 0)
            state, head = read_end(path), read_head(path)
            assert head is not None
            assert decode_state(state.encoded()).encoded() == state.encoded()
            assert state.preparer.tracker.field is not None
            seen.append(head.frames)
        return False

    seen: list[int] = []
    _in_pieces(steady, tmp_path / "pieces", pipeline, InlineWorkers(1, dies=last))
    assert seen == [96]  # whole groups of eight


def test_a_recording_is_cut_only_where_what_is_decoded_later_is_shown_later(tmp_path: Path) -> None:
    pixels = _film(lambda number: 8)[:60]
    closed = scan_packets(_write(tmp_path / "closed.mp4", pixels))
    assert closed.keys == list(range(0, 60, 7))
    assert [round(closed.stamp_s(number), 3) for number in range(3)] == [0.0, 0.5, 1.0]
    opened = scan_packets(
        _write(
            tmp_path / "open.mp4",
            pixels,
            g="8",
            preset="medium",
            **{"x264-params": "open-gop=1:bframes=2:b-adapt=0"},
        )
    )
    assert len(opened.stamps) == 60
    assert len(opened.keys) < 8  # before an open group's key frame some are shown that are decoded after it
