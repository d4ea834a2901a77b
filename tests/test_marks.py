"""Marks: the sidecar file and when each mark is due."""

from __future__ import annotations

from pathlib import Path

import pytest

from scopeline.errors import ConfigError
from scopeline.marks import Mark, Marks, decode_marks, marks_path, read_marks


def test_a_marks_file_is_read_in_order_of_time() -> None:
    marks = decode_marks(
        b"""
        [[marks]]
        at_s = 200.5
        kind = "end"
        [[marks]]
        at = "00:02:10"
        label = "sigmoid"
        """,
        origin="v.marks.toml",
    )
    assert list(marks) == [Mark(130.0, "segment", "sigmoid"), Mark(200.5, "end")]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [('"01:00:00"', 3600.0), ('"02:10"', 130.0), ('"00:00:01.25"', 1.25)],
)
def test_times_are_written_as_on_a_clock(text: str, seconds: float) -> None:
    (mark,) = decode_marks(f'[[marks]]\nat = {text}\nkind = "freeze"'.encode(), origin="m")
    assert mark.time_s == seconds


def test_a_mark_is_due_once() -> None:
    marks = Marks([Mark(5.0, "freeze"), Mark(1.0, "freeze"), Mark(5.0, "biopsy")])
    assert marks.due(0.9) == []
    assert [mark.time_s for mark in marks.due(1.0)] == [1.0]
    assert [mark.kind for mark in marks.due(60.0)] == ["freeze", "biopsy"]
    assert marks.due(61.0) == []
    assert marks.due(0.0) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[[marks]]\nat_s = 1.0\nlabl = 'x'", "labl"),
        (
            "[[marks]]\nat_s = 1.0\nlabel = 'x'\n[[marks]]\nat = '00:99:00'\nlabel = 'y'",
            r"marks\[1\].*hh:mm:ss",
        ),
        ("[[marks]]\nlabel = 'x'", r"marks\[0\].*either"),
        ("[[marks]]\nat_s = 3.0", r"marks\[0\].*label"),
        ("[[marks]]\nat_s = -3.0\nlabel = 'x'", r"marks\[0\].*starts at 0"),
        ("[[marks]]\nat_s = 3.0\nkind = 'stop'", "stop"),
        ("[[marks]]\nat_s = 3.0\nkind = 'end'\nlabel = 'x'", "takes no label"),
        ("[[marks", "v.marks.toml"),
    ],
)
def test_a_wrong_marks_file_is_answered_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ConfigError, match=place) as caught:
        decode_marks(text.encode(), origin="v.marks.toml")
    assert str(caught.value).startswith("v.marks.toml")


def test_the_marks_lie_beside_the_recording(tmp_path: Path) -> None:
    assert marks_path(Path("a/b.mp4")) == Path("a/b.marks.toml")
    with pytest.raises(ConfigError, match=r"b\.marks\.toml"):
        read_marks(tmp_path / "b.marks.toml")
