from __future__ import annotations

import socket
from pathlib import Path

import pytest

from scopeline_bench.clip import ClipPlan, clip
from scopeline_bench.memory import Belongings, Kept, belongings, measure_memory
from scopeline_bench.networks import write_reference_bundle

_QUIET = Belongings(threads=3, files=9, sockets=0)


def _kept(*rss_mb: float, after: Belongings = _QUIET) -> Kept:
    frames = [1000 * (place + 1) for place in range(len(rss_mb))]
    return Kept(frames=frames, rss_mb=list(rss_mb), before=_QUIET, after=after, seconds=1.0)


def test_a_run_that_gains_and_gives_back_a_little_is_flat() -> None:
    assert _kept(300.0, 300.5, 299.9, 300.4).is_flat


def test_a_slow_leak_is_not_flat() -> None:
    leaking = _kept(*(300.0 + 0.5 * place for place in range(10)))
    assert not leaking.is_flat
    assert leaking.slope_mb == pytest.approx(0.5)


def test_memory_that_was_taken_and_given_back_is_not_flat_either() -> None:
    assert not _kept(300.0, 340.0, 300.0).is_flat


def test_a_socket_that_is_left_open_is_noticed() -> None:
    assert _kept(300.0, 300.0).is_clean
    assert not _kept(300.0, 300.0, after=Belongings(threads=3, files=10, sockets=1)).is_clean


def test_belongings_count_an_open_socket() -> None:
    before = belongings()
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()
        assert belongings().sockets == before.sockets + 1
        assert belongings().files == before.files + 1
    assert belongings() == before


def test_a_run_is_read_at_every_step_and_leaves_nothing_open(tmp_path: Path) -> None:
    path = clip(ClipPlan(320, 240, 25, frames=90, mbit_s=1.0, screen="sd-octagon", loop=30), tmp_path)
    bundle = write_reference_bundle(tmp_path / "tiny", rows=((1, 8, 1, 1),), size=32)
    kept = measure_memory(path, bundle, every=30)
    assert kept.frames == [30, 60, 90]
    assert kept.is_clean
