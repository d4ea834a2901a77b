"""On a real NVIDIA GPU: `SCOPELINE_GPU=1 pytest tests/test_gpu.py`. Skipped elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

import plane_reference
from fake_gpu import few_frames, pictures
from media_clips import write_clip
from scopeline.backends.cuda_driver import Cuda, choose_gpu, open_cuda
from scopeline.backends.keep_warm import KeepWarm
from scopeline.backends.plane_cut import plane_cut
from scopeline.backends.plane_shrinker import shared_shrinker
from scopeline.backends.tensorrt_forge import Forge
from scopeline.backends.tensorrt_half_graph import divide
from scopeline.backends.tensorrt_library import BuildOrder, PlanError, TensorRt, open_tensorrt
from scopeline.backends.tensorrt_plan_store import PlanStore
from scopeline.backends.tensorrt_runner import PlanRunner
from scopeline.backends.tensorrt_runtime import TensorRtBackend
from scopeline.backends.yuv_colour import colour_of
from scopeline.bundle import Bundle, load_bundle
from scopeline.config import GpuRule
from scopeline.crew import Crew
from scopeline.sources.media import MediaSource
from scopeline.sources.nvdec import Nvdec
from tiny_bundle import HEADS, expected_logits, write_tiny_bundle

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cuda() -> Cuda:
    opened = open_cuda()
    choose_gpu(opened, 0)
    return opened


@pytest.fixture(scope="module")
def library(cuda: Cuda) -> TensorRt:
    return open_tensorrt()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(scope="module")
def plan(library: TensorRt, bundle: Bundle) -> bytes:
    graph = divide(bundle.onnx_path.read_bytes(), name="tiny")
    return library.build(BuildOrder("tiny", graph, 8, b""), lambda share: None).plan


@pytest.fixture
def runner(cuda: Cuda, library: TensorRt, plan: bytes) -> Iterator[PlanRunner]:
    made = PlanRunner(cuda, cuda.gpus()[0], library.load(plan), most=8)
    yield made
    made.close()


def test_memory_goes_up_and_comes_back_unchanged(cuda: Cuda) -> None:
    stream, there, back = cuda.make_stream(), cuda.pinned((256,), np.uint8), cuda.pinned((256,), np.uint8)
    there.array[:] = np.arange(256)
    address = cuda.device_memory(256)
    cuda.upload(address, there, 256, stream)
    cuda.download(back, address, 256, stream)
    cuda.wait(stream)
    np.testing.assert_array_equal(back.array, np.arange(256))
    cuda.free_device_memory(address)
    cuda.free_pinned(there)
    cuda.free_pinned(back)
    cuda.free_stream(stream)


@pytest.mark.parametrize("count", range(1, 9))
def test_every_batch_size_answers_by_the_bundles_formula(runner: PlanRunner, count: int) -> None:
    frames = pictures(count, seed=count)
    runner.begin(frames)
    answer = runner.take()
    for head in HEADS:
        np.testing.assert_allclose(answer[head.name], expected_logits(frames, head), atol=0.05)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "nv12"])
@pytest.mark.parametrize("size", [(224, 224), (96, 96)])
def test_the_kernel_makes_the_views_that_float64_makes(pixel_format: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(3).integers(16, 236, (1620, 1920), np.uint8)
    picture = av.VideoFrame.from_ndarray(noise, format=pixel_format)
    cut, colour = plane_cut(picture, (420, 2, 1078, 1076), width=size[0], height=size[1]), colour_of(picture)
    assert cut is not None
    assert colour is not None
    made = np.empty((size[1], size[0], 3), np.uint8)
    shared_shrinker(0).shrink(cut, colour, made)
    np.testing.assert_array_equal(made, plane_reference.view(cut, colour, *size))


def test_nvdec_gives_the_pictures_that_the_cpu_gives(tmp_path: Path) -> None:
    clip, told = write_clip(tmp_path / "clip.mp4"), list[str]()
    ours = list(MediaSource(clip, threads=1, nvdec=Nvdec(0, told.append)).frames())
    if told:
        pytest.skip(f"FFmpeg has no NVDEC here: {told[0]}")
    for one, other in zip(ours, MediaSource(clip, threads=1).frames(), strict=True):
        assert one.time_s == other.time_s
        same = one.picture.reformat(format="yuv420p").to_ndarray()
        np.testing.assert_array_equal(same, other.picture.to_ndarray())


def test_every_batch_size_is_captured_as_a_graph(runner: PlanRunner) -> None:
    assert runner.captured == tuple(range(1, 9))


def test_a_plan_whose_bytes_changed_is_refused_and_the_process_lives(library: TensorRt, plan: bytes) -> None:
    with pytest.raises(PlanError):
        library.load(b"\0" * 64 + plan[64:])


def test_a_plan_is_built_proven_kept_and_opened_again(
    cuda: Cuda, library: TensorRt, bundle: Bundle, tmp_path: Path
) -> None:
    forge = Forge(cuda, library, PlanStore(tmp_path), device=0, tell=lambda report: None)
    made = forge.make(bundle, few_frames)
    assert made.verdict.passed
    rule = GpuRule(cache=str(tmp_path))
    backend = TensorRtBackend(bundle, threads=1, precision="fp16", gpu=rule, most=1)
    assert set(backend.infer(pictures(1))) == {head.name for head in HEADS}
    backend.close()


def test_memory_is_given_back(cuda: Cuda, library: TensorRt, plan: bytes) -> None:
    def once() -> None:
        runner = PlanRunner(cuda, cuda.gpus()[0], library.load(plan), most=8)
        runner.begin(pictures(8))
        runner.take()
        runner.close()

    once()  # what the driver and TensorRT keep for good, they keep from the first time on
    before = cuda.free_bytes()
    for _ in range(5):
        once()
    assert before - cuda.free_bytes() < 32 << 20


def test_a_warmed_gpu_answers_the_same(runner: PlanRunner) -> None:
    frames, warm = pictures(1), KeepWarm(0)
    runner.begin(frames)
    cold = runner.take()
    with Crew(on_failure=warm.stop) as crew:
        crew.start(warm.name, warm.work)
        for _ in range(50):
            runner.begin(frames)
            for name, answer in runner.take().items():
                np.testing.assert_array_equal(answer, cold[name])
        warm.stop()
