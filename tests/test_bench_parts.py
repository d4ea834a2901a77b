"""The bench's own parts, checked against planted truth: a bench that measures wrongly is worse than none."""

from __future__ import annotations

from pathlib import Path

import av
import msgspec
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from rich.console import Console

from scopeline.backends import open_backend
from scopeline.bundle import load_bundle
from scopeline.errors import BundleError
from scopeline.shipped import shipped_pipelines
from scopeline_bench.clip import ClipPlan, clip
from scopeline_bench.machine import this_machine
from scopeline_bench.networks import float_twin, write_reference_bundle
from scopeline_bench.own_process import measured
from scopeline_bench.report import Rows, publish, spread
from scopeline_bench.stage import bundle_folder

_TINY = ((1, 8, 1, 1), (6, 16, 2, 2))


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = ClipPlan(192, 144, 25, frames=70, mbit_s=0.5, screen="sd-octagon", loop=25)
    return clip(plan, tmp_path_factory.mktemp("clips"))


def test_a_repeated_clip_has_the_frames_that_were_asked_for(small_clip: Path) -> None:
    with av.open(str(small_clip)) as container:
        pictures = [
            (picture.time, picture.to_ndarray(format="gray")) for picture in container.decode(video=0)
        ]
    times_s = [time_s for time_s, _ in pictures]
    assert len(pictures) == 70
    assert times_s == sorted(set(times_s))
    assert times_s[:60] == pytest.approx(np.arange(60) / 25, abs=1e-3)
    assert np.array_equal(pictures[3][1], pictures[28][1])


def test_a_clip_is_made_once(small_clip: Path) -> None:
    plan = ClipPlan(192, 144, 25, frames=70, mbit_s=0.5, screen="sd-octagon", loop=25)
    made_ns = small_clip.stat().st_mtime_ns
    assert clip(plan, small_clip.parent).stat().st_mtime_ns == made_ns
    assert not list(small_clip.parent.glob("*.part.*"))


def test_the_reference_network_is_a_bundle_that_judges_every_frame_alike(tmp_path: Path) -> None:
    bundle = load_bundle(write_reference_bundle(tmp_path / "tiny", rows=_TINY, size=32))
    backend = open_backend("onnxruntime", bundle, threads=1, precision="fp32")
    noise = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    good = [bundle.heads[0].probabilities(row)[1] for row in backend.infer(noise)["quality"]]
    assert min(good) > 0.9


def test_the_full_reference_network_has_the_size_of_mobilenet_v2(tmp_path: Path) -> None:
    bundle = write_reference_bundle(tmp_path / "mobilenet_v2")
    weights = (bundle / "model.onnx").stat().st_size / 4
    assert weights == pytest.approx(
        2.22e6, rel=0.02
    )  # Sandler et al. 2018: 3.5 million, 1.28 of them the classifier's


def test_the_float_twin_answers_as_the_network_it_was_made_of(tmp_path: Path) -> None:
    bundle = load_bundle(write_reference_bundle(tmp_path / "tiny", rows=_TINY, size=32))
    twin = float_twin(bundle.onnx_path, tmp_path)
    pixels = np.random.default_rng(2).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    wanted = open_backend("onnxruntime", bundle, threads=1, precision="fp32").infer(pixels)
    session = ort.InferenceSession(str(twin.path), providers=["CPUExecutionProvider"])
    planes = (pixels[0].transpose(2, 0, 1) * twin.scale + twin.offset).astype(np.float32)
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, {session.get_inputs()[0].name: planes[None]}), strict=True))
    for head in bundle.heads:
        assert answers[head.name] == pytest.approx(wanted[head.name], abs=1e-5)


def test_an_unknown_bundle_is_named_with_those_that_ship() -> None:
    with pytest.raises(BundleError, match=r"nowhere: wanted a bundle folder, one that ships \(\['"):
        bundle_folder("nowhere")


def _fails() -> None:
    raise LookupError("on purpose")


def test_an_error_in_a_measurement_of_its_own_process_comes_out() -> None:
    with pytest.raises(LookupError, match="on purpose"):
        measured(_fails)


def test_a_spread_is_median_lowest_and_highest() -> None:
    found = spread([5.0, 1.0, 2.0])
    assert (found.median, found.lowest, found.highest, found.rounds) == (2.0, 1.0, 5.0, 3)


def test_results_are_saved_with_their_machine_under_date_and_commit(tmp_path: Path) -> None:
    machine = this_machine()
    table = Rows(title="title", columns=("name", "value"), rows=(("a", "1"),))
    publish("thing", Console(quiet=True), tmp_path, machine, [table], ["a note"], {"figure": 1.5})
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"{machine.date[:10]}-{machine.commit}"
    content = msgspec.json.decode((folder / "thing.json").read_bytes())
    assert content["figures"] == {"figure": 1.5}
    assert content["machine"]["cores"] >= 1
    text = (folder / "thing.md").read_text()
    assert "| a | 1 |" in text
    assert "- a note" in text


def test_the_twin_of_a_network_that_looks_at_the_pixels_in_two_ways_answers_alike(tmp_path: Path) -> None:
    bundle = load_bundle(
        shipped_pipelines() / "bundles" / "colon"
    )  # learned features, and statistics beside them
    twin = float_twin(bundle.onnx_path, tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    planes = (pixels[0].transpose(2, 0, 1) * twin.scale + twin.offset).astype(np.float32)

    def answers(path: Path, shown: NDArray[np.generic]) -> list[NDArray[np.float32]]:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: shown})
        return found

    for whole, half in zip(answers(bundle.onnx_path, pixels), answers(twin.path, planes[None]), strict=True):
        np.testing.assert_allclose(half, whole, atol=1e-4)
