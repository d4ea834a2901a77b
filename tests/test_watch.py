"""The terminal view: what a person reads of a run."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from messages import ANY_PORT, LOCATIONS, PATIENCE_S, Script, publishing, segment_now, shares
from scopeline.commands.watch import watch
from scopeline.watch import WatchState, render
from scopeline.wire import HeadResult, LedgerReport, Message, SmoothedHead


class Watched:
    """A script, a state that hears it, and a clock that follows the script unless told otherwise."""

    def __init__(self) -> None:
        self.script = Script()
        self.later_ms = 1.0
        self.state = WatchState(lambda: self.script.now_ns + round(self.later_ms * 1e6))

    def hear(self, *messages: Message) -> None:
        for message in messages:
            self.state.apply(message)

    def text(self, width: int = 80, height: int = 24) -> str:
        console = Console(width=width, height=height, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
        with console.file:
            console.print(render(self.state, "tcp://127.0.0.1:5557"), height=height)
        return console.export_text()

    def line(self, beginning: str) -> str:
        return next(line.strip() for line in self.text().splitlines() if line.strip().startswith(beginning))

    def row(self, beginning: str) -> str:
        """The line without the table's spaces."""
        return " ".join(self.line(beginning).split())


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_before_the_first_message_it_says_where_it_waits(watched: Watched) -> None:
    assert "waiting for an engine at tcp://127.0.0.1:5557" in watched.text()


def test_it_always_says_research_use_only(watched: Watched) -> None:
    assert "RESEARCH USE ONLY" in watched.text()
    watched.hear(watched.script.frame())
    assert "RESEARCH USE ONLY" in watched.text()


def test_it_shows_the_held_location_and_grade(watched: Watched) -> None:
    watched.hear(watched.script.frame(segment=segment_now()))
    text = watched.text()
    assert "SIGMOID" in text
    assert "MES 2" in text
    assert "segment so far: mostly 2, worst 3" in text


def test_a_pipeline_without_places_and_grades_shows_what_it_has(watched: Watched) -> None:
    labels = ("polyps", "ulcerative-colitis")
    head = HeadResult(probabilities=shares(labels, 0), entropy=0.3, abstain=False, expected=None)
    smoothed = SmoothedHead(posterior=shares(labels, 0), tag="polyps", since_s=0.0)
    nowhere = segment_now(location=None, mes_dominant=None, mes_worst=None)
    watched.hear(
        watched.script.frame(heads={"finding": head}, smoothed={"finding": smoothed}, segment=nowhere)
    )
    text = watched.text()
    assert "finding" in text
    assert "POLYPS" in text
    assert "Mayo" not in text
    assert "no assessment" not in text


def test_a_frame_older_than_half_a_second_is_no_assessment(watched: Watched) -> None:
    watched.hear(watched.script.frame(segment=segment_now()))
    watched.later_ms = 2300
    text = watched.text()
    assert text.count("no assessment") == 2
    assert "SIGMOID" not in text
    assert "frame 2.3 s old" in text
    assert "silent" in text


def test_it_says_how_much_of_the_field_a_mask_marks(watched: Watched) -> None:
    watched.hear(watched.script.frame())
    assert "polyp 3.1 % of field" in watched.text()
    watched.hear(watched.script.frame(masks={}))
    assert "polyp" not in watched.text()


def test_a_mask_of_an_old_frame_is_not_shown(watched: Watched) -> None:
    watched.hear(watched.script.frame())
    watched.later_ms = 600
    assert "polyp" not in watched.text()


def test_evidence_that_ran_out_is_no_assessment(watched: Watched) -> None:
    lost = {"location": SmoothedHead(posterior=shares(LOCATIONS, 1), tag=None, since_s=None)}
    watched.hear(watched.script.frame(segment=segment_now()))
    watched.hear(
        watched.script.unusable("blurred", smoothed=lost, state="not_assessable", segment=segment_now())
    )
    text = watched.text()
    assert "no assessment   blurred" in text
    assert "not assessable" in text


def test_quality_is_counted_over_the_last_minute_with_the_reasons(watched: Watched) -> None:
    for _ in range(30):
        watched.hear(watched.script.frame())
    for _ in range(15):
        watched.hear(watched.script.unusable("glare"))
    for _ in range(5):
        watched.hear(watched.script.unusable("red_out"))
    assert watched.line("quality").split("█")[1].startswith(" good 60 %")
    assert watched.line("quality").endswith("unusable 40 %")
    assert watched.line("most often") == "most often glare 30 %, red out 10 %"


def test_quality_of_more_than_a_minute_ago_is_forgotten(watched: Watched) -> None:
    for _ in range(50):
        watched.hear(watched.script.unusable("glare", time_s=1.0))
    watched.hear(watched.script.frame(time_s=30.0))
    assert "glare" in watched.text()
    for time_s in range(31, 200):
        watched.hear(watched.script.frame(time_s=float(time_s)), watched.script.frame(time_s=time_s + 0.5))
    assert "glare" not in watched.text()


def test_a_segment_without_enough_evidence_is_not_assessable(watched: Watched) -> None:
    blank = watched.script.segment(
        1, "cecum", assessable=False, mes_dominant=None, mes_worst=None, informative_s=2.0
    )
    watched.hear(watched.script.frame(), blank)
    assert watched.row("1 ") == "1 cecum 01:00 – 02:00 not assessable – 2 of 60 s final"


def test_the_newest_message_of_a_segment_replaces_the_earlier_ones(watched: Watched) -> None:
    watched.hear(watched.script.frame())
    watched.hear(watched.script.segment(1, "cecum", state="provisional", mes_worst=1))
    watched.hear(watched.script.segment(1, "ascending", mes_worst=3))
    assert "cecum" not in watched.text()
    assert watched.row("1 ") == "1 ascending 01:00 – 02:00 2 3 34 of 60 s final"


def test_the_open_segment_grows_with_every_frame(watched: Watched) -> None:
    watched.hear(watched.script.segment(1, state="provisional", start_s=5.0, end_s=6.0))
    watched.hear(watched.script.frame(time_s=77.0, segment=segment_now(1, start_s=5.0, informative_s=30.0)))
    assert watched.row("1 ") == "1 sigmoid 00:05 – 01:17 2 3 30 of 72 s open"


def test_a_final_segment_is_not_opened_again_by_a_frame(watched: Watched) -> None:
    watched.hear(watched.script.segment(1), watched.script.frame(segment=segment_now(1, "cecum")))
    assert watched.line("1 ").endswith("final")


def test_the_newest_segments_are_shown_when_there_is_no_room_for_all(watched: Watched) -> None:
    watched.hear(watched.script.frame())
    for number in range(1, 31):
        watched.hear(watched.script.segment(number))
    text = watched.text()
    assert watched.row("30 ").split()[1] == "sigmoid"
    assert "25 earlier" in text
    assert len(text.splitlines()) == 24


def test_latency_percentiles_are_those_of_the_last_ten_seconds(watched: Watched) -> None:
    watched.hear(watched.script.frame(latency_ms=900.0))
    watched.script.now_ns += 1_000_000_000  # with 500 frames of 20 ms, more than ten seconds before the last
    for latency_ms in range(1, 501):
        watched.hear(watched.script.frame(latency_ms=latency_ms / 10))
    assert watched.line("latency").startswith("latency  p50 25.0  p95 47.5  p99 49.5 ms, last 10 s")


def test_lost_frames_are_told_with_their_reason(watched: Watched) -> None:
    ledger = LedgerReport(captured=100, published=95, in_flight=2, lost={"late": 3}, damaged={"cut": 4})
    watched.hear(watched.script.frame(ledger=ledger))
    expected = "frames   100 captured = 95 published + 2 in flight + 3 lost (late 3)"
    assert watched.line("frames") == expected
    assert watched.line("messages").endswith("4 damaged packets")


def test_it_counts_what_this_view_missed(watched: Watched) -> None:
    watched.hear(watched.script.status(), watched.script.frame())
    assert watched.line("messages") == "messages 2 received, none missed by this view"
    for _ in range(7):
        watched.script.frame()
    watched.hear(watched.script.frame())
    assert watched.line("messages") == "messages 3 received, 7 missed by this view"


def test_a_restarted_engine_clears_the_view(watched: Watched) -> None:
    watched.hear(watched.script.frame(segment=segment_now(1, "sigmoid")))
    watched.script = Script("another", watched.script.now_ns)
    watched.hear(watched.script.status(source="second.mp4"), watched.script.frame())
    text = watched.text()
    assert "second.mp4" in text
    assert "no segment yet" in text
    assert "engine restarted 1 x" in text


def test_the_end_of_the_stream_is_said(watched: Watched) -> None:
    watched.hear(watched.script.frame(), watched.script.status("ended"))
    watched.later_ms = 5000
    assert "● ended" in watched.text()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (140, 40), (220, 60)])
def test_it_fits_the_terminal(watched: Watched, width: int, height: int) -> None:
    watched.hear(watched.script.status(source="a very long name of a recording " * 5))
    for number in range(1, 9):
        watched.hear(watched.script.segment(number), watched.script.frame(segment=segment_now(9)))
    lines = watched.text(width, height).splitlines()
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert lines[-1].strip().startswith("messages")


def test_watching_once_prints_one_picture_and_writes_it(tmp_path: Path) -> None:
    """The command itself, in a process of its own, reading a real socket."""
    script, picture = Script(), tmp_path / "watch.svg"
    with (
        publishing(ANY_PORT) as sink,
        command("--connect", sink.address, "--once", "--svg", str(picture)) as process,
    ):
        assert sink.wait_for_subscriber(PATIENCE_S)
        sink.publish(script.status())
        for _ in range(99):
            sink.publish(script.frame(segment=segment_now()))
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "100 received, none missed" in out
    assert picture.read_text(encoding="utf-8").startswith("<svg")


def test_control_c_leaves_with_success() -> None:
    with publishing(ANY_PORT) as sink, command("--connect", sink.address, "--once") as process:
        assert sink.wait_for_subscriber(PATIENCE_S)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")


def test_on_a_terminal_it_draws_until_control_c_and_gives_the_screen_back() -> None:
    script = Script()
    ours, theirs = pty.openpty()
    with publishing(ANY_PORT) as sink, command("--connect", sink.address, terminal=theirs) as process:
        os.close(theirs)
        assert sink.wait_for_subscriber(PATIENCE_S)
        screen = _read_until(ours, "waiting for an engine")
        sink.publish(script.frame(segment=segment_now()))
        screen += _read_until(ours, "joined a running engine")
        process.send_signal(signal.SIGINT)
        screen += _read_until(ours, "\x1b[?1049l")
        assert process.wait(PATIENCE_S) == 0
    os.close(ours)
    assert "\x1b[?1049h" in screen  # the alternate screen, so that nothing of the user's is overwritten


def test_without_a_terminal_it_says_what_to_use() -> None:
    app = Typer()
    app.command()(watch)
    result = CliRunner().invoke(app, ["--connect", "tcp://127.0.0.1:1"])
    assert result.exit_code == 2
    assert "--once" in result.output


def command(*arguments: str, terminal: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """`scopeline watch` without the other commands, which have requirements of their own."""
    code = "import typer; from scopeline.commands.watch import watch; typer.run(watch)"
    size = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | size | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=terminal,
        stderr=subprocess.PIPE,
        text=True,
    )


def _read_until(terminal: int, wanted: str) -> str:
    text = ""
    while wanted not in text:
        assert select.select([terminal], [], [], PATIENCE_S)[0], f"{wanted!r} never came, but {text[-500:]!r}"
        text += os.read(terminal, 65536).decode(errors="replace")
    return text


@pytest.mark.parametrize(
    "weather", ["no_signal", "black", "colour_bars", "frozen", "stalled", "reconnecting"]
)
def test_bad_weather_takes_the_tags_away_and_says_what_to_do(watched: Watched, weather: str) -> None:
    watched.hear(*(watched.script.frame(segment=segment_now()) for _ in range(5)))
    assert "SIGMOID" in watched.text()

    watched.hear(watched.script.status("signal", signal=weather, text="check the cable"))

    shown = watched.text()
    assert "SIGMOID" not in shown
    assert f"● {weather.replace('_', ' ')}" in shown
    assert "check the cable" in shown


def test_fair_weather_brings_the_tags_back(watched: Watched) -> None:
    watched.hear(
        watched.script.frame(segment=segment_now()),
        watched.script.status("signal", signal="black", text="dark"),
    )

    watched.hear(
        watched.script.status("signal", signal="running"), watched.script.frame(segment=segment_now())
    )

    assert "SIGMOID" in watched.text()
    assert "dark" not in watched.text()


def test_an_incident_is_shown_for_ten_seconds(watched: Watched) -> None:
    watched.hear(watched.script.frame(segment=segment_now()))
    watched.hear(watched.script.status("incident", incident="frames_missing", text="3 frames are missing"))

    assert "frames missing: 3 frames are missing" in watched.text()

    watched.later_ms = 11_000
    assert "frames missing" not in watched.text()
