from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeline.errors import LedgerError
from scopeline.ledger import Ledger


@given(st.lists(st.sampled_from(["capture", "publish", "lose"]), max_size=50))
def test_the_equation_holds_at_every_moment(steps: list[str]) -> None:
    ledger = Ledger()
    for step in steps:
        if step == "lose":
            ledger.lose("late")
        else:
            getattr(ledger, step)()
        report = ledger.report()
        assert report.captured == report.published + report.in_flight + sum(report.lost.values())


def test_a_balanced_ledger_settles() -> None:
    ledger = Ledger()
    ledger.capture()
    ledger.capture()
    ledger.publish()
    ledger.lose("late")
    ledger.settle()


def test_a_frame_that_vanished_is_an_error_that_says_how_many() -> None:
    ledger = Ledger()
    ledger.capture()
    with pytest.raises(LedgerError, match=r"\+1 unaccounted"):
        ledger.settle()


def test_a_frame_that_was_published_twice_is_an_error() -> None:
    ledger = Ledger()
    ledger.capture()
    ledger.publish()
    ledger.publish()
    with pytest.raises(LedgerError, match="-1 unaccounted"):
        ledger.settle()


def test_damaged_packets_stand_beside_the_equation() -> None:
    assert Ledger().report({"truncated": 2}).damaged == {"truncated": 2}
