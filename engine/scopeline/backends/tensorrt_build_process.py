"""Build process: the parent's side of a build child. It can be read line by line, and ended at any moment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, cast

import msgspec

from scopeline.backends.tensorrt_build_words import Broken, BuildOrder, Told, Word

_PROGRAM: Sequence[str] = (sys.executable, "-m", "scopeline.backends.tensorrt_build_child")


class BuildProcess:
    """One build under way. Started here, gone when this is closed.

    Args:
        order: What to make.
        program: What is started, with the order as its last argument.
    """

    def __init__(self, order: BuildOrder, program: Sequence[str] = _PROGRAM) -> None:
        self._child = subprocess.Popen(
            [*program, msgspec.json.encode(order).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def words(self) -> Iterator[Word]:
        """What the child says, to its last word; `Broken` when it ended without one."""
        out = cast(IO[bytes], self._child.stdout)
        for line in out:
            with suppress(msgspec.DecodeError):
                word = msgspec.json.decode(line, type=Word)
                yield word
                if not isinstance(word, Told):
                    return
        code = self._child.wait()
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        yield Broken(
            why=f"the building process ended without a result ({ended}): the driver or TensorRT crashed"
        )

    def interrupt(self) -> None:
        """End the child. From any thread, any number of times; its lock is free at once, and no part of a plan is
        left that could be taken for one."""
        if self._child.poll() is None:
            with suppress(ProcessLookupError):
                self._child.kill()

    def close(self) -> None:
        """End the child and wait for its end."""
        self.interrupt()
        self._child.wait()
        cast(IO[bytes], self._child.stdout).close()
