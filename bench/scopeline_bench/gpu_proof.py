"""GPU proof: the stages that `bench/gpu_proof.sh` calls, each by itself, each leaving what it found.

    python -m scopeline_bench.gpu_proof STAGE STATE [--frames ZIP] [--rehearse]

`--rehearse` goes through the same code on a machine without a GPU, with ONNX Runtime in TensorRT's place and few
frames; its figures say nothing about a GPU and are marked so."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from scopeline.backends.cuda_driver import choose_gpu, open_cuda
from scopeline.backends.keep_warm import KeepWarm
from scopeline.backends.tensorrt_forge import BATCHES, Forge
from scopeline.backends.tensorrt_library import open_tensorrt
from scopeline.backends.tensorrt_plan_key import driver_version, plan_key
from scopeline.backends.tensorrt_plan_store import PlanStore
from scopeline.bundle import Bundle
from scopeline.cache_folder import cache_folder
from scopeline.crew import Crew
from scopeline.errors import BackendError, ScopelineError
from scopeline_bench.gpu_decode import run_decode, write_recording
from scopeline_bench.gpu_latency import percentiles, run_live
from scopeline_bench.gpu_parity import Opened, broken_bundle, build_and_judge, judge_broken, say, shown_frames
from scopeline_bench.gpu_preprocess import run_preprocess
from scopeline_bench.gpu_rehearsal import rehearse_parity, rehearse_raw_loop
from scopeline_bench.gpu_state_folder import SHIPPED, StateFolder
from scopeline_bench.gpu_streams import run_streams
from scopeline_bench.gpu_switch import run_change
from scopeline_bench.paced_pictures import drawn_pictures
from scopeline_bench.raw_loop import open_raw, raw_loop_ms

_FOUR_HEADS: Final = ("colon", "polyp-seg")
"""quality, organ, mes and polyp: four heads in two networks."""
_FPS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What a stage works with."""

    state: StateFolder
    frames: Path | None
    rehearse: bool

    @property
    def backend(self) -> str:
        kind = "TimedOnnxRuntime" if self.rehearse else "TimedTensorRt"
        return f"scopeline_bench.timed_backend:{kind}"

    @property
    def precision(self) -> str:
        return "fp32" if self.rehearse else "fp16"

    @property
    def sets(self) -> dict[str, list[Path]]:
        """Four heads twice: as they ship, and as four large networks."""
        bundles = self.state.bundles()
        of = {"shipped": [bundles[name].folder for name in _FOUR_HEADS]}
        fours = [] if self.rehearse else self.state.fours()
        return of | ({"4 x EfficientNet-B0": fours} if fours else {})


def _opened() -> Opened:
    """The driver is asked first: without one TensorRT 8.6 may end the process."""
    cuda = open_cuda()
    choose_gpu(cuda, 0)
    return Opened(cuda, open_tensorrt(), PlanStore(cache_folder("plans")))


def plans(setting: Setting) -> dict[str, Any]:
    """Builds and judges the plans of every bundle, and a broken one. Keeps what it has after each."""
    if setting.rehearse:
        return rehearse_parity(setting.state, setting.frames)
    opened = _opened()
    forge = Forge(opened.cuda, opened.library, opened.store, device=0, tell=say)
    rows: dict[str, Any] = {
        "tensorrt": opened.library.version,
        "dialect": opened.library.dialect.name,
        "batches": BATCHES,
    }
    bundles = setting.state.bundles()
    todo = [(name, bundles[name]) for name in bundles]
    todo += [(folder.name, _loaded(folder)) for folder in setting.state.fours()]
    for name, bundle in todo:
        print(f"  {name}", flush=True)
        shown = _shown(setting, bundle, is_shipped=name in SHIPPED)
        try:
            rows[name] = build_and_judge(forge, bundle, shown)
        except ScopelineError as error:
            rows[name] = {"failed": str(error)}
        setting.state.keep("plans", rows)
    sound = bundles["demo"]
    broken = broken_bundle(sound, setting.state.root / "broken")
    few = shown_frames(sound, None, simulated=30, hostile=60)
    print("  broken demo", flush=True)
    rows["broken demo"] = judge_broken(forge, opened, broken, sound, few)
    return rows


def _loaded(folder: Path) -> Bundle:
    from scopeline.bundle import load_bundle

    return load_bundle(folder)


def _shown(setting: Setting, bundle: Bundle, *, is_shipped: bool) -> Callable[[], Any]:
    """Everything for what ships; for random weights a tenth shows as much."""
    simulated, hostile = (300, 200) if is_shipped else (30, 60)
    real = setting.frames if is_shipped else None
    return lambda: shown_frames(bundle, real, simulated=simulated, hostile=hostile)


def raw(setting: Setting) -> dict[str, Any]:
    """The raw loop of each set: one after the other, at the rate of a feed, and that with the GPU kept warm."""
    if setting.rehearse:
        return rehearse_raw_loop(setting.state, setting.sets)
    opened = _opened()
    cuda, library, store = opened.cuda, opened.library, opened.store
    gpu, driver = choose_gpu(cuda, 0), driver_version(cuda)
    rows: dict[str, Any] = {}
    for name, folders in setting.sets.items():
        stored = [
            store.find(plan_key(_loaded(folder), gpu, tensorrt=library.version, driver=driver))
            for folder in folders
        ]
        if any(each is None for each in stored):
            rows[name] = {"failed": "a plan is missing; run the stage 'plans' first"}
            continue
        loop = open_raw(cuda, library, [each.plan for each in stored if each is not None])
        warm = KeepWarm(0, cuda)
        rows[name] = {
            "back to back": percentiles(raw_loop_ms(loop, count=2000)),
            "at 60/s": percentiles(raw_loop_ms(loop, count=600, fps=_FPS)),
        }
        with Crew(on_failure=warm.stop) as crew:
            crew.start(warm.name, warm.work)
            try:
                rows[name]["at 60/s, kept warm"] = percentiles(raw_loop_ms(loop, count=600, fps=_FPS))
            finally:
                warm.stop()
    if all("failed" in each for each in rows.values()):
        raise BackendError("no set of networks has all its plans; run the stage 'plans' first")
    return rows


def latency(setting: Setting) -> dict[str, Any]:
    """Capture to publish at 1080p60, plain and kept warm."""
    seconds, fps = (4.0, 5.0) if setting.rehearse else (22.0, _FPS)
    pictures = drawn_pictures(2 if setting.rehearse else 12)
    rows: dict[str, Any] = {}
    for name, folders in setting.sets.items():
        for keep_warm in (False, True):
            if keep_warm and setting.rehearse:
                continue
            label = f"{name}{', kept warm' if keep_warm else ''}"
            rows[label] = run_live(
                folders,
                pictures,
                backend=setting.backend,
                precision=setting.precision,
                fps=fps,
                seconds=seconds,
                keep_warm=keep_warm,
            )
            setting.state.keep("latency", rows)
    return rows


def streams(setting: Setting) -> dict[str, Any]:
    """Feeds side by side at 1080p30, until the 99th percentile is beyond 33 ms."""
    rows: dict[str, Any] = {}
    fps, seconds = (5.0, 4.0) if setting.rehearse else (30.0, 10.0)
    for count in (1,) if setting.rehearse else (1, 2, 4, 6, 8, 12):
        each = run_streams(
            count,
            setting.sets["shipped"],
            backend=setting.backend,
            precision=setting.precision,
            fps=fps,
            seconds=seconds,
        )
        worst = max(figures.capture_to_publish.p99 for figures in each)
        rows[str(count)] = {"worst p99": worst, "feeds": each}
        setting.state.keep("streams", rows)
        if worst > 33:
            break
    return rows


def switch(setting: Setting) -> dict[str, Any]:
    """A live run on an empty cache: built, judged, switched in."""
    cache = setting.state.root / f"switch-{time.monotonic_ns()}"
    pictures = drawn_pictures(2 if setting.rehearse else 12)
    fps, seconds = (5.0, 20.0) if setting.rehearse else (30.0, 150.0)
    folder = setting.state.bundles()["demo"].folder
    return {"demo": run_change(folder, pictures, cache=cache, fps=fps, seconds=seconds)}


def preprocess(setting: Setting) -> dict[str, Any]:
    """Views made on the CPU and on the GPU, at 1080p60."""
    seconds, fps = (4.0, 5.0) if setting.rehearse else (14.0, _FPS)
    pictures = drawn_pictures(2 if setting.rehearse else 12)
    found = run_preprocess(
        setting.sets["shipped"],
        pictures,
        backend=setting.backend,
        precision=setting.precision,
        fps=fps,
        seconds=seconds,
    )
    return {"shipped": found}


def decode(setting: Setting) -> dict[str, Any]:
    """1080p recordings in bulk, decoded on the CPU and by NVDEC."""
    pictures, frames = drawn_pictures(2 if setting.rehearse else 12), 25 if setting.rehearse else 300
    rows: dict[str, Any] = {}
    for codec in ("libx264", "libx265"):
        path = setting.state.root / f"decode-{codec}.mp4"
        recording = write_recording(path, pictures, codec=codec, frames=frames)
        rows[codec] = run_decode(
            recording, setting.sets["shipped"], backend=setting.backend, precision=setting.precision
        )
        setting.state.keep("decode", rows)
    return rows


STAGES: Final[dict[str, Callable[[Setting], dict[str, Any]]]] = {
    "plans": plans,
    "raw": raw,
    "latency": latency,
    "streams": streams,
    "switch": switch,
    "preprocess": preprocess,
    "decode": decode,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """One stage; 0 when it could be gone through, whatever it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=sorted(STAGES))
    parser.add_argument("state", type=Path)
    parser.add_argument("--frames", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    given = parser.parse_args(arguments)
    state = StateFolder(given.state)
    os.environ.setdefault("SCOPELINE_CACHE", str(given.state))
    setting = Setting(state, given.frames, given.rehearse)
    start_ns = time.monotonic_ns()
    try:
        found = STAGES[given.stage](setting)
    except ScopelineError as error:
        state.keep(f"{given.stage}-failed", {"error": str(error)})
        print(f"{given.stage}: {error}", file=sys.stderr)
        return 1
    spent_s = (time.monotonic_ns() - start_ns) / 1e9
    state.keep(given.stage, found | {"seconds": round(spent_s, 1), "rehearsal": given.rehearse})
    print(msgspec.json.format(msgspec.json.encode(found), indent=1).decode()[-3000:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
