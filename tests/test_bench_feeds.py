"""The bench of live feeds, checked against planted truth, and small real runs of it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from multiprocessing import resource_tracker
from pathlib import Path

import cv2
import msgspec
import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from av.video.frame import VideoFrame

from scopeline.errors import ConfigError
from scopeline.wire import LedgerReport
from scopeline_bench.churn import ChurnRun, Recovery, measure_churn
from scopeline_bench.engine_process import Weight
from scopeline_bench.feeds import measure_feed
from scopeline_bench.journeys import account, journeys, times
from scopeline_bench.scope_loop import LoopFormat, LoopPlan, ScopeLoop, draw_loop, number_in
from scopeline_bench.soak import Minute, Soak, measure_soak
from scopeline_bench.stamps import StampReader, StampWriter, read_stamps
from scopeline_bench.tapped_engine import EngineReport, luma
from scopeline_bench.transmission import kinds_named
from scopeline_bench.watched_feed import PictureSize, watched_feed

_SMALL = PictureSize(320, 240, 25)


@pytest.fixture(scope="module", autouse=True)
def _a_cache_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCOPELINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_a_row_that_is_being_written_is_not_read_yet(tmp_path: Path) -> None:
    path = tmp_path / "stamps"
    writer, reader = StampWriter(path), StampReader(path, 2)
    writer.write(1, 10)
    with path.open("ab") as file:
        file.write(b"\x02\x00\x00")  # the beginning of the next
    assert reader.new().tolist() == [[1, 10]]
    with path.open("ab") as file:
        file.write(np.array([2, 20], np.int64).tobytes()[3:])
    assert reader.new().tolist() == [[2, 20]]
    writer.close()


def test_stamps_of_a_process_that_was_killed_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "stamps"
    code = (
        "import os, pathlib, signal\n"
        "from scopeline_bench.stamps import StampWriter\n"
        f"writer = StampWriter(pathlib.Path({str(path)!r}))\n"
        "for number in range(100): writer.write(number, -number)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert read_stamps(path, 2)[:, 0].tolist() == list(range(100))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuyv422"])
def test_the_number_of_every_picture_can_be_read_from_it(pixel_format: LoopFormat, tmp_path: Path) -> None:
    plan = LoopPlan(320, 240, 25, pixel_format, pictures=4)
    loop = ScopeLoop(draw_loop(plan, tmp_path), plan)
    for number in (0, 5, 6, 7, 100_003):
        content = np.frombuffer(loop.picture(number), np.uint8)
        planes = content.reshape(240, 640)[:, ::2] if pixel_format == "yuyv422" else content[: 320 * 240]
        assert number_in(planes.reshape(240, 320)) == number


def test_the_loop_goes_forth_and_back_and_never_stands_still(tmp_path: Path) -> None:
    plan = LoopPlan(320, 240, 25, "yuv420p", pictures=4)
    loop = ScopeLoop(draw_loop(plan, tmp_path), plan)
    middle = [bytes(loop.picture(number)[320 * 100 : 320 * 140]) for number in range(13)]
    assert all(one != other for one, other in pairwise(middle))
    assert middle[:7] == middle[6:]


def test_the_tap_reads_what_the_engine_is_given(tmp_path: Path) -> None:
    plan = LoopPlan(320, 240, 25, "yuv420p", pictures=2)
    loop = ScopeLoop(draw_loop(plan, tmp_path), plan)
    pixels = np.frombuffer(loop.picture(77), np.uint8).reshape(360, 320)
    assert number_in(luma(VideoFrame.from_ndarray(pixels, format="yuv420p"))) == 77
    packed = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_YUV2RGB_I420), cv2.COLOR_RGB2YUV_YUYV)
    assert number_in(luma(VideoFrame.from_ndarray(np.asarray(packed, np.uint8), format="yuyv422"))) == 77


_MADE = np.array([[number, 1000 + 100 * number] for number in (0, 1, 2, 4, 5, 6)], np.int64)
"""Place 3 was left out by the sender."""
_CAPTURED = np.array(
    [[0, 1, 1150, 9], [1, 2, 1250, 9], [2, 2, 1260, 9], [3, -1, 1350, 9], [4, 5, 1550, 9]], np.int64
)
"""Picture 2 came twice, one could not be read, 4 never came."""
_HEARD = np.array([[0, 1150, 1170, 1180, 1], [1, 1250, 1270, 1290, 0], [4, 1550, 1560, 1600, 1]], np.int64)


def test_a_journey_is_put_together_from_what_three_processes_wrote() -> None:
    found = journeys(_MADE, _CAPTURED, _HEARD)
    assert found.number.tolist() == [1, 2, 5]
    assert (found.made_to_received_ms * 1e6).tolist() == pytest.approx([80, 90, 100])
    assert found.between(1200, 1600).number.tolist() == [2]
    assert found.legs()["made to captured"].count == 3


def test_every_picture_is_accounted_for() -> None:
    counts = account(_MADE, _CAPTURED, _HEARD)
    assert (counts.made, counts.left_out, counts.never_captured) == (4, 1, 1)
    assert (counts.captured, counts.unreadable, counts.repeated) == (5, 1, 1)
    assert (counts.received, counts.judged) == (3, 2)


def test_nothing_heard_is_no_journey() -> None:
    empty = np.empty((0, 5), np.int64)
    assert len(journeys(_MADE, _CAPTURED, empty).number) == 0
    assert account(_MADE, empty[:, :4], empty).made == 0


def test_an_unknown_feed_is_named_with_those_that_there_are() -> None:
    assert kinds_named("udp, raw") == ["raw", "udp"]
    with pytest.raises(ConfigError, match=r"raw, udp, tcp.*got ndi"):
        kinds_named("ndi,udp")


def _report(*, left: int = 0) -> EngineReport:
    ledger = LedgerReport(captured=9, published=7, in_flight=0, lost={"late": 2}, damaged={})
    return EngineReport(
        ended="stopped",
        ledger=ledger,
        latency_ms={},
        seconds=1.0,
        threads_left=["thread"] * left,
        files_left=[],
        cpu_s=0.0,
        children_cpu_s=0.0,
    )


def _weight(rss_mb: float = 200.0, threads: int = 9) -> Weight:
    return Weight(at_ns=0, rss_mb=rss_mb, threads=threads, files=20, children=1, children_rss_mb=80.0)


def _recovery(
    *, told_ms: float | None = 300.0, back_ms: float | None = 900.0, weight: Weight | None = None
) -> Recovery:
    return Recovery(
        pause_s=1.0,
        told_ms=told_ms,
        told_as="stalled",
        started_ms=400.0,
        recovered_ms=back_ms,
        after=times(np.array([50.0, 60.0])),
        weight=weight or _weight(),
    )


def _churn(*recoveries: Recovery, left: int = 0) -> ChurnRun:
    return ChurnRun(
        kind="udp",
        seed=1,
        before=times(np.array([50.0])),
        weight_before=_weight(),
        recoveries=list(recoveries),
        report=_report(left=left),
        changes=[],
    )


def test_a_feed_that_always_came_back_is_right() -> None:
    assert _churn(*[_recovery()] * 8).is_right


@pytest.mark.parametrize(
    "run",
    [
        _churn(_recovery(), _recovery(back_ms=None)),
        _churn(_recovery(), _recovery(told_ms=None)),
        _churn(_recovery(), _recovery(told_ms=501.0)),
        _churn(*(_recovery(weight=_weight(200.0 + life)) for life in range(8))),
        _churn(_recovery(), _recovery(weight=_weight(threads=10))),
        _churn(_recovery(), left=1),
    ],
    ids=["never came back", "not told", "told late", "memory grew", "a thread more", "a thread at the end"],
)
def test_every_way_in_which_churn_can_go_wrong_is_noticed(run: ChurnRun) -> None:
    assert not run.is_right


def _soak(p99: list[float], rss_mb: list[float] | None = None) -> Soak:
    minutes = [
        Minute(
            made_to_received=msgspec.structs.replace(times(np.array([40.0])), p99=value),
            captured_to_published=times(np.array([5.0])),
            published_to_received=times(np.array([0.5])),
            rss_mb=held,
            children_rss_mb=80.0,
            threads=9,
            files=20,
            load=1.0,
        )
        for value, held in zip(p99, rss_mb or [200.0] * len(p99), strict=True)
    ]
    return Soak(
        kind="udp",
        size="",
        planned=len(p99),
        minutes=minutes,
        weights=[],
        changes=[],
        reasons={},
        report=_report(),
    )


def test_a_soak_with_noise_has_not_drifted() -> None:
    assert _soak([60, 75, 64, 61, 70, 66, 63, 74, 69, 62, 71, 65]).is_right


def test_latency_that_creeps_up_has_drifted() -> None:
    soak = _soak([60.0 + 3 * minute for minute in range(12)])
    assert soak.has_drifted
    assert not soak.is_right


def test_memory_that_creeps_up_is_not_flat() -> None:
    soak = _soak([60.0] * 12, [200.0 + 0.5 * minute for minute in range(12)])
    assert soak.slope_mb_per_hour == pytest.approx(30.0)
    assert not soak.is_right


def test_every_picture_through_a_raw_pipe_becomes_a_result() -> None:
    run = measure_feed("raw", seconds=2.0, size=_SMALL, pipeline="demo", warm_up_s=0.0)
    assert run.is_right, run.report
    assert (run.account.unreadable, run.account.repeated, run.account.never_captured) == (0, 0, 0)
    assert run.legs["made to received"].count > 10
    assert _children() == []


@pytest.mark.programs("ffmpeg")
def test_pictures_that_ffmpeg_sends_over_udp_become_results() -> None:
    run = measure_feed("udp", seconds=2.0, size=_SMALL, pipeline="demo", warm_up_s=0.0)
    assert run.is_right, run.report
    assert run.account.repeated == 0
    assert 0 < run.legs["made to captured"].p50 < run.legs["made to received"].p50
    assert _children() == []


def test_a_sender_that_was_killed_is_told_and_comes_back() -> None:
    run = measure_churn(
        "raw",
        deaths=1,
        seed=3,
        size=_SMALL,
        pipeline="demo",
        first_life_s=1.2,
        life_s=(1.2, 1.3),
        pause_s=(0.7, 0.8),
    )
    assert len(run.recovered_ms) == 1
    assert {each.told_as for each in run.recoveries} <= {"reconnecting", "stalled"}
    assert len(run.told_ms) == 1
    assert run.report.balances
    assert _children() == []


def test_a_soak_is_kept_minute_by_minute() -> None:
    kept: list[int] = []
    soak = measure_soak(
        "raw",
        minutes=2,
        size=_SMALL,
        pipeline="demo",
        on_minute=lambda soak: kept.append(len(soak.minutes)),
        warm_up_s=0.5,
        minute_s=0.5,
    )
    assert kept == [1, 2]
    assert all(minute.made_to_received.count for minute in soak.minutes)
    assert soak.report is not None
    assert soak.report.balances


def test_nothing_runs_on_after_an_error() -> None:
    def fails() -> None:
        with watched_feed("raw", _SMALL, "demo"):
            raise LookupError(f"{len(_ours())} children")

    with pytest.raises(LookupError, match="2 children"):
        fails()
    assert _children() == []


def _children() -> list[str]:
    """What this process started and still runs, given a moment to be reaped."""
    end_s = time.monotonic() + 5
    while (left := _ours()) and time.monotonic() < end_s:
        psutil.wait_procs(left, timeout=0.2)
    return [str(each) for each in left]


def _ours() -> list[psutil.Process]:
    """Processes below this one, without Python's own tracker of shared resources: an earlier test may have started
    it, and it lives as long as the interpreter."""
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
    return [each for each in psutil.Process().children(recursive=True) if each.pid != tracker]
