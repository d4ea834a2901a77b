"""What every test gets: no thread is left behind, real data where it is present."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

cv2.setNumThreads(1)

_DATA = Path(os.environ.get("SCOPELINE_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(timeout=5)
    assert not [thread.name for thread in left if thread.is_alive()], "a test left threads running"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real clips and images; a missing one is a skip here and a failure where CI says it has it."""
    if not (_DATA / "manifest.csv").is_file():
        message = f"no data folder at {_DATA}; set SCOPELINE_DATA to one"
        if os.environ.get("SCOPELINE_DATA_REQUIRED"):
            pytest.fail(message)
        pytest.skip(message)
    return _DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a GPU or a program is skipped without it, unless a variable says that it is there: then it fails."""
    for item in items:
        if item.get_closest_marker("gpu") and not os.environ.get("SCOPELINE_GPU"):
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU; set SCOPELINE_GPU=1 where there is one"))
        wanted = item.get_closest_marker("programs")
        missing = [name for name in wanted.args if shutil.which(name) is None] if wanted else []
        if missing and not os.environ.get("SCOPELINE_PROGRAMS_REQUIRED"):
            item.add_marker(
                pytest.mark.skip(reason=f"needs {', '.join(missing)}, which is not installed here")
            )
