from __future__ import annotations

import os
import subprocess
import sys

from scopeline_bench.descendants import descendants

PARENT_OF_CAT = "import subprocess; cat = subprocess.Popen(['cat']); print(cat.pid, flush=True); cat.wait()"


def test_children_and_their_children_are_found_and_nobody_else() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PARENT_OF_CAT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        cat = int(child.stdout.readline())

        assert {child.pid, cat} <= set(descendants(os.getpid()))
        assert descendants(child.pid) == [cat]
        assert descendants(cat) == []


def test_a_process_that_has_gone_has_none() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()

    assert descendants(gone.pid) == []
