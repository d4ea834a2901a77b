"""Gate side: one engine in a process of its own that times its stages when it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

import msgspec

from scopeline.errors import ConfigError
from scopeline_bench.stages import Stages

CHECKOUT: Final = Path(__file__).parents[2]
_NEEDED: Final = ("engine", "pipelines", "calibration")


class Side:
    """One engine; it makes its stages while others do the same."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._stages: Stages | None = None

    @property
    def stages(self) -> Stages:
        """What it has; waits until all are made."""
        if self._stages is None:
            self._stages = msgspec.json.decode(self._answer(), type=Stages)
        return self._stages

    def seconds(self, name: str) -> float:
        """Of one stage, now."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            raise ConfigError("an engine to be timed ended; its last words are above")
        return said


@contextmanager
def side(root: Path, names: Sequence[str], plant: str = "") -> Iterator[Side]:
    """The engine of a checkout, with this checkout's stages.

    Args:
        root: The checkout.
        names: Which stages it shall make.
        plant: STAGE=SHARE, see `scopeline_bench.stages.Timed`.
    """
    paths = os.pathsep.join([str(root / "engine"), str(CHECKOUT / "bench")])
    words = [sys.executable, "-m", "scopeline_bench.stages", msgspec.json.encode(names).decode(), plant]
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    # `-m` looks where it is started before it looks at PYTHONPATH, and somebody may stand in an engine's folder.
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=root
    ) as process:
        try:
            yield Side(process)
        finally:
            process.kill()


def unpack(base: str, folder: Path) -> None:
    """The engine of a commit, without touching the checkout.

    Raises:
        ConfigError: there is no such commit.
    """
    done = subprocess.run(["git", "archive", base, *_NEEDED], cwd=CHECKOUT, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ConfigError(f"wanted a commit to compare with, got {base!r}: {said}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
