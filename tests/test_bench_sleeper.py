from __future__ import annotations

from pathlib import Path

import pytest

from scopeline.wire import LedgerReport
from scopeline_bench.clip import ClipPlan, clip
from scopeline_bench.networks import write_reference_bundle
from scopeline_bench.sleeper import READER, SLEEPER, Heard, Nap, Ran, run_with_subscribers


def _heard(received: int, missed: int = 0, *, before: int = 0, ended: bool = True) -> Heard:
    return Heard(received=received, missed=missed, before_joining=before, ended=ended, oldest_ms=0)


def _ran(reader: Heard, sleeper: Heard) -> Ran:
    ledger = LedgerReport(captured=110, published=100, in_flight=0, lost={"late": 10}, damaged={})
    return Ran(live=True, slept=True, latency_ms={}, ledger=ledger, heard={READER: reader, SLEEPER: sleeper})


def test_a_sleeper_that_knows_what_it_missed_is_right() -> None:
    assert _ran(_heard(100), _heard(60, 40)).is_right


@pytest.mark.parametrize(
    ("reader", "sleeper"),
    [
        (_heard(99, 1), _heard(100)),
        (_heard(99, before=1), _heard(100)),
        (_heard(100), _heard(60, 39)),
        (_heard(100), _heard(60, 40, ended=False)),
    ],
    ids=["the reader missed one", "the reader came late", "one is unaccounted for", "the end was not heard"],
)
def test_every_way_of_being_wrong_is_noticed(reader: Heard, sleeper: Heard) -> None:
    assert not _ran(reader, sleeper).is_right


def test_reader_and_sleeper_of_a_real_run_account_for_every_message(tmp_path: Path) -> None:
    path = clip(ClipPlan(320, 240, 25, frames=300, mbit_s=1.0, screen="sd-octagon", loop=30), tmp_path)
    bundle = write_reference_bundle(tmp_path / "tiny", rows=((1, 8, 1, 1),), size=32)
    # The run must outlast the nap: who sleeps through the end cannot know of it.
    nap = Nap(after_frames=30, seconds=0.1)
    ran = run_with_subscribers(path, bundle, f"ipc://{tmp_path}/bus", nap, live=False, sleeper_room=20)
    assert ran.sent == 300
    assert ran.heard[READER].received == 300
    assert ran.is_right
