"""From a video file to segments, through the real source, runtime and engine."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fakes import CollectingSink
from scopeline.assemble import assemble
from scopeline.config import Pipeline, load_pipeline
from scopeline.marks import Mark, Marks
from scopeline.simulation.film import render_video
from scopeline.simulation.procedure import simulate_procedure
from scopeline.sources.media import MediaSource
from scopeline.sources.pace import Pace
from scopeline.wire import FrameMessage, Message, SegmentMessage
from tiny_bundle import write_tiny_pipeline


class LockstepPace(Pace):
    """A replay whose next frame is due when the last one was published: live without a drop, and without waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._published = threading.Semaphore(1)
        self._ended = threading.Event()

    def wait_until(self, deadline_ns: int) -> bool:
        self._published.acquire()
        return not self._ended.is_set()

    def hear(self, message: Message) -> None:
        if isinstance(message, FrameMessage):
            self._published.release()

    def stop(self) -> None:
        self._ended.set()
        self._published.release()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "procedure.mp4"
    render_video(simulate_procedure(seed=3, duration_s=36, fps=10, width=320, height=240), path)
    return path


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return load_pipeline(write_tiny_pipeline(tmp_path))


def _comparable(segments: list[SegmentMessage]) -> list[dict[str, object]]:
    """Everything about final segments but who sent them and when."""
    return [
        {
            name: getattr(segment, name)
            for name in segment.__struct_fields__
            if name not in ("session", "published_ns")
        }
        for segment in segments
        if segment.state == "final"
    ]


def test_a_file_and_its_live_replay_publish_identical_segments(video: Path, pipeline: Pipeline) -> None:
    fast, live, pace = CollectingSink(), CollectingSink(), LockstepPace()
    assemble(pipeline, MediaSource(video), [fast], live=False).run()
    report = assemble(
        pipeline, MediaSource(video, live=True, pace=pace), [live], live=True, on_message=pace.hear
    ).run()
    assert report.ledger.lost == {}
    assert _comparable(fast.segments) == _comparable(live.segments) != []
    assert [frame.smoothed for frame in fast.frames] == [frame.smoothed for frame in live.frames]


def test_every_frame_of_the_file_is_published_with_what_a_subscriber_needs(
    video: Path, pipeline: Pipeline
) -> None:
    sink = CollectingSink()
    report = assemble(pipeline, MediaSource(video), [sink], live=False).run()
    assert report.ledger.captured == report.ledger.published == 360
    frame = sink.frames[-1]
    assert frame.models["tiny"].startswith("sha256:")
    assert frame.models["tiny"].endswith("/onnxruntime/fp32")
    assert frame.config == pipeline.hash
    assert frame.notice == "research use only"
    assert frame.stages_ms["prepare"] <= frame.stages_ms["infer"] <= frame.stages_ms["conclude"]


def test_the_operators_marks_name_the_segments(video: Path, pipeline: Pipeline) -> None:
    sink = CollectingSink()
    marks = Marks([Mark(10.0, "segment", "sigmoid"), Mark(20.0, "segment", "rectum")])
    assemble(pipeline, MediaSource(video), [sink], live=False, marks=marks).run()
    marked = [(s.location, round(s.start_s, 1)) for s in sink.segments if s.state == "final" and s.marked]
    assert marked == [("sigmoid", 10.0), ("rectum", 20.0)]
