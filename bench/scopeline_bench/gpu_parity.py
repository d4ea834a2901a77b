"""GPU parity: builds and judges every plan on real frames, and a deliberately broken one that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from scopeline.backends import open_backend
from scopeline.backends.cuda_driver import Cuda
from scopeline.backends.tensorrt_build_words import Report
from scopeline.backends.tensorrt_forge import BATCHES, Candidate, Forge, Shown
from scopeline.backends.tensorrt_library import TensorRt
from scopeline.backends.tensorrt_plan_key import MOST_FRAMES
from scopeline.backends.tensorrt_plan_store import PlanStore
from scopeline.backends.tensorrt_runtime import open_stored
from scopeline.backends.tensorrt_trial_frames import trial_frames
from scopeline.bundle import Bundle, Description, write_bundle
from scopeline.errors import BackendError
from scopeline.parity import Stretch, check_parity
from scopeline_bench.proof_frames import read_frames

_BROKEN_SCALE: Final = 1.5


@dataclass(frozen=True, slots=True)
class Opened:
    """The driver, the library, and where plans are kept."""

    cuda: Cuda
    library: TensorRt
    store: PlanStore


def shown_frames(bundle: Bundle, real: Path | None, *, simulated: int, hostile: int) -> Shown:
    """Real frames where there are any, simulated and hostile ones; sequences first, as they must be."""
    made = trial_frames(bundle, simulated=simulated, hostile=hostile)
    if real is None:
        return made
    frames, stretches = read_frames(real, (bundle.input.width, bundle.input.height))
    moved = [Stretch(each.first + len(frames), each.times_s) for each in made.stretches]
    return Shown(
        np.concatenate([frames, made.frames]), (*stretches, *moved), f"{len(frames)} real, {made.words}"
    )


def build_and_judge(
    forge: Forge, bundle: Bundle, shown: Callable[[], Shown], *, again: bool = False
) -> dict[str, Any]:
    """One plan's manifest as figures."""
    made = forge.make(bundle, shown, again=again)
    return dict(msgspec.to_builtins(made)) | {"passed": made.verdict.passed}


def broken_bundle(bundle: Bundle, folder: Path) -> Bundle:
    """The same description over a network with one layer's weights scaled: what a broken engine would compute."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(bundle.onnx_path)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    name = convolutions[len(convolutions) // 2].input[1]
    tensor = next(each for each in model.graph.initializer if each.name == name)
    scaled = numpy_helper.to_array(tensor) * np.float32(_BROKEN_SCALE)
    tensor.CopyFrom(numpy_helper.from_array(scaled, name))
    plain = msgspec.structs.asdict(bundle)
    plain.pop("folder")
    return write_bundle(
        folder, Description(**plain), network=model.SerializeToString(), card="Broken on purpose.\n"
    )


def judge_broken(forge: Forge, opened: Opened, broken: Bundle, sound: Bundle, shown: Shown) -> dict[str, Any]:
    """The plan of a broken network held against the sound one, as if it were its plan. By itself it is faultless:
    TensorRT computes the broken network as ONNX Runtime does."""
    made = forge.make(broken, lambda: shown)
    stored = opened.store.find(made.key)
    if stored is None:
        raise BackendError(f"{broken.name}: its plan was built and is not in {opened.store.folder}")
    runner = open_stored(broken, stored, opened.cuda, opened.library, device_index=0, most=MOST_FRAMES)
    reference = open_backend("onnxruntime", sound, threads=1, precision="fp32")
    try:
        verdict = check_parity(
            sound, reference, Candidate(runner), shown.frames, batches=BATCHES, stretches=shown.stretches
        )
    finally:
        reference.close()
        runner.close()
    return dict(msgspec.to_builtins(msgspec.structs.replace(made, verdict=verdict))) | {
        "passed": verdict.passed
    }


def say(report: Report) -> None:
    """A line per step, with the share where it is told in tenths."""
    if report.share is None or round(report.share * 100) % 25 == 0:
        print(
            f"    {report.step} {'' if report.share is None else f'{report.share:.0%}'} {report.text}",
            flush=True,
        )
