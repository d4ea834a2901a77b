"""A live engine whose bundle wants the GPU: with one, without one, and the command that builds its plan."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_gpu import FakeMachine, few_frames
from fake_gpu_environment import write_packages
from fakes import CollectingSink, ScriptedSource, scope_pixels
from scopeline.assemble import assemble
from scopeline.config import BundleChoice, Pipeline
from scopeline.errors import BackendError
from scopeline.picture import Pixels
from scopeline.wire import FrameMessage, Message, StatusMessage


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    made = FakeMachine(tmp_path)
    made.install(monkeypatch)
    return made


def _pipeline(machine: FakeMachine) -> Pipeline:
    choice = BundleChoice(path=str(machine.bundle.folder), backend="tensorrt", precision="fp16")
    return Pipeline(name="gpu", bundles=(choice,))


def _run_live(machine: FakeMachine, until: str) -> CollectingSink:
    """Frames, each when the one before has been published; the last ten when `until` was told."""
    sink, published, told = CollectingSink(), threading.Semaphore(0), threading.Event()

    def hear(message: Message) -> None:
        if isinstance(message, FrameMessage):
            published.release()
        if isinstance(message, StatusMessage) and message.incident == until:
            told.set()

    frames = [scope_pixels(seed=seed) for seed in range(40)]
    script: list[Pixels | BaseException | Callable[[], object]] = []
    for frame in frames:
        script += [frame, published.acquire]
    script.insert(60, lambda: told.wait(60))
    pipeline = _pipeline(machine)
    assemble(pipeline, ScriptedSource(script), [sink], live=True, on_message=hear).run()
    return sink


def _judged_by(sink: CollectingSink) -> list[str]:
    judged = [message for message in sink.frames if message.heads]
    return [message.models["tiny"].split("/")[1] for message in judged]


def test_a_live_run_goes_over_to_the_gpu_between_two_frames_and_loses_none(machine: FakeMachine) -> None:
    machine.forge.make(machine.bundle, few_frames)
    sink = _run_live(machine, "gpu_serving")
    assert [message.frame for message in sink.frames] == list(range(40))
    runtimes = _judged_by(sink)
    assert runtimes[-1] == "tensorrt"
    assert runtimes == sorted(runtimes)  # onnxruntime first, and never back


def test_a_live_run_without_tensorrt_is_judged_by_the_cpu_and_says_why(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    sink = _run_live(machine, "gpu_failed")
    assert set(_judged_by(sink)) == {"onnxruntime"}
    assert len(sink.frames) == 40
    (said,) = [message.text for message in sink.statuses if message.incident == "gpu_failed"]
    assert 'pip install -c constraints.txt -e ".[tensorrt]"' in said
    assert said.endswith("the CPU judges")


def test_a_recording_wants_its_plan_before_it_begins(machine: FakeMachine) -> None:
    with pytest.raises(BackendError, match="scopeline model build"):
        assemble(_pipeline(machine), ScriptedSource([]), [CollectingSink()], live=False)


def test_a_recording_is_judged_by_the_gpu_from_its_first_frame(machine: FakeMachine) -> None:
    machine.forge.make(machine.bundle, few_frames)
    sink = CollectingSink()
    frames = [scope_pixels(seed=seed) for seed in range(20)]
    assemble(_pipeline(machine), ScriptedSource(frames), [sink], live=False).run()
    assert set(_judged_by(sink)) == {"tensorrt"}
    assert machine.runtime.memory == {}


def _build(machine: FakeMachine, *, with_packages: bool) -> subprocess.CompletedProcess[str]:
    """`scopeline model build` as a user calls it, in a process whose packages are the fakes or absent."""
    packages = machine.folder / "packages"
    write_packages(packages)
    if not with_packages:
        for module in packages.rglob("*.py"):
            module.write_text("raise ImportError('not installed')\n")
    paths = os.pathsep.join([str(packages), *(path for path in sys.path if path)])
    words = ["model", "build", str(machine.bundle.folder), "--cache", str(machine.store.folder)]
    code = f"import sys; sys.argv[1:] = {words!r}; from scopeline.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": paths, "SCOPELINE_CACHE": str(machine.folder)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def test_the_command_builds_proves_and_shows_the_rows(machine: FakeMachine) -> None:
    done = _build(machine, with_packages=True)
    assert done.returncode == 0, done.stderr
    assert "tiny: building" in done.stdout
    assert "max_difference" in done.stdout
    assert "ok tiny" in done.stdout
    assert len(list(machine.store.folder.glob("*.plan"))) == 1


def test_the_command_without_tensorrt_says_what_to_install(machine: FakeMachine) -> None:
    done = _build(machine, with_packages=False)
    assert done.returncode == 1
    assert "needs TensorRT 8.6, 10 or 11" in done.stderr
    assert 'pip install -c constraints.txt -e ".[tensorrt]"' in done.stderr
