"""Control: what a request does, without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scopeline.control import MOST_BYTES, MOST_LABEL, Control
from scopeline.live_marks import MOST_WAITING, LiveMarks
from scopeline.marks import Mark, Marks
from scopeline.notices import Notices, Trouble

SECOND_NS = 1_000_000_000


class Room:
    """A control with its box of marks and its notices."""

    def __init__(self, *locations: str) -> None:
        self.marks, self.notices = LiveMarks(), Notices()
        self.control = Control(
            self.marks, self.notices, session="5e55101", version="0.1.0", locations=locations
        )

    def say(self, request: object, heard_ns: int = SECOND_NS) -> dict[str, Any]:
        content = request if isinstance(request, bytes) else json.dumps(request).encode()
        answer: dict[str, Any] = json.loads(self.control.answer(content, heard_ns))
        return answer

    def heard(self) -> list[Mark]:
        return self.marks.rest(0.0, 0)


def test_a_mark_is_taken_with_its_label_and_answered() -> None:
    room = Room("rectum", "sigmoid")
    answer = room.say({"do": "mark", "kind": "segment", "label": "sigmoid"}, 5 * SECOND_NS)
    assert answer == {
        "do": "mark",
        "ok": True,
        "session": "5e55101",
        "kind": "segment",
        "label": "sigmoid",
        "at_ns": 5 * SECOND_NS,
    }
    assert [(mark.kind, mark.label) for mark in room.heard()] == [("segment", "sigmoid")]


def test_segment_is_what_a_mark_is_unless_it_says_otherwise() -> None:
    room = Room()
    assert room.say({"do": "mark", "label": "rectum"})["kind"] == "segment"


@pytest.mark.parametrize("kind", ["freeze", "biopsy", "ignore", "end"])
def test_marks_without_a_label_are_taken(kind: str) -> None:
    room = Room("rectum")
    assert room.say({"do": "mark", "kind": kind})["ok"] is True
    assert [mark.kind for mark in room.heard()] == [kind]


def test_a_note_may_be_any_short_text() -> None:
    room = Room("rectum")
    assert room.say({"do": "mark", "kind": "biopsy", "label": "zwei Proben, 30 cm"})["ok"] is True
    assert [mark.label for mark in room.heard()] == ["zwei Proben, 30 cm"]


def test_status_says_who_is_there() -> None:
    room = Room("rectum")
    room.say({"do": "mark", "kind": "end"})
    room.say(b"nonsense")
    answer = room.say({"do": "status"})
    assert answer["ok"] is True
    assert (answer["session"], answer["version"]) == ("5e55101", "0.1.0")
    assert (answer["marks"], answer["refused"], answer["locations"]) == (1, 1, ["rectum"])


REFUSED: dict[str, object] = {
    "not JSON": b"mark rectum",
    "no object": [1, 2],
    "nothing": b"",
    "bytes that are no text": b'{"do": "mark", "label": "\xff\xfe"}',
    "an unknown request": {"do": "stop"},
    "no request": {"kind": "freeze"},
    "an unknown kind": {"do": "mark", "kind": "explode"},
    "an unknown field": {"do": "mark", "label": "rectum", "patient": "x"},
    "a number for a label": {"do": "mark", "label": 7},
    "a place the pipeline does not have": {"do": "mark", "label": "stomach"},
    "a segment without a label": {"do": "mark"},
    "a mark from the future": {"do": "mark", "kind": "freeze", "age_ms": -1},
    "a mark from long ago": {"do": "mark", "kind": "freeze", "age_ms": 60_000},
    "an end with a label": {"do": "mark", "kind": "end", "label": "rectum"},
    "a label of spaces": {"do": "mark", "kind": "biopsy", "label": "   "},
    "a label with a control character": {"do": "mark", "kind": "biopsy", "label": "a\x1b[2Jb"},
    "a label that is too long": {"do": "mark", "kind": "biopsy", "label": "x" * (MOST_LABEL + 1)},
    "a request that is too long": b'{"do": "status"}' + b" " * MOST_BYTES,
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07os.exit\x94.",
    "JSON that is nested without end": b"[" * 1000,
}


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_understood_is_answered_counted_and_does_nothing(request_: object) -> None:
    room = Room("rectum", "sigmoid")
    answer = room.say(request_)
    assert answer["ok"] is False
    assert answer["error"]
    assert room.control.refused == 1
    assert room.heard() == []
    assert [notice.what for notice in room.notices.take()] == [Trouble.CONTROL_REFUSED]


def test_without_locations_a_segment_may_be_called_anything_short() -> None:
    room = Room()
    assert room.say({"do": "mark", "label": "left nostril"})["ok"] is True
    assert room.say({"do": "mark"})["ok"] is False


def test_a_flood_of_refusals_is_told_once_a_second() -> None:
    room = Room()
    for millisecond in range(2500):
        room.say(b"?", millisecond * 1_000_000 + SECOND_NS)
    told = room.notices.take()
    assert [notice.at_ns for notice in told] == [SECOND_NS, 2 * SECOND_NS, 3 * SECOND_NS]
    assert room.control.refused == 2500


def test_an_error_quotes_nothing_that_a_terminal_would_obey() -> None:
    room = Room("rectum")
    error = room.say({"do": "mark", "label": "\x1b[2J\n" * 10})["error"]
    (notice,) = room.notices.take()
    assert error.isprintable()
    assert notice.text.isprintable()


def test_a_stuck_pedal_fills_a_box_and_no_more() -> None:
    room = Room()
    answers = [room.say({"do": "mark", "kind": "freeze"})["ok"] for _ in range(MOST_WAITING + 10)]
    assert answers == [True] * MOST_WAITING + [False] * 10
    assert len(room.heard()) == MOST_WAITING


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_have_no_effect(content: bytes) -> None:
    room = Room("rectum")
    assert room.say(content)["ok"] is False
    assert room.heard() == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["do", "kind", "label", "x"]), _JSON | st.just("mark"), max_size=4))
def test_a_mark_is_taken_only_when_the_answer_says_so(request_: dict[str, object]) -> None:
    room = Room("rectum")
    answer = room.say(request_)
    assert len(room.heard()) == (answer["ok"] and answer["do"] == "mark")


# When a live mark counts from.


def test_a_mark_counts_from_when_it_was_heard() -> None:
    """Heard 30 ms before the frame of stream second 12.0 was captured: stream second 11.97."""
    marks = LiveMarks()
    assert marks.due(11.96, 4_960_000_000) == []
    marks.add("segment", "rectum", 4_970_000_000)
    (mark,) = marks.due(12.0, 5_000_000_000)
    assert (mark.kind, mark.label) == ("segment", "rectum")
    assert mark.time_s == pytest.approx(11.97)
    assert marks.due(12.04, 5_040_000_000) == []


def test_a_mark_is_not_due_before_a_frame_that_came_after_it() -> None:
    """A frame takes a while through the stages; a mark said meanwhile belongs behind it."""
    marks = LiveMarks()
    marks.add("freeze", None, 1_050_000_000)
    assert marks.due(1.0, 1_000_000_000) == []
    assert [mark.time_s for mark in marks.due(1.1, 1_100_000_000)] == [pytest.approx(1.05)]


def test_a_mark_that_took_its_time_counts_from_when_it_was_made() -> None:
    room = Room()
    room.marks.due(10.0, 10 * SECOND_NS)
    assert room.say({"do": "mark", "kind": "freeze", "age_ms": 900}, 10 * SECOND_NS)["at_ns"] == 9_100_000_000
    assert [mark.time_s for mark in room.marks.due(10.02, 10_020_000_000)] == [pytest.approx(9.1)]


def test_a_mark_never_lies_before_an_earlier_one() -> None:
    marks = LiveMarks(Marks([Mark(9.5, "freeze")]))
    marks.due(10.0, 10 * SECOND_NS)
    marks.add("biopsy", None, 9 * SECOND_NS)
    assert [mark.time_s for mark in marks.due(10.02, 10_020_000_000)] == [9.5]


def test_a_mark_before_the_first_frame_lies_at_its_beginning() -> None:
    marks = LiveMarks()
    marks.add("segment", "rectum", SECOND_NS)
    assert [mark.time_s for mark in marks.due(0.0, 60 * SECOND_NS)] == [0.0]


def test_a_mark_after_the_last_frame_is_not_lost() -> None:
    marks = LiveMarks()
    marks.due(10.0, 10 * SECOND_NS)
    marks.add("end", None, 12 * SECOND_NS)
    assert marks.due(10.0, 10 * SECOND_NS) == []
    assert marks.rest(10.0, 10 * SECOND_NS) == [Mark(12.0, "end")]


def test_live_marks_and_those_of_a_file_come_in_order_of_time() -> None:
    marks = LiveMarks(Marks([Mark(4.5, "freeze"), Mark(9.0, "end")]))
    marks.add("segment", "rectum", 4_600_000_000)
    marks.add("biopsy", None, 4_400_000_000)
    assert [mark.kind for mark in marks.due(5.0, 5 * SECOND_NS)] == ["biopsy", "freeze", "segment"]
    assert [mark.kind for mark in marks.due(9.0, 9 * SECOND_NS)] == ["end"]


def test_a_mark_that_could_not_be_made_is_told_to_who_said_it() -> None:
    with pytest.raises(ValueError, match="label"):
        LiveMarks().add("segment", None, 0)
