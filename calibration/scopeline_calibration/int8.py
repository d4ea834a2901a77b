"""INT8: as many layers as the parity gate lets pass."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scopeline.backends.onnx_runtime import INT8_FILE, OnnxRuntimeBackend
from scopeline.bundle import Bundle
from scopeline.culprits import find_culprits
from scopeline.replace_file import replace_file
from scopeline_calibration.gate import Build, Gate, make_gate
from scopeline_calibration.labelled_parity import KnownTruth
from scopeline_calibration.quantise import Quantiser
from scopeline_calibration.real_frames import RealFrames

SPEED_RUNS = 100


@dataclass(frozen=True, slots=True)
class Found:
    """The build that a search ended with; the whole gate has not seen it yet."""

    written: Path
    kept_in_fp32: tuple[str, ...]
    told: str


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians of one frame at a time in one thread."""

    fp32_ms: float
    int8_ms: float
    runs: int


def part(
    bundle: Bundle, real: RealFrames, fitted_on: int, known: KnownTruth | None = None
) -> tuple[Gate, Quantiser]:
    """A gate on most of the frames, and a quantiser that has seen the others, spread evenly over all.

    Stretches that lost a frame to the quantiser are still sequences in time: the smoother goes by time stamps.
    """
    taken = np.unique(np.linspace(0, len(real.pixels) - 1, fitted_on).round().astype(int))
    is_left = np.ones(len(real.pixels), np.bool_)
    is_left[taken] = False
    left = RealFrames(real.pixels[is_left], real.stretches_of(is_left), real.clips, real.stills)
    return make_gate(bundle, left, known=known), Quantiser(bundle, real.pixels[taken])


def search(gate: Gate, quantiser: Quantiser, before_trial: Callable[[], object]) -> Found:
    """The build with as few layers in FP32 as the search finds enough; with none where nothing helps."""
    layers = quantiser.layers
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / INT8_FILE

        def passes(kept: frozenset[str]) -> bool:
            before_trial()
            tried.write_bytes(quantiser.build(sorted(kept)))
            return gate.passes(Build(OnnxRuntimeBackend.name, "int8", tried))

        kept = find_culprits(layers, passes)
    if kept is None:
        told = "INT8: refused even with every layer in FP32"
    elif len(kept) == len(layers):
        kept = None
        told = "INT8: refused; every layer would have to stay in FP32"
    elif kept:
        told = f"INT8: {len(layers) - len(kept)} of {len(layers)} layers; in FP32 stay {', '.join(kept)}"
    else:
        told = f"INT8: all of {len(layers)} layers"
    path = gate.bundle.folder / INT8_FILE
    replace_file(path, quantiser.build(kept or ()))
    return Found(path, kept or (), told)


def speed(gate: Gate, build: Build) -> Speed:
    """What one frame takes in both precisions, asked in turn."""
    whole = Build(OnnxRuntimeBackend.name, "fp32", gate.bundle.onnx_path)
    with closing(whole.open(gate.bundle)) as fp32, closing(build.open(gate.bundle)) as int8:
        took: tuple[list[float], list[float]] = ([], [])
        for number in range(SPEED_RUNS):
            frame = gate.frames[number % len(gate.frames)][None]
            for backend, times in zip((fp32, int8), took, strict=True):
                began = time.perf_counter_ns()
                backend.infer(frame)
                times.append((time.perf_counter_ns() - began) / 1e6)
    return Speed(statistics.median(took[0]), statistics.median(took[1]), SPEED_RUNS)
