"""The state log: one line per change of state, whatever the disk does."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from messages import Script
from scopeline.sinks.state_log import StateLogSink


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_change_of_state_is_a_line_and_nothing_else_is(tmp_path: Path) -> None:
    script, sink = Script(), StateLogSink(tmp_path / "state.log")
    for message in (
        script.status("started"),
        script.frame(),
        script.status("running"),
        script.status("signal", signal="stalled", text="no picture for 0.4 s"),
        script.segment(1),
        script.status("incident", incident="burst"),
        script.field(),
        script.status("trouble", incident="journal_failed", text="disk full"),
        script.status("ended", latency_ms={"p50": 8.0}),
    ):
        sink.publish(message)
    sink.close()
    told = lines(tmp_path / "state.log")
    assert [line["event"] for line in told] == ["started", "signal", "incident", "trouble", "ended"]
    assert (told[1]["signal"], told[1]["text"]) == ("stalled", "no picture for 0.4 s")
    assert told[2]["what"] == "burst"
    assert told[4]["latency_ms"] == {"p50": 8.0}


def test_a_line_says_how_the_ledger_stood(tmp_path: Path) -> None:
    script, sink = Script(), StateLogSink(tmp_path / "state.log")
    sink.publish(script.status("signal", ledger=script.ledger(captured=9, published=7, lost={"late": 2})))
    told = lines(tmp_path / "state.log")[0]
    assert (told["captured"], told["published"], told["lost"]) == (9, 7, {"late": 2})


def test_the_name_of_the_source_is_not_written(tmp_path: Path) -> None:
    StateLogSink(tmp_path / "state.log").publish(Script().status("started", source="Doe_John.mp4"))
    assert "Doe" not in (tmp_path / "state.log").read_text()


def test_the_time_of_day_is_written_only_when_it_is_wanted(tmp_path: Path) -> None:
    script = Script()
    StateLogSink(tmp_path / "plain.log").publish(script.status("started"))
    StateLogSink(tmp_path / "timed.log", with_wall_clock=True).publish(script.status("started"))
    assert "wall_unix_s" not in lines(tmp_path / "plain.log")[0]
    assert lines(tmp_path / "timed.log")[0]["wall_unix_s"] > 1.7e9


def test_a_later_run_writes_on(tmp_path: Path) -> None:
    for _ in range(2):
        sink = StateLogSink(tmp_path / "deep" / "state.log")
        sink.publish(Script().status("started"))
        sink.close()
    assert len(lines(tmp_path / "deep" / "state.log")) == 2


def test_a_full_log_turns_over_and_old_ones_are_let_go(tmp_path: Path) -> None:
    script = Script()
    sink = StateLogSink(tmp_path / "state.log", most_bytes=1000, kept=2)
    for number in range(60):
        sink.publish(script.status("signal", text=f"change {number}"))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["state.log", "state.log.1", "state.log.2"]
    assert all((tmp_path / name).stat().st_size <= 1000 for name in files)
    told = [line["text"] for name in reversed(files) for line in lines(tmp_path / name)]
    assert told == [f"change {number}" for number in range(60 - len(told), 60)]


def test_a_line_longer_than_the_bound_is_written_all_the_same(tmp_path: Path) -> None:
    script, sink = Script(), StateLogSink(tmp_path / "state.log", most_bytes=10)
    sink.publish(script.status("started"))
    sink.publish(script.status("ended"))
    assert [lines(tmp_path / name)[0]["event"] for name in ("state.log.1", "state.log")] == [
        "started",
        "ended",
    ]


def test_a_log_that_was_taken_away_is_begun_again(tmp_path: Path) -> None:
    script, sink = Script(), StateLogSink(tmp_path / "state.log")
    sink.publish(script.status("started"))
    (tmp_path / "state.log").rename(tmp_path / "taken.log")
    sink.publish(script.status("ended"))
    assert [line["event"] for line in lines(tmp_path / "state.log")] == ["ended"]


def test_a_disk_that_fails_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder").write_text("in the way of the log's folder")
    script, sink = Script(), StateLogSink(tmp_path / "folder" / "state.log")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            sink.publish(script.status("signal"))
    assert [record.getMessage().count("the run goes on") for record in caplog.records] == [1]
    (tmp_path / "folder").unlink()
    sink.publish(script.status("ended"))
    assert [line["event"] for line in lines(tmp_path / "folder" / "state.log")] == ["ended"]
