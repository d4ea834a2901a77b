"""What Ray costs and whether it holds: one worker, two, two nodes of Ray, and one of them killed on the way."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]
from rich.console import Console

from scopeline.errors import BackendError
from scopeline_bench.archive import differences, make_archive
from scopeline_bench.batch_process import arguments, run_batch
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.report import Rows, describe, publish

_PORT = 26379
"""Beyond those that Ray gives to its workers (10002 to 19999)."""
_OTHER = "127.0.0.2"
"""Of the second node: a call joins the node that has its own address, and must not die with the one that is killed."""
_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
_STORE_BYTES = 100_000_000


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs came to."""

    clips: int
    one_s: float
    """One local worker."""
    two_s: float
    """Two local workers."""
    ray_one_s: float
    """Ray with one node of one core."""
    ray_two_s: float
    """Ray with two nodes of one core each."""
    killed_s: float
    """The same, one node killed half-way."""
    was_killed: bool
    different: list[str]
    """Files that differ from those of one local worker in any other run, run stamps left out."""

    @property
    def is_right(self) -> bool:
        return self.was_killed and not self.different


def main(*, clips: int, seconds: float, pipeline: str, chunk_minutes: float, out: Path | None) -> bool:
    """Measure, print, save; whether all runs gave the same."""
    console, machine = Console(), this_machine()
    with tempfile.TemporaryDirectory(prefix="scopeline-cluster-") as folder:
        root = Path(folder)
        make_archive(root / "in", clips=clips, broken=0, seconds=seconds, real=None)
        kept = _measure(root, pipeline, ["--chunk-minutes", str(chunk_minutes)], clips, console)
    publish("cluster", console, out, machine, [_table(kept)], _notes(kept, machine), kept)
    return kept.is_right


def _measure(root: Path, pipeline: str, more: Sequence[str], clips: int, console: Console) -> Shared:
    seconds: dict[str, float] = {}

    def run(name: str, *options: str) -> None:
        watched = run_batch(arguments(root / "in", root / name, pipeline, [*more, *options]))
        seconds[name] = round(watched.seconds, 1)
        console.print(f"{name}: {watched.seconds:.1f} s, exit code {watched.exit_code}")

    run("one", "--workers", "1")
    run("two", "--workers", "2")
    address = f"127.0.0.1:{_PORT}"
    with _node("--head", f"--port={_PORT}", "--include-dashboard=false"):
        run("ray one", "--ray", address)
        second = (f"--address={address}", f"--node-ip-address={_OTHER}")
        with _node(*second):
            run("ray two", "--ray", address)
        with _node(*second) as node:
            was_killed = _run_and_kill(root, pipeline, more, address, node, seconds)
    names = [name for name in (*seconds, "killed") if name != "one"]
    different = [
        f"{name}: {each}" for name in dict.fromkeys(names) for each in differences(root / "one", root / name)
    ]
    return Shared(
        clips=clips,
        one_s=seconds["one"],
        two_s=seconds["two"],
        ray_one_s=seconds["ray one"],
        ray_two_s=seconds["ray two"],
        killed_s=seconds["killed"],
        was_killed=was_killed,
        different=different,
    )


def _run_and_kill(
    root: Path,
    pipeline: str,
    more: Sequence[str],
    address: str,
    node: psutil.Process,
    seconds: dict[str, float],
) -> bool:
    """A run in which a node dies with everything on it when a third of the undisturbed time is over."""
    started_s = time.monotonic()
    command = arguments(root / "in", root / "killed", pipeline, [*more, "--ray", address])
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds["ray two"] / 3)
        was_running = process.poll() is None
        _kill(node)
        process.wait()
    seconds["killed"] = round(time.monotonic() - started_s, 1)
    return was_running


@contextlib.contextmanager
def _node(*options: str) -> Iterator[psutil.Process]:
    """A Ray node of one core on this machine; it and whatever it started end with the block."""
    size = f"--object-store-memory={_STORE_BYTES}"
    command = [*_RAY, "start", "--block", "--num-cpus=1", size, *options]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
    ) as process:
        node = psutil.Process(process.pid)
        try:
            _wait_until_ready(process)
            yield node
        finally:
            _kill(node)


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if "Ray runtime started" in line:
            return
    raise BackendError(f"Ray did not start a node: {' '.join(said[-5:])}")


def _kill(node: psutil.Process) -> None:
    """With everything that it started, which is its children as long as it lives."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in [node, *node.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def _table(kept: Shared) -> Rows:
    rows = (
        ("one local worker", f"{kept.one_s}", "1.00"),
        ("two local workers", f"{kept.two_s}", f"{kept.one_s / kept.two_s:.2f}"),
        ("Ray, one node of one core", f"{kept.ray_one_s}", f"{kept.one_s / kept.ray_one_s:.2f}"),
        ("Ray, two nodes of one core", f"{kept.ray_two_s}", f"{kept.one_s / kept.ray_two_s:.2f}"),
        ("the same, one killed on the way", f"{kept.killed_s}", f"{kept.one_s / kept.killed_s:.2f}"),
    )
    return Rows(title=f"{kept.clips} clips", columns=("who", "s", "speed over one worker"), rows=rows)


def _notes(kept: Shared, machine: Machine) -> list[str]:
    same = (
        f"DIFFERENT: {', '.join(kept.different[:10])}"
        if kept.different
        else "all the same, run stamps left out"
    )
    return [
        f"Results: {same}. The node {'was' if kept.was_killed else 'WAS NOT'} killed while the batch ran.",
        f"Ray over local, two workers: {kept.ray_two_s / kept.two_s:.2f} of the time; scaling from one to two: "
        f"{kept.one_s / kept.two_s:.2f} local, {kept.ray_one_s / kept.ray_two_s:.2f} on Ray.",
        describe(machine, load()),
    ]
