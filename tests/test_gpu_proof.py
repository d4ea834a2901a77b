"""The parts of the GPU proof that need no GPU: what it reckons, what it shows, and that a broken network is noticed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fake_gpu import FakeMachine
from scopeline.backends.onnx_runtime import OnnxRuntimeBackend
from scopeline.backends.tensorrt_forge import Shown
from scopeline.bundle import load_bundle
from scopeline.hostile_frames import hostile_frames
from scopeline.parity import Stretch, check_parity
from scopeline.shipped import shipped_pipelines
from scopeline_bench.gpu_latency import Percentiles, percentiles, run_live
from scopeline_bench.gpu_parity import Opened, broken_bundle, judge_broken
from scopeline_bench.gpu_preprocess import winner
from scopeline_bench.gpu_rehearsal import HalfGraphOnCpu
from scopeline_bench.gpu_report import tables
from scopeline_bench.gpu_state_folder import SHIPPED
from scopeline_bench.paced_pictures import PacedPictures, drawn_pictures
from scopeline_bench.proof_frames import read_frames
from scopeline_bench.timed_backend import together_ms

_DEMO = shipped_pipelines() / "bundles" / "demo"


def test_networks_at_work_together_count_from_the_first_start_to_the_last_end() -> None:
    spent = {"a": [(0, 1), (10_000_000, 12_000_000)], "b": [(11_000_000, 15_000_000)]}
    assert together_ms(spent) == [5.0]
    assert together_ms({}) == []


def test_percentiles_of_nothing_are_not_a_number_and_not_zero() -> None:
    assert np.isnan(percentiles([]).p99)
    assert percentiles([1.0, 2.0, 3.0]).p50 == 2.0


def test_a_network_of_which_one_layer_is_scaled_fails_the_gate(tmp_path: Path) -> None:
    bundle = load_bundle(_DEMO)
    broken = broken_bundle(bundle, tmp_path / "broken")
    frames = hostile_frames((bundle.input.width, bundle.input.height), count=16)
    right, wrong = (OnnxRuntimeBackend(each, threads=1, precision="fp32") for each in (bundle, broken))
    assert check_parity(bundle, right, right, frames, batches=(4,)).passed
    assert not check_parity(bundle, right, wrong, frames, batches=(4,)).passed


def test_a_plan_of_a_broken_network_is_faithful_to_it_and_fails_against_the_sound_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = FakeMachine(tmp_path)
    machine.install(monkeypatch)
    sound = load_bundle(_DEMO)
    broken = broken_bundle(sound, tmp_path / "broken")
    few = Shown(hostile_frames((sound.input.width, sound.input.height), count=16), (), "16 hostile")
    opened = Opened(machine.cuda, machine.library, machine.store)
    assert machine.forge.make(broken, lambda: few).verdict.passed
    assert not judge_broken(machine.forge, opened, broken, sound, few)["passed"]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_fp16_graph_of_a_shipped_bundle_stays_within_the_bars_on_hostile_frames(name: str) -> None:
    bundle = load_bundle(shipped_pipelines() / "bundles" / name)
    frames = hostile_frames((bundle.input.width, bundle.input.height), count=24)
    reference = OnnxRuntimeBackend(bundle, threads=1, precision="fp32")
    verdict = check_parity(bundle, reference, HalfGraphOnCpu(bundle), frames, batches=(8,))
    assert verdict.failures == ()
    assert min(row.figure for row in verdict.rows if row.check == "max_difference") > 0  # another arithmetic


def test_packed_frames_come_back_in_any_size_with_their_times(tmp_path: Path) -> None:
    packed = tmp_path / "frames.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for clip, count in (("a", 2), ("b", 3), ("stills", 1)):
            for number in range(count):
                picture = np.full((64, 64, 3), 40 * number, np.uint8)
                file.writestr(f"{clip}/{number * 200:08}.jpg", cv2.imencode(".jpg", picture)[1].tobytes())
    frames, stretches = read_frames(packed, (32, 24))
    assert frames.shape == (6, 24, 32, 3)
    assert stretches == (Stretch(0, (0.0, 0.2)), Stretch(2, (0.0, 0.2, 0.4)))
    np.testing.assert_allclose(frames[4], 80, atol=2)


def test_a_paced_feed_goes_to_and_fro_and_ends() -> None:
    names: list[Any] = ["a", "b", "c"]
    shown = [frame.picture for frame in PacedPictures(names, fps=10_000, seconds=0.0008).frames()]
    assert "".join(map(str, shown)) == "abcbabcb"


def test_every_head_speaks_on_every_frame_of_the_latency_run() -> None:
    bundles = [shipped_pipelines() / "bundles" / name for name in ("colon", "polyp-seg")]
    backend = "scopeline_bench.timed_backend:TimedOnnxRuntime"
    pictures = drawn_pictures(2, width=640, height=480)
    figures = run_live(bundles, pictures, backend=backend, precision="fp32", fps=10, seconds=2.5)
    assert (figures.heads, figures.networks) == (4, 2)  # quality, organ, mes and polyp
    assert figures.judged == figures.models.count > 0
    assert figures.told == []


def _live(p50: float) -> dict[str, Any]:
    figures = {"p50": p50, "p95": p50, "p99": p50, "max": None, "count": 9}
    return {
        "heads": 4,
        "fps": 60.0,
        "published": 9,
        "lost": {"late": 1},
        "capture_to_publish": figures,
        "models": figures,
        "overhead": figures,
    }


def test_the_engines_time_is_set_against_the_raw_loop_of_the_same_run() -> None:
    raw = {
        "shipped": {
            "back to back": {"p50": 2.0, "p99": 2.0, "max": 2.0},
            "at 60/s": {"p50": 4.0, "p99": 4, "max": 4},
        }
    }
    found = {"latency": {"shipped": _live(3.0), "seconds": 1.0}, "raw": raw | {"rehearsal": False}}
    latency, loops = tables(found)
    assert latency.rows[0][-1] == "1 of 10"
    assert [row[-1] for row in loops.rows] == ["1.50", "0.75"]


@pytest.mark.parametrize("stage", ["plans", "latency", "raw", "streams", "switch", "torch"])
def test_a_stage_that_found_nothing_makes_no_table(stage: str) -> None:
    assert tables({stage: {"seconds": 1.0, "rehearsal": True}}) == []


@pytest.mark.parametrize(
    ("gpu_p50", "gpu_p99", "wanted"),
    [(4.0, 8.0, "gpu"), (6.0, 12.0, "cpu"), (4.9, 9.9, "none"), (4.0, 12.0, "none"), (5.0, 10.0, "none")],
)
def test_a_way_to_make_views_wins_only_where_it_is_clearly_sooner_at_both_ends(
    gpu_p50: float, gpu_p99: float, wanted: str
) -> None:
    cpu = Percentiles(p50=5.0, p95=8.0, p99=10.0, max=11.0, count=300)
    gpu = Percentiles(p50=gpu_p50, p95=8.0, p99=gpu_p99, max=13.0, count=300)
    assert winner(cpu, gpu) == wanted
