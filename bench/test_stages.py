"""Every stage of the engine by itself. `pytest bench --benchmark-autosave`, then `pytest-benchmark compare`."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import pytest

from scopeline_bench.stages import STAGES

_Bench = Callable[[Callable[[], object]], object]


@pytest.mark.benchmark(timer=time.process_time, min_rounds=10, max_time=0.5, warmup=True, disable_gc=True)
@pytest.mark.parametrize("name", list(STAGES))
def test_stage(name: str, benchmark: _Bench) -> None:
    cv2.setNumThreads(1)
    benchmark(STAGES[name]())
