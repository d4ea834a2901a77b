"""The bench that kills engines notices whatever it is made to notice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from scopeline.account import Gap
from scopeline_bench.clip import ClipPlan, clip
from scopeline_bench.journal_kill import Killed, kill_one
from scopeline_bench.networks import write_reference_bundle
from scopeline_bench.received import Received

RIGHT = Killed(
    after_s=1.0,
    received=100,
    absent=0,
    in_journal=101,
    files=2,
    torn_bytes=17,
    faults=0,
    lost=10,
    healed=8,
    wrongly_healed=0,
    answered=10,
    answered_wrongly=0,
)


def test_a_run_in_which_all_is_there_is_right() -> None:
    assert RIGHT.is_right


@pytest.mark.parametrize(
    "wrong",
    [
        {"absent": 1},
        {"faults": 1},
        {"wrongly_healed": 1},
        {"answered": 9},
        {"answered_wrongly": 1},
        {"received": 0},
    ],
)
def test_every_way_of_being_wrong_is_noticed(wrong: dict[str, int]) -> None:
    assert not msgspec.structs.replace(RIGHT, **wrong).is_right


def _received(*seqs: int, byte: str = "x", topic: str = "frame") -> Received:
    made = Received()
    for seq in seqs:
        made.add(topic.encode(), b'{"session":"s","seq":%d,"it":"%s"}' % (seq, byte.encode()))
    return made


def test_what_is_absent_or_has_other_bytes_is_counted() -> None:
    assert _received(1, 2, 3).not_in(_received(1, 2, 3, 4)) == 0
    assert _received(1, 2, 3).not_in(_received(1, 3)) == 1
    assert _received(1, 2, 3).not_in(_received(1, 2, 3, byte="y")) == 3
    assert _received(1, 1).twice == 1


def test_numbers_are_asked_for_as_stretches() -> None:
    numbers = _received(4, 5, 6, 9, 1)
    numbers.add(b"segment", b'{"session":"s","seq":7}')
    assert list(numbers.stretches()) == [
        Gap("frame", 1, 1),
        Gap("frame", 4, 6),
        Gap("frame", 9, 9),
        Gap("segment", 7, 7),
    ]
    assert list(Received().stretches()) == []


def test_an_engine_that_is_killed_has_lost_nothing_that_a_subscriber_had(tmp_path: Path) -> None:
    path = clip(ClipPlan(320, 240, 100, frames=1500, mbit_s=1.0, screen="sd-octagon", loop=30), tmp_path)
    bundle = write_reference_bundle(tmp_path / "tiny", rows=((1, 8, 1, 1),), size=32)
    killed = kill_one(path, bundle, tmp_path, 0.7, seed=3)  # whose first loss is the seventh message
    assert killed.is_right
    assert killed.lost > 0
