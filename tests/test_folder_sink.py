"""The folder of results, read back by programs and libraries that did not write it."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from messages import Script, random_frames
from scopeline.errors import SinkError
from scopeline.sinks.folder import FolderSink
from scopeline.wire import Message

_TESTS = Path(__file__).parent


def _lines(path: Path) -> list[dict[str, Any]]:
    """The frames of a file, as far as it goes."""
    with zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True) as reader:
        return [json.loads(line) for line in io.TextIOWrapper(reader, "utf-8")]


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "segments.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return content


def _write(folder: Path, *messages: Message) -> Path:
    sink = FolderSink(folder)
    _publish(sink, messages)
    sink.close()
    return folder


def _publish(sink: FolderSink, messages: Sequence[Message]) -> None:
    for message in messages:
        sink.publish(message)


def _ended(script: Script, **changes: Any) -> Message:
    latency = {"p50": 8.0, "p95": 9.0, "p99": 10.0, "max": 12.0}
    return script.status("ended", **({"text": "end of source", "latency_ms": latency} | changes))


def test_every_frame_is_one_line_in_order(tmp_path: Path) -> None:
    script = Script()
    frames = random_frames(script, 2500)
    _write(tmp_path, script.status(), *frames, _ended(script))
    lines = _lines(tmp_path / "frames.jsonl.zst")
    assert [line["frame"] for line in lines] == list(range(2500))
    assert [line["reason"] for line in lines] == [frame.reason for frame in frames]
    judged = next(line for line in lines if line["reason"] is None)
    assert sum(judged["heads"]["mes"]["probabilities"].values()) == pytest.approx(1)


def test_the_zstd_program_reads_the_frames(tmp_path: Path) -> None:
    script = Script()
    _write(tmp_path, *random_frames(script, 1200), _ended(script))
    try:
        done = subprocess.run(
            ["zstd", "-dcq", tmp_path / "frames.jsonl.zst"], capture_output=True, check=True
        )
    except FileNotFoundError:
        pytest.skip("no zstd program")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == list(range(1200))


def test_a_file_that_was_cut_off_decompresses_up_to_its_last_whole_block(tmp_path: Path) -> None:
    script = Script()
    path = _write(tmp_path, *random_frames(script, 2999), _ended(script)) / "frames.jsonl.zst"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    got = b""
    with zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True) as reader:
        while piece := reader.read(1 << 16):
            got += piece
    complete = got[: got.rfind(b"\n") + 1].splitlines()
    assert len(complete) >= 2000
    assert [json.loads(line)["frame"] for line in complete] == list(range(len(complete)))


def test_a_killed_process_leaves_its_blocks_and_says_that_it_is_not_complete(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from messages import Script\n"
        "from scopeline.sinks.folder import FolderSink\n"
        "script, sink = Script(), FolderSink(Path(sys.argv[1]))\n"
        "sink.publish(script.status()); sink.publish(script.segment(1, state='provisional'))\n"
        "for _ in range(250): sink.publish(script.frame())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    paths = os.pathsep.join([str(_TESTS), str(_TESTS.parent / "engine")])
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=os.environ | {"PYTHONPATH": paths}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    # 20 ms per frame: a block of 2 s ends with its 101st frame.
    assert [line["frame"] for line in _lines(tmp_path / "frames.jsonl.zst")] == list(range(202))
    assert _summary(tmp_path)["complete"] is False
    assert [(row["number"], row["state"]) for row in _rows(tmp_path)] == [("1", "provisional")]
    assert not list(tmp_path.glob(".*.new"))


def test_the_newest_message_of_a_segment_replaces_the_earlier_ones(tmp_path: Path) -> None:
    script = Script()
    _write(
        tmp_path,
        script.segment(1, "rectum", state="provisional", mes_worst=1),
        script.segment(2, "sigmoid", state="provisional"),
        script.segment(1, "rectum", state="final", mes_worst=2),
    )
    got = [(row["number"], row["location"], row["state"], row["mes_worst"]) for row in _rows(tmp_path)]
    assert got == [("1", "rectum", "final", "2"), ("2", "sigmoid", "provisional", "3")]


def test_null_is_an_empty_cell_and_labels_are_quoted_where_they_must_be(tmp_path: Path) -> None:
    script = Script()
    plain = script.segment(
        1, 'flexure, "left"', assessable=False, mes_dominant=None, mes_worst=None, expected=None, histogram=[]
    )
    _write(tmp_path, plain)
    (row,) = _rows(tmp_path)
    assert row["location"] == 'flexure, "left"'
    assert (row["assessable"], row["mes_dominant"], row["mes_expected"], row["frames_mes_3"]) == (
        "no",
        "",
        "",
        "",
    )
    assert row["unusable"] == "blurred:2700;glare:70"


def test_counts_and_times_of_a_segment_are_in_its_row(tmp_path: Path) -> None:
    segment = Script().segment(3, start_s=10.5, end_s=22.75, frames_seen=400, frames_usable=100)
    (row,) = _rows(_write(tmp_path, segment))
    assert (row["duration_s"], row["usable_share"], row["informative_s"]) == ("12.25", "0.25", "34.5")
    assert [row[f"frames_mes_{grade}"] for grade in range(4)] == ["0", "10", "200", "20"]


def test_the_summary_says_whether_the_source_came_to_its_end(tmp_path: Path) -> None:
    ends = {"end of source": True, "stopped on request": False}
    for text, complete in ends.items():
        script = Script()
        summary = _summary(_write(tmp_path / text, script.frame(), _ended(script, text=text)))
        assert (summary["complete"], summary["ended"]) == (complete, text)
    script = Script()
    failed = script.status("failed", text="end of source")
    assert _summary(_write(tmp_path / "failed", script.frame(), failed))["complete"] is False


def test_the_summary_counts_frames_and_carries_the_ledger(tmp_path: Path) -> None:
    script = Script()
    started = script.status()
    reasons = ("glare", "blurred", "glare")
    frames = [script.frame(), *(script.unusable(reason) for reason in reasons)]
    summary = _summary(_write(tmp_path, started, *frames, _ended(script)))
    assert summary["frames"] == {
        "published": 4,
        "usable": 1,
        "usable_share": 0.25,
        "unusable": {"glare": 2, "blurred": 1},
    }
    assert summary["ledger"]["captured"] == summary["ledger"]["published"] == 4
    assert summary["latency_ms"]["p99"] == 10.0
    assert summary["notice"] == "research use only"
    assert summary["seconds"] == pytest.approx(0.08)  # four frames 20 ms apart
    assert summary["speed"] == pytest.approx(0.06 / 0.08)


def test_the_procedure_has_its_worst_grade_and_its_extent(tmp_path: Path) -> None:
    script = Script()
    grades = [
        ("outside", None),
        ("sigmoid", 1),
        ("rectum", 3),
        ("sigmoid", 2),
        ("descending", 0),
        ("outside", None),
    ]
    segments = [
        script.segment(
            number,
            place,
            start_s=10.0 * number,
            end_s=10.0 * number + 10,
            mes_dominant=worst,
            mes_worst=worst,
            assessable=worst is not None,
        )
        for number, (place, worst) in enumerate(grades)
    ]
    # Three in the rectum again, but on too little evidence: it must not count.
    segments.append(script.segment(6, "caecum", start_s=60.0, end_s=61.0, assessable=False, mes_worst=3))
    procedure = _summary(_write(tmp_path, *segments))["procedure"]
    assert (procedure["worst_mes"], procedure["worst_at"]) == (3, ["rectum"])
    assert procedure["mes_1_or_more"] == ["sigmoid", "rectum"]
    assert procedure["mes_2_or_more"] == ["rectum", "sigmoid"]
    assert (procedure["assessable"], procedure["all_mes_0_or_1"]) == (4, False)
    assert procedure["withdrawal_gross_s"] == 51.0  # from 10 s, the first not outside, to 61 s


def test_nothing_assessable_is_no_remission(tmp_path: Path) -> None:
    segment = Script().segment(1, assessable=False, mes_dominant=None, mes_worst=None)
    procedure = _summary(_write(tmp_path, segment))["procedure"]
    assert (procedure["worst_mes"], procedure["all_mes_0"], procedure["all_mes_0_or_1"]) == (None, None, None)


def test_a_folder_that_cannot_be_made_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SinkError, match="taken"):
        FolderSink(tmp_path / "taken")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_as_such_however_often_it_is_met(tmp_path: Path) -> None:
    (tmp_path / "frames.jsonl.zst").symlink_to("/dev/full")
    sink, frames = FolderSink(tmp_path), random_frames(Script(), 1000)
    with pytest.raises(SinkError, match="No space left on device"):
        _publish(sink, frames)
    with pytest.raises(SinkError, match=r"results cannot be written"):
        sink.close()
