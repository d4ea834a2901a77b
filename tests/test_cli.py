from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scopeline.cli import main
from tiny_bundle import write_tiny_bundle, write_tiny_pipeline


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> _Call:
    return _Call(monkeypatch, capsys)


class _Call:
    """Runs a command line as the shell would; gives the exit code and what was printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("COLUMNS", "200")

    def __call__(self, *words: str | Path) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["scopeline", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err


def test_help_lists_the_commands_and_says_research_use_only(call: _Call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert "research use only" in out.lower()
    for command in ("demo", "batch", "live", "watch", "doctor", "model", "train", "evaluate", "bench"):
        assert command in out


def test_a_help_flows_to_the_width_of_the_terminal_wherever_its_source_breaks(call: _Call) -> None:
    for words, sentence in (
        (["batch"], "so the same command goes on after an interruption, also after kill -9"),
        (
            ["model", "build"],
            "on hostile frames and on frames of your own; only one that passes is ever used",
        ),
        (["bench", "file"], "Exit code 1 when that is less than 1.5 times as many on any clip."),
    ):
        code, out, _ = call(*words, "--help")
        assert code == 0
        assert sentence in out


def test_the_version_is_printed(call: _Call) -> None:
    assert call("--version")[1].startswith("scopeline 0.")


def test_a_wrong_pipeline_ends_with_code_2_and_one_clear_line(call: _Call, tmp_path: Path) -> None:
    code, _, err = call("live", "synthetic", "--pipeline", tmp_path / "missing.toml")
    assert code == 2
    assert err.startswith("error: ")
    assert "no such pipeline file" in err
    assert err.count("\n") == 1


def test_an_unknown_option_ends_with_code_2(call: _Call) -> None:
    assert call("demo", "--colour", "blue")[0] == 2


def test_a_recording_that_is_not_there_ends_with_code_1(call: _Call, tmp_path: Path) -> None:
    code, _, err = call("live", tmp_path / "missing.mp4", "--pipeline", write_tiny_pipeline(tmp_path))
    assert code == 1
    assert "missing.mp4" in err


def test_model_check_accepts_a_sound_bundle(call: _Call, tmp_path: Path) -> None:
    code, out, _ = call("model", "check", write_tiny_bundle(tmp_path / "tiny"))
    assert code == 0
    assert "3 heads" in out


def test_model_check_refuses_a_bundle_without_a_card(call: _Call, tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny")
    (folder / "card.md").unlink()
    code, _, err = call("model", "check", folder)
    assert code == 1
    assert "card.md" in err


def test_model_list_shows_heads_and_licences(call: _Call, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "tiny")
    code, out, _ = call("model", "list", tmp_path)
    assert code == 0
    assert "organ    location  outside, rectum, sigmoid" in out
    assert "Apache-2.0" in out


def test_model_list_of_a_folder_without_bundles_says_what_a_bundle_is(call: _Call, tmp_path: Path) -> None:
    code, _, err = call("model", "list", tmp_path)
    assert code == 1
    assert "a bundle is a folder with bundle.toml" in err


def test_live_replays_a_recording_and_ends_with_its_ledger(call: _Call, tmp_path: Path) -> None:
    from scopeline.simulation.film import render_video
    from scopeline.simulation.procedure import simulate_procedure

    film = tmp_path / "short.mp4"
    render_video(simulate_procedure(seed=3, duration_s=2, fps=10, width=320, height=240), film)
    free = "tcp://127.0.0.1:*"
    code, out, _ = call(
        "live", film, "--pipeline", write_tiny_pipeline(tmp_path),
        "--control", free, "--replay", free, "--journal", tmp_path / "journal",
    )  # fmt: skip
    assert code == 0
    assert "20 frames captured = " in out


def test_a_journal_that_can_have_no_folder_is_refused_before_anything_starts(
    call: _Call, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    code, out, err = call(
        "live",
        "synthetic",
        "--pipeline",
        write_tiny_pipeline(tmp_path),
        "--journal",
        tmp_path / "taken" / "here",
    )
    assert code == 2
    assert "wanted a folder for the journal" in err
    assert "--no-journal" in err
    assert "publishing on" not in out


def test_a_journal_folder_that_this_user_cannot_write_is_refused_too(
    call: _Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path) != there)  # root may write anywhere
    code, _, err = call(
        "live", "synthetic", "--pipeline", write_tiny_pipeline(tmp_path), "--journal", tmp_path / "there"
    )
    assert code == 2
    assert "this user cannot write there; name another, or say --no-journal" in err


def test_results_that_can_have_no_folder_end_with_code_2(call: _Call, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    (tmp_path / "case.mp4").write_bytes(b"whatever is in it")
    code, _, err = call(
        "batch",
        tmp_path / "case.mp4",
        "--pipeline",
        write_tiny_pipeline(tmp_path),
        "--out",
        tmp_path / "taken",
    )
    assert code == 2
    assert f"{tmp_path / 'taken'}: wanted a folder for results" in err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["sctp://10.0.0.7:1"], "check the spelling"),
        (["raw:-"], "--size WIDTHxHEIGHT"),
        (["video.mp4", "--rate", "30"], "leave it out"),
        (["/dev/video0", "--size", "large"], "1920x1080"),
        (["synthetic", "--publish", "tcp://0.0.0.0:5557"], "scopeline keys"),
    ],
)
def test_a_feed_that_cannot_be_is_told_at_once_with_what_is_wanted(
    call: _Call, words: list[str], wanted: str
) -> None:
    code, _, err = call(
        "live", *words, "--pipeline", "demo", "--no-journal", "--control", "tcp://127.0.0.1:*"
    )
    assert code in (1, 2)
    assert wanted in err


def test_a_set_up_that_cannot_work_is_told_once_before_any_recording(call: _Call, tmp_path: Path) -> None:
    pipeline = write_tiny_pipeline(tmp_path)
    pipeline.write_text(
        pipeline.read_text().replace('path = "tiny"', 'path = "tiny"\nbackend = "tensorflow"')
    )
    code, _, err = call("batch", "a.mp4", "b.mp4", "--pipeline", pipeline, "--out", tmp_path / "results")
    assert code == 2
    assert err.count("\n") == 1
    assert "tensorflow" in err
    assert not (tmp_path / "results").exists()


def test_model_check_takes_the_name_of_a_bundle_that_ships(call: _Call) -> None:
    assert call("model", "check", "demo")[0] == 0
