"""GPU preprocessing: the same live feed with views made on the CPU and on the GPU, which of them publishes sooner, and
by how much the pixels differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from scopeline.backends.gpu_resizer import resizers
from scopeline.config import GpuRule
from scopeline.notices import Notices
from scopeline.overlay import Box
from scopeline.picture import MakeResize, Picture, Resizer
from scopeline_bench.gpu_latency import LiveFigures, Percentiles, percentiles, run_live

_BOX: Final[Box] = (420, 2, 1078, 1076)
"""About what the field of a 1080p scope leaves for a square."""
CLEARLY: Final = 0.95
"""Of the other's latency: two runs of the same way differ by a few per cent."""
_SIZES: Final = ((224, 224), (96, 96))


class Preprocessing(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of both ways."""

    cpu: LiveFigures
    gpu: LiveFigures
    cpu_resize: dict[str, Percentiles]
    """By size of the view, milliseconds of one view by itself."""
    gpu_resize: dict[str, Percentiles]
    grey_levels: dict[str, float]
    """By size, mean difference between the two ways."""
    told: list[str]
    """Why the GPU made none, if it did not."""
    won: Literal["cpu", "gpu", "none"]
    """Sooner end to end, see `winner`; `none` as well where there was no GPU."""


def run_preprocess(
    bundles: Sequence[Path],
    pictures: list[Picture],
    *,
    backend: str,
    precision: str,
    fps: float,
    seconds: float,
) -> Preprocessing:
    """Both ways, one after the other."""

    def live(*, preprocess: bool) -> LiveFigures:
        return run_live(
            bundles,
            pictures,
            backend=backend,
            precision=precision,
            fps=fps,
            seconds=seconds,
            preprocess=preprocess,
        )

    notices = Notices()
    on_gpu = resizers(GpuRule(preprocess=True), notices, live=True)
    here, there = live(preprocess=False), live(preprocess=True)
    told = [notice.text for notice in notices.take()]
    return Preprocessing(
        cpu=here,
        gpu=there,
        cpu_resize=_alone(Resizer, pictures),
        gpu_resize=_alone(on_gpu, pictures),
        grey_levels=_apart(on_gpu, pictures),
        told=told + [text for text in there.told if text not in told],
        won=winner(here.capture_to_publish, there.capture_to_publish) if not told + there.told else "none",
    )


def winner(cpu: Percentiles, gpu: Percentiles) -> Literal["cpu", "gpu", "none"]:
    """Which way is sooner by `CLEARLY` at the median and at the 99th percentile, if one is."""

    def beats(one: Percentiles, other: Percentiles) -> bool:
        return one.p50 < CLEARLY * other.p50 and one.p99 < CLEARLY * other.p99

    return "gpu" if beats(gpu, cpu) else "cpu" if beats(cpu, gpu) else "none"


def _alone(make: MakeResize, pictures: Sequence[Picture], rounds: int = 300) -> dict[str, Percentiles]:
    return {
        f"{size[0]}x{size[1]}": percentiles(_times(make(*size, _BOX), pictures, rounds)) for size in _SIZES
    }


def _times(resize: Callable[[Picture], object], pictures: Sequence[Picture], rounds: int) -> list[float]:
    times = []
    for number in range(rounds):
        picture = pictures[number % len(pictures)]
        start_ns = time.monotonic_ns()
        resize(picture)
        times.append((time.monotonic_ns() - start_ns) / 1e6)
    return times[rounds // 10 :]


def _apart(make: MakeResize, pictures: Sequence[Picture]) -> dict[str, float]:
    apart = {}
    for size in _SIZES:
        here, there = Resizer(*size, _BOX), make(*size, _BOX)
        differences = [np.abs(here(each).astype(int) - there(each)).mean() for each in pictures]
        apart[f"{size[0]}x{size[1]}"] = float(np.mean(differences))
    return apart
