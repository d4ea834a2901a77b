"""What is made of a finished run: opened with other programs, and never showing what may not be shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import av
import duckdb
import msgspec
import numpy as np
import pydicom
import pytest

from colour_bundle import coloured, write_pipeline
from media_clips import write_clip
from messages import Script, segment_now
from scopeline.batch import Batch, add_outputs, plan
from scopeline.config import Pipeline, load_pipeline
from scopeline.errors import ConfigError
from scopeline.outputs.annotated_video import captions
from scopeline.outputs.kinds import check_outputs, missing_outputs
from scopeline.outputs.showable import showable
from scopeline.results_folder import read_frames, read_tally
from scopeline.results_wanted import ResultsWanted
from scopeline.wire import FrameMessage, LedgerReport, SmoothedHead

_ALL = ResultsWanted(also=("parquet", "report", "pdf", "video", "dicom"))
_FPS = 10


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def pipeline(root: Path) -> Pipeline:
    return load_pipeline(write_pipeline(root))


@pytest.fixture(scope="module")
def clip(root: Path) -> Path:
    places = ("sigmoid", 40), ("outside", 30), ("rectum", 40)
    pixels = [each for place, count in places for each in coloured(place, count)]
    stamps_ms = [1000 * number // _FPS for number in range(len(pixels))]
    return write_clip(root / "case <1>.mp4", pixels=pixels, stamps_ms=stamps_ms)


@pytest.fixture(scope="module")
def folder(root: Path, pipeline: Pipeline, clip: Path) -> Path:
    wanted = _with(pipeline, _ALL)
    (outcome,) = Batch(wanted).work(plan([clip], root / "results", wanted))
    assert outcome.state == "done", outcome.reason
    return outcome.job.folder


def _rows(query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        return database.execute(query).fetchall()


def _with(pipeline: Pipeline, wanted: ResultsWanted) -> Pipeline:
    return msgspec.structs.replace(pipeline, results=wanted)


def test_the_tables_say_what_the_frames_say(folder: Path) -> None:
    frames = list(read_frames(folder))
    rows = _rows(f"SELECT frame, time_s, reason, \"organ.tag\" FROM '{folder}/frames.parquet' ORDER BY frame")
    assert rows == [(each.frame, each.time_s, each.reason, each.smoothed["organ"].tag) for each in frames]
    segments = _rows(f"SELECT number, location, frames_seen FROM '{folder}/segments.parquet'")
    assert segments == [
        (each.number, each.location, each.frames_seen) for each in read_tally(folder).segments
    ]


def test_a_finished_run_is_read_back_as_it_was(folder: Path) -> None:
    tally, summary = read_tally(folder), json.loads((folder / "summary.json").read_bytes())
    assert (tally.published, tally.usable) == (summary["frames"]["published"], summary["frames"]["usable"])
    assert tally.finished
    assert [each.location for each in tally.segments] == [each["location"] for each in summary["segments"]]


def test_the_report_opens_without_a_network_and_names_are_text(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "case &lt;1&gt;" in page
    assert "<1>" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "Research use only" in page
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_the_video_keeps_every_frame_and_its_time(folder: Path, clip: Path) -> None:
    with av.open(str(clip)) as original, av.open(str(folder / "annotated.mp4")) as drawn:
        assert drawn.streams.video[0].codec_context.name == "h264"
        times = [picture.time for picture in original.decode(video=0)]
        assert [picture.time for picture in drawn.decode(video=0)] == pytest.approx(times, abs=1e-4)
        assert (drawn.duration or 0) / 1e6 == pytest.approx(times[-1] + 1 / _FPS, abs=1e-3)


def test_sound_is_kept(root: Path, pipeline: Pipeline, clip: Path) -> None:
    talking = _with_sound(clip, root / "talking.mkv")
    wanted = _with(pipeline, ResultsWanted(also=("video",)))
    (outcome,) = Batch(wanted).work(plan([talking], root / "sound", wanted))
    with av.open(str(talking)) as original, av.open(str(outcome.job.folder / "annotated.mp4")) as drawn:
        assert [bytes(each) for each in drawn.demux(audio=0)] == [
            bytes(each) for each in original.demux(audio=0)
        ]


def _with_sound(clip: Path, path: Path) -> Path:
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("aac", rate=48_000)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), "fltp", "mono")
        silence.sample_rate, silence.pts = 48_000, 0
        target.mux(sound.encode(silence))
        target.mux(sound.encode())
    return path


def test_nothing_outside_of_the_field_is_in_the_video(root: Path, pipeline: Pipeline) -> None:
    down, across = np.mgrid[:144, :192]
    inside = np.hypot(down - 72, across - 110) < 62
    pixels = [np.where(inside[..., None], each, 0).astype(np.uint8) for each in coloured("sigmoid", 40)]
    for each in pixels:
        each[8:20, 4:40] = 230  # where processors print names
    clip = write_clip(root / "round.mp4", pixels=pixels, stamps_ms=[100 * number for number in range(40)])
    wanted = _with(pipeline, ResultsWanted(also=("video",)))
    (outcome,) = Batch(wanted).work(plan([clip], root / "round", wanted))
    with av.open(str(outcome.job.folder / "annotated.mp4")) as drawn:
        shown = [picture.to_ndarray(format="gray") for picture in drawn.decode(video=0)]
    assert max(float(each[50:90, 90:130].mean()) for each in shown) > 80  # the inside is there
    assert max(int(each[4:24, :44].max()) for each in shown) < 40


def test_the_objects_are_of_one_study_and_name_nobody(folder: Path) -> None:
    objects = [pydicom.dcmread(path) for path in sorted((folder / "dicom").glob("*.dcm"))]
    assert {each.SOPClassUID.name for each in objects} >= {"Comprehensive SR Storage"}
    assert len({each.StudyInstanceUID for each in objects}) == 1
    assert {str(each.PatientName) for each in objects} == {""}
    report = next(each for each in objects if each.Modality == "SR")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_outputs_are_added_to_what_is_done_without_judging_again(
    root: Path, pipeline: Pipeline, clip: Path
) -> None:
    (outcome,) = Batch(pipeline).work(plan([clip], root / "later", pipeline))
    before = (outcome.job.folder / "frames.jsonl.zst").stat().st_mtime_ns
    wanted = _with(pipeline, ResultsWanted(also=("parquet", "report")))
    assert wanted.hash == pipeline.hash
    add_outputs(outcome.job, wanted)
    assert missing_outputs(outcome.job.folder, wanted.results) == []
    assert (outcome.job.folder / "frames.jsonl.zst").stat().st_mtime_ns == before


def test_without_pictures_no_file_holds_one(root: Path, pipeline: Pipeline, clip: Path) -> None:
    wanted = _with(pipeline, ResultsWanted(also=("report", "pdf", "dicom"), pictures=False))
    (outcome,) = Batch(wanted).work(plan([clip], root / "blind", wanted))
    assert outcome.state == "done", outcome.reason
    names = {each.name for each in outcome.job.folder.rglob("*") if each.is_file()}
    assert names & {"contact_sheet.jpg", "field.jpg"} == set()
    assert "data:image" not in (outcome.job.folder / "report.html").read_text()
    assert {name for name in names if name.endswith(".dcm")} == {"nothing-shown.dcm", "report.dcm"}


def test_pictures_that_are_not_wanted_any_more_are_taken_away(
    root: Path, pipeline: Pipeline, clip: Path
) -> None:
    shown = _with(pipeline, ResultsWanted(also=("report", "parquet")))
    (outcome,) = Batch(shown).work(plan([clip], root / "taken", shown))
    blind = _with(pipeline, ResultsWanted(also=("report",), pictures=False))
    add_outputs(outcome.job, blind)
    names = {each.name for each in outcome.job.folder.iterdir()}
    assert names & {"contact_sheet.jpg", "field.jpg"} == set()
    assert {"report.html", "frames.parquet", "frames.jsonl.zst"} <= names
    assert "data:image" not in (outcome.job.folder / "report.html").read_text()


def test_what_was_made_of_a_recording_is_made_again_when_it_is_judged_again(
    root: Path, pipeline: Pipeline, clip: Path
) -> None:
    wanted = _with(pipeline, ResultsWanted(also=("parquet",)))
    list(Batch(wanted).work(plan([clip], root / "again", wanted)))
    jobs = plan([clip], root / "again", pipeline)
    (outcome,) = Batch(pipeline).work(jobs, again=True)
    assert (outcome.job.folder / "frames.parquet").is_file()
    assert not (outcome.job.folder / "report.html").exists()


def test_the_video_says_what_the_operator_said_and_how_much_is_marked() -> None:
    frame = Script().frame(segment=segment_now(3, "sigmoid"))
    named = [text for text, _ in captions(frame, {3})]
    assert named[0] == "sigmoid (marked)"
    assert "polyp on 3.1 % of the field" in named
    assert "sigmoid (marked)" not in [text for text, _ in captions(frame, {2})]


def test_a_video_without_pictures_is_refused_before_anything_is_done() -> None:
    with pytest.raises(ConfigError, match="no pictures"):
        check_outputs(ResultsWanted(also=("video",), pictures=False))


def _frame(number: int, reason: str | None = None, tag: str | None = "colon") -> FrameMessage:
    return FrameMessage(
        session="s", seq=number, published_ns=0, frame=number, time_s=number / _FPS, captured_ns=0, stages_ms={},
        reason=reason, field=1, field_shape="circle", overlays=[], quality=1.0, heads={},
        smoothed={"organ": SmoothedHead(posterior={}, tag=tag, since_s=None)}, segment=None,
        ledger=LedgerReport(captured=1, published=1, in_flight=0, lost={}, damaged={}), state="running", models={},
        config="",
    )  # fmt: skip


def test_blurred_frames_on_the_way_out_of_the_body_are_not_shown() -> None:
    inside, blurred = _frame(1), [_frame(2, "blurred"), _frame(3, "blurred")]
    assert showable([inside, *blurred, _frame(4)], []) == [True] * 4
    assert showable([inside, *blurred, _frame(4, tag="outside")], []) == [True, False, False, False]
    assert showable([_frame(0, "blurred"), inside, _frame(2, "blurred")], []) == [False, True, False]
