"""Commands of the training component, offered to the command line as entry points. Thin: torch is imported late."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from scopeline.errors import ConfigError


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, for instance training/recipes/demo.toml.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Bundle folder to write; runs/NAME when left out.")
    ] = None,
) -> None:
    """Train a model bundle from a recipe: data, network, fit, figures, card, ONNX."""
    _need_torch()
    from scopeline_training.train import run

    run(recipe, out or Path("runs") / recipe.stem)


def evaluate_quality(
    data: Annotated[Path, typer.Option(help="Folder of real images (its README says which).")],
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON into this file.")] = None,
) -> None:
    """Quality gate on degraded real images, also with a family of degradations left out (acceptance C1 and C2)."""
    _need_torch()
    from scopeline_training import quality_suite

    if not quality_suite.main(data, out):
        raise typer.Exit(1)


def _need_torch() -> None:
    if find_spec("torch") is None:
        raise ConfigError(
            "training needs torch, which the runtime does not bring: pip install -c constraints.txt '.[training]'"
        )
