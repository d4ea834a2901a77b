"""Build child: a process that makes one plan and says on standard output how far it is, a line of JSON per step.

A process and not a thread: a build keeps a core busy for minutes beside the engine's stages, cannot be interrupted from
within, and takes the process with it when the driver fails.

    python -m scopeline.backends.tensorrt_build_child '{"bundle": "bundles/colon", "device": 0, "cache": "/plans"}'
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from scopeline.backends.cuda_driver import open_cuda
from scopeline.backends.tensorrt_build_words import Broken, BuildOrder, Done, Report, Told, Word
from scopeline.backends.tensorrt_forge import Forge
from scopeline.backends.tensorrt_library import open_tensorrt
from scopeline.backends.tensorrt_plan_store import PlanStore
from scopeline.backends.tensorrt_trial_frames import trial_frames
from scopeline.bundle import load_bundle
from scopeline.errors import ScopelineError

_NICE: Final = 10
"""A build keeps a core busy for minutes; the stages of a live run beside it come first."""


def main() -> int:
    """Work off the order in the first argument; 0 when there is a verdict, 1 when there is none."""
    order = msgspec.json.decode(sys.argv[1], type=BuildOrder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the parent's to answer
    if hasattr(os, "nice"):
        os.nice(_NICE)
    with os.fdopen(os.dup(1), "wb", buffering=0) as out:
        os.dup2(2, 1)  # whatever a library prints must not come between the lines
        lock = threading.Lock()

        def say(word: Word) -> None:
            with lock:  # TensorRT tells of its progress from several threads
                _write(out, word)

        try:
            say(_make(order, lambda report: say(Told(report=report))))
        except ScopelineError as error:
            say(Broken(why=str(error)))
            return 1
    return 0


def _make(order: BuildOrder, tell: Callable[[Report], None]) -> Done:
    bundle = load_bundle(Path(order.bundle))
    library, cuda = open_tensorrt(), open_cuda()
    forge = Forge(cuda, library, PlanStore(Path(order.cache)), device=order.device, tell=tell)
    frames = Path(order.frames) if order.frames else None
    made = forge.make(bundle, lambda: trial_frames(bundle, frames), again=order.again)
    return Done(
        verdict=made.verdict, build_s=made.build_s, verify_s=made.verify_s, plan_bytes=made.plan_bytes
    )


def _write(out: BinaryIO, word: Word) -> None:
    out.write(msgspec.json.encode(word) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
