"""`scopeline journal`: what a person is told about past runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from messages import Script
from scopeline.commands.journal import journal
from scopeline.errors import JournalError
from scopeline.journal import Journal
from scopeline.journal_files import file_name
from scopeline.journal_reader import JournalReader
from scopeline.journal_summary import summarise_journal
from scopeline.notices import Notices
from scopeline.sinks.journal import JournalSink
from scopeline.wire import Message


def run(*arguments: object, code: int = 0) -> str:
    result: Result = CliRunner().invoke(journal, [str(each) for each in arguments], env={"COLUMNS": "160"})
    if isinstance(result.exception, JournalError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def eventful(folder: Path, session: str = "5e55101", *, ends: bool = True) -> Path:
    """A run with weather, an incident, a mark, losses and three segments, one of them replaced."""
    script = Script(session)
    kept = JournalSink(Journal(folder, version="1.2.3"), Notices())
    lost = script.ledger(captured=80, published=70, in_flight=1, lost={"late": 9}, damaged={"corrupt": 2})
    messages: list[Message] = [
        script.status("started", signal="connecting"),
        script.status("signal", signal="running"),
        *(script.frame(latency_ms=12.0) for _ in range(50)),
        script.segment(1, "rectum", state="provisional", mes_worst=0),
        script.segment(1, "rectum", mes_worst=1, mes_dominant=1),
        *(script.unusable("glare") for _ in range(20)),
        script.segment(2),
        script.status("mark", text="segment cecum at 1.00 s"),
        script.status("signal", signal="frozen", text="the picture stands still"),
        script.status("incident", signal="frozen", incident="time_jumped", text="by 12 s"),
        script.frame(ledger=lost, latency_ms=30.0),
    ]
    for message in messages:
        kept.publish(message)
    if ends:
        kept.publish(script.status("ended", signal="frozen", text="stopped on request", ledger=lost))
    kept.close()
    return folder / session


def test_sessions_are_listed_with_size_and_version(tmp_path: Path) -> None:
    eventful(tmp_path, "a")
    eventful(tmp_path, "b")
    told = run("list", tmp_path)
    assert told.index(" a ") < told.index(" b ")
    for part in ("1.2.3", "0.1", "research use only"):
        assert part in told


def test_a_whole_journal_is_called_whole(tmp_path: Path) -> None:
    told = run("verify", eventful(tmp_path))
    assert "5e55101: whole; 1 files" in told
    assert "71 frame" in told
    assert JournalReader(tmp_path / "5e55101").verify().head in told


def test_a_damaged_journal_is_told_with_its_place_and_ends_with_1(tmp_path: Path) -> None:
    eventful(tmp_path, "good")
    path = eventful(tmp_path, "bad") / file_name(1)
    content = path.read_bytes()
    place = content.index(b"stands still")
    path.write_bytes(content[:place] + b"XX" + content[place + 2 :])
    line = content.rindex(b"\n", 0, place) + 1
    told = run("verify", tmp_path, code=1)
    assert "good: whole" in told
    assert "bad: 1 faults; 1 files" in told
    assert f"file 1, byte {line}: damaged" in told


def test_a_noted_head_that_is_gone_is_told(tmp_path: Path) -> None:
    folder = eventful(tmp_path)
    head = JournalReader(folder).verify().head
    assert "whole" in run("verify", folder, "--noted", head)
    path = folder / file_name(1)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert "no record has the link" in run("verify", folder, "--noted", head, code=1)


def test_a_run_that_was_cut_off_is_summarised(tmp_path: Path) -> None:
    path = eventful(tmp_path, ends=False) / file_name(1)
    path.write_bytes(path.read_bytes() + b"0000")
    told, _, verdict = summarise_journal(JournalReader(path.parent))
    assert told.intact
    assert verdict.torn_bytes == 4
    assert told.ended.startswith("no end")
    assert [(each.what, each.text) for each in told.weather] == [
        ("connecting", ""),
        ("running", ""),
        ("frozen", "the picture stands still"),
    ]
    assert [each.what for each in told.incidents] == ["time_jumped"]
    assert [each.text for each in told.marks] == ["segment cecum at 1.00 s"]
    assert told.ledger is not None
    assert told.ledger.lost == {"late": 9}
    assert (told.messages["frame"], told.results.frames.usable) == (71, 51)
    assert told.results.frames.unusable == {"glare": 20}
    assert told.latency_ms["max"] == pytest.approx(30.0)
    assert told.latency_ms["p50"] == pytest.approx(12.0, rel=0.05)
    assert [(row.number, row.location, row.mes_worst) for row in told.results.segments] == [
        (1, "rectum", 1),
        (2, "sigmoid", 3),
    ]


def test_the_summary_shows_what_happened(tmp_path: Path) -> None:
    eventful(tmp_path)
    told = run("summary", tmp_path)
    for part in (
        "stopped on request",
        "9 late",
        "frozen",
        "time_jumped",
        "segment cecum",
        "rectum",
        "sigmoid",
    ):
        assert part in told
    assert "research use only" in told


def test_numbers_that_are_not_in_the_journal_are_counted(tmp_path: Path) -> None:
    script, kept = Script(), Journal(tmp_path, version="0")
    sink = JournalSink(kept, Notices())
    for number in range(20):
        message = script.frame()
        if number in (4, 5, 11):
            kept.skip("frame", message.seq, "disk full")
        else:
            sink.publish(message)
    sink.close()
    assert summarise_journal(JournalReader(tmp_path / script.session))[0].absent == {"frame": 3}
    assert "3 messages were published and not written" in run("verify", tmp_path)


def test_results_are_exported_as_batch_writes_them(tmp_path: Path) -> None:
    eventful(tmp_path / "journals")
    run("export", tmp_path / "journals", tmp_path / "out")
    with (tmp_path / "out" / "segments.csv").open() as file:
        assert [row["location"] for row in csv.DictReader(file)] == ["rectum", "sigmoid"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["frames"]["published"] == 71
    told = json.loads((tmp_path / "out" / "journal.json").read_bytes())
    assert [each["what"] for each in told["weather"]] == ["connecting", "running", "frozen"]
    assert (tmp_path / "out" / "frames.jsonl.zst").stat().st_size > 0


@pytest.mark.parametrize("command", ["list", "verify", "summary"])
def test_a_folder_without_journals_is_refused(command: str, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="wanted a folder of journals"):
        run(command, tmp_path)
    with pytest.raises(JournalError, match="cannot be read"):
        run(command, tmp_path / "nowhere")
