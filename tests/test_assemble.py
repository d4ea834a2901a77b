"""What is opened while an engine is assembled and what becomes of it when that fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import ScriptedSource
from scopeline.assemble import assemble
from scopeline.bundle import Bundle
from scopeline.config import BundleChoice, HeadRule, Pipeline
from scopeline.errors import BundleError, ConfigError, ScopelineError
from scopeline.smoothing import SmoothingSettings
from tiny_bundle import write_tiny_bundle


class CountingBackend:
    """A user's own runtime that knows how many of it are open."""

    name, precision = "counting", "fp32"
    opened = 0

    def __init__(self, bundle: Bundle, *, threads: int, precision: str) -> None:
        type(self).opened += 1

    def infer(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        raise NotImplementedError

    def close(self) -> None:
        type(self).opened -= 1


def _pipeline(folder: Path, *names: str, **changes: object) -> Pipeline:
    bundles = tuple(BundleChoice(path=name, backend="test_assemble:CountingBackend") for name in names)
    return Pipeline(name="test", bundles=bundles, folder=str(folder), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "changes", "error"),
    [
        (("tiny", "missing"), {}, BundleError),
        (("tiny",), {"heads": {"nobody": HeadRule()}}, ConfigError),
        (("tiny",), {"smoothing": {"nobody": SmoothingSettings()}}, ConfigError),
    ],
)
def test_what_was_opened_is_closed_when_assembling_fails(
    tmp_path: Path, names: tuple[str, ...], changes: dict[str, object], error: type[ScopelineError]
) -> None:
    write_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(error):
        assemble(_pipeline(tmp_path, *names, **changes), ScriptedSource([]), [], live=False)
    assert CountingBackend.opened == 0


def test_the_engine_closes_the_models_it_was_given(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "tiny")
    engine = assemble(_pipeline(tmp_path, "tiny"), ScriptedSource([]), [], live=False)
    assert CountingBackend.opened == 1
    engine.run()
    assert CountingBackend.opened == 0
