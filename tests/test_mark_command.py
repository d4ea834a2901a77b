"""`scopeline mark` against a desk at work."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from messages import ANY_PORT, PATIENCE_S
from scopeline.cli import main
from scopeline.control import Control
from scopeline.desk import Desk
from scopeline.keys import ENGINE, EngineKeys, KeyFolder
from scopeline.live_marks import LiveMarks
from scopeline.notices import Notices


@contextmanager
def listening(marks: LiveMarks, keys: EngineKeys | None = None) -> Iterator[str]:
    """The address of a control at work, which knows rectum and sigmoid."""
    control = Control(marks, Notices(), session="5e55101", version="0.1.0", locations=("rectum", "sigmoid"))
    with zmq.Context() as context, Desk(context, control=(ANY_PORT, control), keys=keys) as desk:
        thread = threading.Thread(target=desk.work)
        thread.start()
        try:
            yield str(desk.control_address)
        finally:
            desk.stop()
            thread.join(PATIENCE_S)


@pytest.fixture
def mark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["scopeline", "mark", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.mark.parametrize(
    ("words", "kind", "label"),
    [
        (["rectum"], "segment", "rectum"),
        (["--biopsy", "two, at 30 cm"], "biopsy", "two, at 30 cm"),
        (["--biopsy"], "biopsy", None),
        (["--freeze"], "freeze", None),
        (["--ignore"], "ignore", None),
        (["--end"], "end", None),
    ],
)
def test_what_is_said_is_heard(
    mark: Callable[..., tuple[int, str, str]], words: list[str], kind: str, label: str | None
) -> None:
    marks = LiveMarks()
    with listening(marks) as address:
        code, out, _ = mark(*words, "--connect", address)
    assert code == 0
    assert out.startswith(f"marked: {kind}")
    assert [(heard.kind, heard.label) for heard in marks.rest(0.0, 0)] == [(kind, label)]


def test_a_mark_counts_from_before_the_program_had_started(mark: Callable[..., tuple[int, str, str]]) -> None:
    marks, called_ns = LiveMarks(), time.monotonic_ns()
    with listening(marks) as address:
        mark("--freeze", "--connect", address)
    assert marks.due(0.0, called_ns), "this process began before it was asked to mark"


def test_a_place_that_the_pipeline_does_not_know_is_refused_with_those_it_knows(
    mark: Callable[..., tuple[int, str, str]],
) -> None:
    marks = LiveMarks()
    with listening(marks) as address:
        code, _, err = mark("stomach", "--connect", address)
    assert code == 1
    assert "rectum, sigmoid" in err
    assert marks.rest(0.0, 0) == []


def test_checking_says_who_answers_and_marks_nothing(mark: Callable[..., tuple[int, str, str]]) -> None:
    marks = LiveMarks()
    with listening(marks) as address:
        code, out, _ = mark("--check", "--connect", address)
    assert code == 0
    assert "5e55101" in out
    assert "rectum, sigmoid" in out
    assert marks.rest(0.0, 0) == []


def test_when_nobody_listens_it_says_so_in_time_and_ends_with_code_1(
    mark: Callable[..., tuple[int, str, str]],
) -> None:
    with listening(LiveMarks()) as address:
        pass
    code, _, err = mark("rectum", "--connect", address, "--timeout-s", "0.1")
    assert code == 1
    assert "no answer" in err
    assert "Is scopeline live running?" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--end", "--freeze"], ["--end", "rectum"], ["--ignore", "x"]])
def test_what_makes_no_sense_is_wrong_usage(
    mark: Callable[..., tuple[int, str, str]], words: list[str]
) -> None:
    assert mark(*words)[0] == 2


def test_an_address_that_is_none_is_told(mark: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = mark("rectum", "--connect", "5559")
    assert code == 1
    assert "tcp://127.0.0.1:5559" in err


def test_another_program_at_that_address_is_told(mark: Callable[..., tuple[int, str, str]]) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as echo:
        port = echo.bind_to_random_port("tcp://127.0.0.1")
        thread = threading.Thread(target=lambda: echo.send_multipart(echo.recv_multipart()))
        thread.start()
        code, _, err = mark("rectum", "--connect", f"tcp://127.0.0.1:{port}")
        thread.join(PATIENCE_S)
    assert code == 1
    assert "not a Scopeline control socket" in err


def test_with_an_operators_key_a_mark_is_heard_and_without_it_is_not(
    mark: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    folder, marks = KeyFolder(tmp_path / "keys"), LiveMarks()
    folder.create(ENGINE)
    pedal, viewer = folder.create("pedal"), folder.create("viewer")
    folder.allow("pedal", pedal.public, "operators")
    folder.allow("viewer", viewer.public, "subscribers")
    with listening(marks, EngineKeys(folder)) as address:
        quick = ["--connect", address, "--timeout-s", "0.3"]
        assert mark("rectum", *quick)[0] == 1
        code, _, err = mark("rectum", "--key", folder.secret_file("viewer"), *quick)
        assert code == 1
        assert "list of operators" in err
        assert marks.rest(0.0, 0) == []
        assert mark("rectum", "--key", folder.secret_file("pedal"), "--connect", address)[0] == 0
    assert len(marks.rest(0.0, 0)) == 1


def test_a_key_that_is_not_there_is_wrong_configuration(
    mark: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    assert mark("rectum", "--key", tmp_path / "none.secret.toml")[0] == 2
    assert mark("rectum", "--server", "engine.public.toml")[0] == 2


EXAMPLE = Path(__file__).parents[1] / "docs/examples/pedal.py"


def test_the_example_on_the_page_sets_a_mark_with_pyzmq_alone() -> None:
    marks = LiveMarks()
    with listening(marks) as address:
        words = [sys.executable, "-W", "error", str(EXAMPLE)]
        subprocess.run([*words, "segment", "sigmoid", address], check=True, timeout=PATIENCE_S)
        refused = subprocess.run(
            [*words, "segment", "nowhere", address], capture_output=True, text=True, timeout=PATIENCE_S
        )
    assert refused.returncode == 1
    assert "rectum, sigmoid" in refused.stderr
    assert [(heard.kind, heard.label) for heard in marks.rest(0.0, 0)] == [("segment", "sigmoid")]


def test_the_page_shows_the_example_as_it_is() -> None:
    page = EXAMPLE.parents[1] / "operator.md"
    assert f"```python\n{EXAMPLE.read_text('utf-8')}```" in page.read_text("utf-8")
