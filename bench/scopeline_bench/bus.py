"""`scopeline bench bus`: what is between a publisher and its subscribers, ours beside plain PUB/SUB and imagezmq."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from scopeline.errors import SourceError
from scopeline_bench.bus_ends import RATE_HZ, SLOWER, Heard, Kind, hear, throughput
from scopeline_bench.bus_page import NAMES, BusRun, age_chart, bus_filed, is_as_wanted
from scopeline_bench.journeys import times
from scopeline_bench.machine import this_machine
from scopeline_bench.own_process import beside
from scopeline_bench.peers import python_of, version_of
from scopeline_bench.stage import progress_bar


def main(
    *,
    seconds: float,
    picture: Path | None,
    environments: Path | None,
    page: Path | None,
    out: Path | None,
) -> bool:
    """Measure, print, save; whether who kept up missed nothing and who asks for the newest saw nothing stale."""
    console, machine, runs = Console(), this_machine(), []
    python = python_of(environments, "imagezmq")
    kinds: list[Kind] = ["latest", "ordered", "plain", *(["imagezmq"] if python else [])]  # type: ignore[list-item]
    with progress_bar(console) as progress:
        task = progress.add_task("buses", total=len(kinds))
        for kind in kinds:
            progress.update(task, description=NAMES[kind])
            runs.append(measure_bus(kind, seconds, python))
            progress.advance(task)
    version = version_of(python, "imagezmq") if python else None
    bus_filed(runs, seconds, version, machine).file(console, out, page)
    if picture is not None:
        picture.write_text(age_chart(runs), encoding="utf-8")
        console.print(f"wrote {picture}")
    return is_as_wanted(runs)


def measure_bus(kind: Kind, seconds: float, python: Path | None) -> BusRun:
    """A subscriber that keeps up, one that is too slow, and one to whom all is sent at once, one after the other."""
    fast = _heard(kind, seconds / 2, python, pause_s=0.0)
    slow = _heard(kind, seconds, python, pause_s=SLOWER / RATE_HZ)
    return BusRun(
        kind=kind,
        keeps_up_ms=times(fast.age_ms),
        missed=fast.missed,
        slow=list(zip(slow.at_s.tolist(), slow.age_ms.round(2).tolist(), strict=True)),
        skipped=slow.skipped,
        messages_s=None if kind == "imagezmq" else throughput(kind),
    )


def _heard(kind: Kind, seconds: float, python: Path | None, *, pause_s: float) -> Heard:
    with tempfile.TemporaryDirectory(prefix="scopeline-") as folder:
        address = f"ipc://{folder}/bus"
        if kind != "imagezmq":
            with beside(hear, kind, address, seconds, pause_s) as account:
                _publisher([sys.executable, "-m", "scopeline_bench.bus_ends", kind, address, str(seconds)])
                return account.result()
        script = Path(__file__).parents[1] / "peers" / "imagezmq_bus.py"
        assert python is not None
        words = [str(python), str(script)]
        reader = subprocess.Popen(
            [*words, "hear", address, str(seconds), str(pause_s)], stdout=subprocess.PIPE
        )
        _publisher([*words, "send", address, str(seconds)])
        said, _ = reader.communicate(timeout=seconds + 60)
        return Heard.from_rows(msgspec.json.decode(said))


def _publisher(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SourceError(f"the publisher failed: {done.stderr.strip().splitlines()[-1:]}")
