"""Decoding on the GPU, up to the driver: here there is none, and a recording must not suffer from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.codec.hwaccel import HWAccel, hwdevices_available

from media_clips import FPS, number_in, write_clip
from scopeline.batch import Batch, plan
from scopeline.config import BundleChoice, GpuRule, Pipeline
from scopeline.errors import SourceError
from scopeline.picture import Resizer
from scopeline.shipped import shipped_pipelines
from scopeline.sources import nvdec as nvdec_module
from scopeline.sources.media import MediaSource
from scopeline.sources.nvdec import Nvdec
from scopeline.wire import Message, StatusMessage


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without one, also where there is one: no device has this number."""
    monkeypatch.setattr(
        nvdec_module,
        "HWAccel",
        lambda kind, device, **rest: HWAccel(kind, device="99", **rest),
    )


def test_the_wheel_was_built_with_the_gpus_decoder() -> None:
    assert "cuda" in hwdevices_available()
    configs = av.Codec("h264", "r").hardware_configs
    assert any(config.device_type.name == "cuda" and config.is_supported for config in configs)


@pytest.mark.usefixtures("no_driver")
def test_without_a_driver_every_frame_comes_from_the_cpu_and_it_is_told_once(tmp_path: Path) -> None:
    clip, told = write_clip(tmp_path / "clip.mp4"), list[str]()
    frames = list(MediaSource(clip, threads=1, nvdec=Nvdec(0, told.append)).frames())
    assert [number_in(frame.picture) for frame in frames] == list(range(20))
    assert frames[1].time_s == pytest.approx(1 / FPS)
    assert len(told) == 1
    assert "no decoder on the GPU" in told[0]
    assert "the CPU decodes" in told[0]


@pytest.mark.usefixtures("no_driver")
def test_what_is_wrong_with_the_file_is_said_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is none; check the path"):
        MediaSource(tmp_path / "missing.mp4", nvdec=Nvdec(0, lambda text: None))


def test_a_device_that_takes_no_such_stream_is_told_at_the_first_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for a driver that opens and then hands the stream back: FFmpeg decodes in software without a word."""
    opened, told = list[dict[str, Any]](), list[str]()
    real = av.open

    def without_device(*place: Any, hwaccel: HWAccel | None, **rest: Any) -> Any:
        opened.append({"device": None if hwaccel is None else hwaccel.device_id})
        return real(*place, **rest)

    clip = write_clip(tmp_path / "clip.mp4")
    monkeypatch.setattr(av, "open", without_device)
    source = MediaSource(clip, threads=1, nvdec=Nvdec(3, told.append))
    assert len(list(source.frames())) == 20
    assert opened == [{"device": 3}]
    assert told == ["clip.mp4: the GPU has no decoder for h264; the CPU decodes"]


@pytest.mark.parametrize(
    ("is_hwaccel", "pixel_format", "said"),
    [
        (True, "nv12", None),
        (True, "p010le", None),
        (True, "yuv422p", "refuses this kind of h264 (yuv422p)"),
        (False, "yuv420p", "has no decoder for h264"),
    ],
)
def test_the_first_picture_tells_who_decoded(is_hwaccel: bool, pixel_format: str, said: str | None) -> None:
    told: list[str] = []
    nvdec, context = Nvdec(0, told.append), SimpleNamespace(is_hwaccel=is_hwaccel, name="h264")
    picture: Any = SimpleNamespace(format=SimpleNamespace(name=pixel_format))
    look: Callable[..., None] = nvdec.look
    look("clip.mp4", context, picture)
    assert [said in text for text in told if said] == ([True] if said else [])
    assert bool(told) == (said is not None)


@pytest.mark.parametrize(
    ("error", "is_hwaccel", "to_blame"),
    [
        (av.ExternalError(0, "CUDA_ERROR_UNKNOWN"), True, True),
        (av.InvalidDataError(0, "Invalid data"), True, False),
        (av.ExternalError(0, "of a decoder on the CPU"), False, False),
    ],
    ids=["device", "damage", "software"],
)
def test_a_device_that_dies_half_way_is_no_damage_of_the_recording(
    error: av.FFmpegError, is_hwaccel: bool, to_blame: bool
) -> None:
    context: Any = SimpleNamespace(is_hwaccel=is_hwaccel, name="h264")
    stopped = Nvdec(0, lambda text: None).stopped("clip.mp4", context, error)
    assert (stopped is not None) == to_blame
    if stopped:
        assert "clip.mp4: the GPU's decoder stopped half-way (CUDA_ERROR_UNKNOWN)" in str(stopped)


def test_interleaved_chroma_as_the_gpu_gives_it_makes_the_very_same_view() -> None:
    planes = np.random.default_rng(5).integers(16, 236, (1620, 1920), np.uint8)
    planar = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    interleaved = planes.copy()
    interleaved[1080:] = planes[1080:].reshape(2, 540 * 960).T.reshape(540, 1920)
    for size, box in (((224, 224), (420, 2, 1078, 1076)), ((96, 96), None)):
        one = Resizer(*size, box)(planar)
        other = Resizer(*size, box)(av.VideoFrame.from_ndarray(interleaved, format="nv12"))
        assert np.abs(one.astype(int) - other).max() <= 1
        assert np.abs(one.astype(int) - other).mean() < 0.05


@pytest.mark.usefixtures("no_driver")
def test_a_batch_that_wants_the_gpus_decoder_and_gets_none_says_so_in_its_messages(tmp_path: Path) -> None:
    heard: list[Message] = []
    bundle = shipped_pipelines() / "bundles/demo"
    pipeline = Pipeline(
        name="p", bundles=(BundleChoice(path=str(bundle)),), gpu=GpuRule(decode=True), folder=str(tmp_path)
    )
    jobs = plan([write_clip(tmp_path / "clip.mp4")], tmp_path / "out", pipeline)
    outcomes = list(Batch(pipeline, on_message=heard.append).work(jobs))
    assert [outcome.state for outcome in outcomes] == ["done"]
    said = [message.text for message in heard if isinstance(message, StatusMessage) and message.incident]
    assert len(said) == 1
    assert "the CPU decodes" in str(said[0])
    assert "the CPU decodes" in outcomes[0].reason
    assert b"the CPU decodes" in (outcomes[0].job.folder / "events.jsonl").read_bytes()
