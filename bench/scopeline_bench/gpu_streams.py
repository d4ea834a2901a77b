"""GPU streams: how many live 1080p feeds one GPU carries: engines in processes of their own, all at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from scopeline_bench.gpu_latency import LiveFigures, run_live
from scopeline_bench.paced_pictures import drawn_pictures


def run_streams(
    count: int, bundles: Sequence[Path], *, backend: str, precision: str, fps: float, seconds: float
) -> list[LiveFigures]:
    """So many engines side by side; each one's figures."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        jobs = [pool.submit(_one, list(bundles), backend, precision, fps, seconds) for _ in range(count)]
        return [job.result() for job in jobs]


def _one(bundles: list[Path], backend: str, precision: str, fps: float, seconds: float) -> LiveFigures:
    """Few pictures: drawing them is most of a short run."""
    pictures = drawn_pictures(4)
    return run_live(bundles, pictures, backend=backend, precision=precision, fps=fps, seconds=seconds)
