"""Preprocessing on the GPU, up to the driver: the kernel's own source runs on the processor (`fakes_cuda_driver`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import plane_reference
from fakes_cuda_driver import FakeCudaDriver
from fakes_tensorrt import FakeCudaRuntime
from scopeline.backends import gpu_resizer
from scopeline.backends.cuda_driver import Cuda, CudaError, choose_gpu
from scopeline.backends.gpu_resizer import GpuResizers, resizers
from scopeline.backends.plane_cut import plane_cut
from scopeline.backends.plane_shrinker import PTX, PlaneShrinker
from scopeline.backends.yuv_colour import colour_of
from scopeline.config import BundleChoice, GpuRule, Pipeline
from scopeline.crop import CropKind, View
from scopeline.errors import BackendError
from scopeline.field_of_view import FieldOfView, Shape
from scopeline.notices import Notices, Trouble
from scopeline.overlay import Box
from scopeline.picture import Picture, Resizer
from scopeline_bench.compile_kernel import SOURCE, compiled, source_line

_HD: Box = (420, 2, 1078, 1076)


def _picture(
    pixel_format: str, *, width: int = 1920, height: int = 1080, space: int = 2, kind: int = 0
) -> Picture:
    """Soft structures of every colour with a little noise: coarse enough to look like tissue, and no pixel alike."""
    random = np.random.default_rng(7)
    lines = height * 3 // 2
    coarse = cv2.resize(
        random.integers(0, 256, (40, 48), np.uint8), (width, lines), interpolation=cv2.INTER_CUBIC
    )
    low, high = (0, 255) if kind == 2 or pixel_format.startswith("yuvj") else (16, 235)
    noisy = coarse.astype(np.int16) + random.integers(-6, 7, coarse.shape)
    picture = av.VideoFrame.from_ndarray(np.clip(noisy, low, high).astype(np.uint8), format=pixel_format)
    picture.colorspace, picture.color_range = space, kind
    return picture


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernel")


class _Gpu:
    """A fake device and what works on it."""

    def __init__(self, folder: Path) -> None:
        self.runtime, self.driver = FakeCudaRuntime(), FakeCudaDriver(folder)
        cuda = Cuda(self.runtime)
        self.shrinker = PlaneShrinker(cuda, self.driver, choose_gpu(cuda, 0))
        self.told: list[BackendError] = []
        self.make = GpuResizers(self.shrinker, self.told.append)


@pytest.fixture
def gpu(folder: Path) -> _Gpu:
    return _Gpu(folder)


_SHAPES: list[tuple[str, int, int, Box | None, tuple[int, int]]] = [
    ("yuv420p", 2, 0, _HD, (224, 224)),
    ("yuv420p", 2, 0, None, (96, 96)),
    ("yuv420p", 1, 1, _HD, (224, 224)),
    ("yuv420p", 9, 1, _HD, (320, 240)),
    ("yuv420p", 6, 2, _HD, (224, 224)),
    ("yuv420p", 2, 0, (0, 0, 1919, 1079), (96, 64)),
    ("yuvj420p", 2, 0, _HD, (224, 224)),
    ("nv12", 2, 0, _HD, (224, 224)),
    ("nv12", 1, 1, (100, 40, 1280, 1000), (256, 200)),
]


@pytest.mark.parametrize(("pixel_format", "space", "kind", "box", "size"), _SHAPES)
def test_the_kernel_agrees_with_float64_and_is_within_a_grey_level_of_ffmpeg(
    gpu: _Gpu, pixel_format: str, space: int, kind: int, box: Box | None, size: tuple[int, int]
) -> None:
    picture = _picture(pixel_format, space=space, kind=kind)
    cut, colour = plane_cut(picture, box, width=size[0], height=size[1]), colour_of(picture)
    assert cut is not None
    assert colour is not None
    made = gpu.make(*size, box)(picture)
    assert gpu.driver.launches == 1
    np.testing.assert_array_equal(made, plane_reference.view(cut, colour, *size))
    apart = np.abs(made.astype(int) - Resizer(*size, box)(picture))
    assert apart.mean() <= 1.0
    assert apart.max() <= 4


def test_a_picture_of_one_colour_keeps_it_exactly_where_luma_uses_the_full_range(gpu: _Gpu) -> None:
    planes = np.full((1620, 1920), 128, np.uint8)
    planes[:1080] = 77
    grey = av.VideoFrame.from_ndarray(planes, format="yuvj420p")
    assert np.unique(gpu.make(224, 224)(grey)).tolist() == [77]


@pytest.mark.parametrize(
    ("why", "picture", "box", "size"),
    [
        ("another format", lambda: _picture("yuv420p").reformat(format="rgb24"), _HD, (224, 224)),
        ("something is enlarged", lambda: _picture("yuv420p"), (0, 0, 440, 440), (224, 224)),
        ("an odd width", lambda: _picture("yuv420p"), _HD, (223, 224)),
        ("an odd beginning", lambda: _picture("yuv420p"), (421, 2, 1078, 1076), (224, 224)),
        ("colours nobody knows", lambda: _picture("yuv420p", space=7), _HD, (224, 224)),
    ],
)
def test_what_the_kernel_would_do_otherwise_is_left_to_the_cpu(
    gpu: _Gpu, why: str, picture: Callable[[], Picture], box: Box, size: tuple[int, int]
) -> None:
    shown = picture()
    np.testing.assert_array_equal(gpu.make(*size, box)(shown), Resizer(*size, box)(shown))
    assert gpu.driver.launches == 0, why


def test_a_crop_outside_the_picture_is_refused_as_on_the_cpu(gpu: _Gpu) -> None:
    with pytest.raises(ValueError, match="crop must lie within"):
        gpu.make(224, 224, (1000, 0, 1000, 1000))(_picture("yuv420p"))


def test_a_gpu_that_fails_is_told_once_and_the_cpu_makes_that_very_view(gpu: _Gpu) -> None:
    picture, resize, other = _picture("yuv420p"), gpu.make(224, 224, _HD), gpu.make(96, 96, _HD)
    resize(picture)
    gpu.driver.fail["cuLaunchKernel"] = 700
    np.testing.assert_array_equal(resize(picture), Resizer(224, 224, _HD)(picture))
    gpu.driver.fail.clear()
    np.testing.assert_array_equal(other(picture), Resizer(96, 96, _HD)(picture))
    assert [type(error) for error in gpu.told] == [CudaError]


def test_memory_is_taken_for_the_largest_cut_and_no_more_than_once(gpu: _Gpu) -> None:
    picture, large, small = _picture("nv12"), gpu.make(224, 224, _HD), gpu.make(96, 96, (0, 0, 400, 400))
    large(picture)
    held = {address: len(memory) for address, memory in gpu.runtime.memory.items()}
    for _ in range(3):
        small(picture)
        large(picture)
    assert {address: len(memory) for address, memory in gpu.runtime.memory.items()} == held


def test_memory_that_is_outgrown_is_given_back(gpu: _Gpu) -> None:
    picture = _picture("yuv420p")
    gpu.make(96, 96, (0, 0, 400, 400))(picture)
    gpu.make(224, 224, _HD)(picture)
    assert len(gpu.runtime.memory) == 4


@pytest.mark.parametrize("kind", list(CropKind))
def test_every_kind_of_view_is_made_as_on_the_cpu(gpu: _Gpu, kind: CropKind) -> None:
    field = FieldOfView(
        id=1,
        shape=Shape.CIRCLE,
        x=440,
        y=10,
        width=1040,
        height=1040,
        signal_width=1920,
        signal_height=1080,
        circle=(960.0, 530.0, 520.0),
    )
    picture = _picture("yuv420p")
    here, there = View(kind, 224, 224), View(kind, 224, 224, make_resize=gpu.make)
    apart = np.abs(here(picture, field).astype(int) - there(picture, field))
    assert gpu.driver.launches == 1
    assert apart.mean() <= 1.0


def test_live_without_a_gpu_the_cpu_makes_the_views_and_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_resizer, "shared_shrinker", _no_gpu)
    notices = Notices()
    assert resizers(GpuRule(preprocess=True), notices, live=True) is Resizer
    assert [notice.what for notice in notices.take()] == [Trouble.GPU_FAILED]


def test_a_recording_wants_its_gpu_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_resizer, "shared_shrinker", _no_gpu)
    with pytest.raises(BackendError, match="no driver"):
        resizers(GpuRule(preprocess=True), Notices(), live=False)
    assert resizers(GpuRule(), Notices(), live=False) is Resizer


def test_a_recording_whose_gpu_fails_half_way_is_no_mixture_of_two_ways(
    gpu: _Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_resizer, "shared_shrinker", lambda device: gpu.shrinker)
    picture, make = _picture("yuv420p"), resizers(GpuRule(preprocess=True), Notices(), live=False)
    make(224, 224, _HD)(picture)
    gpu.driver.fail["cuLaunchKernel"] = 700
    with pytest.raises(BackendError):
        make(224, 224, _HD)(picture)


def _no_gpu(device: int) -> PlaneShrinker:
    raise BackendError("no driver")


def test_what_may_turn_a_pixel_is_part_of_the_pipelines_hash_and_what_may_not_is_none() -> None:
    def of(rule: GpuRule) -> str:
        return Pipeline(name="p", bundles=(BundleChoice(path="b"),), gpu=rule).hash

    assert of(GpuRule()) == of(GpuRule(device=1, keep_warm=True, cache="elsewhere"))
    assert len({of(GpuRule()), of(GpuRule(preprocess=True)), of(GpuRule(decode=True))}) == 3


def test_the_ptx_was_made_from_the_source_beside_it() -> None:
    assert PTX.read_bytes().startswith(source_line(SOURCE))


def test_the_compiler_makes_the_very_ptx_again() -> None:
    nvrtc = os.environ.get("SCOPELINE_NVRTC")
    if not nvrtc:
        pytest.skip("no compiler at hand; set SCOPELINE_NVRTC to libnvrtc.so.12 of release 12.1")
    assert compiled(SOURCE, Path(nvrtc)) == PTX.read_bytes()
