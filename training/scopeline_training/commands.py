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


def ingest(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Recordings, one patient each.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for frames and sheet; a sheet is continued.")
    ],
    every_s: Annotated[float, typer.Option(help="Seconds between frames; 0 takes every frame.")] = 1.0,
    organ: Annotated[str, typer.Option(help="What the recordings show; names the folders.")] = "unknown",
    camera: Annotated[str, typer.Option(help="Scope or processor, for the sheet.")] = "",
    collection: Annotated[int, typer.Option("--round", help="Number of the collection round.")] = 1,
    sheet: Annotated[str, typer.Option(help="Name of the sheet; .csv or .xlsx.")] = "labels.csv",
) -> None:
    """Cut recordings into frames, a folder per patient, and a sheet to be labelled.

    Everything outside the field of view is blackened, and frames without a field are refused; text over the field
    and frames of the room are not recognised: look through the folder. Sheet: path, camera, quality, organ, round,
    split, patient, time_s, recording.
    """
    from rich.console import Console

    from scopeline_training.ingest import IngestPlan
    from scopeline_training.ingest import ingest as frames_of

    plan = IngestPlan(every_s=every_s, organ=organ, camera=camera, round=collection)
    console = Console(soft_wrap=True)
    for done in frames_of(videos, out, plan, sheet=sheet):
        told = f"{done.patient}: {done.written} frames"
        console.print(told + (f", {done.refused} refused for want of a field" if done.refused else ""))
    console.print(f"sheet: {out / sheet}")


def evaluate_shortcuts(
    data: Annotated[Path, typer.Option(help="Folder with a folder of pictures per label.")],
    crop: Annotated[
        str, typer.Option(help="none, inscribed, masked, disc2square or box: what a network is shown.")
    ] = "inscribed",
) -> None:
    """Whether the labels of a data set can be told from borders, files or overlays; exit code 1 if so."""
    _need_torch()
    from typing import get_args

    from rich.console import Console

    from scopeline_training.layouts.class_folders import read
    from scopeline_training.layouts.plans import ClassFolders
    from scopeline_training.pictures import CropName
    from scopeline_training.shortcut_probes import probe

    chosen = next((each for each in get_args(CropName) if each == crop), None)
    if chosen is None:
        raise ConfigError(f"wanted a crop of {', '.join(get_args(CropName))}, got {crop!r}")
    verdict = probe(read(data, ClassFolders()), chosen)
    Console(soft_wrap=True).print(str(verdict), highlight=False)
    if verdict.refused:
        raise typer.Exit(1)


def _need_torch() -> None:
    if find_spec("torch") is None:
        raise ConfigError(
            "training needs torch, which the runtime does not bring: pip install -c constraints.txt '.[training]'"
        )
