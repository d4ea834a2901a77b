"""Company: what else runs while a feed is measured: a reader that never reads, a process that never rests.

python -m scopeline_bench.company paused ipc:///tmp/bus
python -m scopeline_bench.company busy
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Literal

import numpy as np
import zmq

Kind = Literal["paused", "busy"]
WHAT: dict[Kind, str] = {
    "paused": "a second subscriber that never reads",
    "busy": "a second process that multiplies matrices without rest",
}


@contextlib.contextmanager
def company(kind: Kind, address: str) -> Iterator[None]:
    """Company during the block, in a process of its own.

    Args:
        kind: Which.
        address: What the reader connects to.
    """
    words = [sys.executable, "-m", "scopeline_bench.company", kind, address]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=one_thread) as child:
        assert child.stdout is not None
        child.stdout.readline()  # it is there
        try:
            yield
        finally:
            child.kill()


def main() -> None:
    """Keep company until killed."""
    kind, address = sys.argv[1:]
    if kind == "paused":
        with zmq.Context() as context, context.socket(zmq.SUB) as reader:
            reader.subscribe(b"")
            reader.connect(address)
            print("here", flush=True)
            sys.stdin.read()  # until whoever started us goes
    else:
        work = np.random.default_rng(0).random((256, 256))
        print("here", flush=True)
        while os.getppid() != 1:  # nobody's child any more: whoever started us was killed
            work = work @ work
            work /= work.max()


if __name__ == "__main__":
    main()
