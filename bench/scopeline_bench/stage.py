"""What every bench sets up first: the clip, the bundle, a progress bar."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from scopeline.errors import BundleError
from scopeline.shipped import shipped_pipelines
from scopeline_bench.clip import ClipPlan, cache_folder, clip

MOBILENET_V2 = "mobilenet_v2"


def bundle_folder(name: str) -> Path:
    """A bundle by folder, by the name of one that ships, or the reference network, written to the cache.

    Raises:
        BundleError: there is no such bundle.
    """
    if name == MOBILENET_V2:
        from scopeline_bench.networks import write_reference_bundle

        return write_reference_bundle(cache_folder() / MOBILENET_V2)
    shipped = shipped_pipelines() / "bundles"
    for folder in (Path(name), shipped / name):
        if (folder / "bundle.toml").is_file():
            return folder
    known = sorted(each.parent.name for each in shipped.glob("*/bundle.toml"))
    raise BundleError(f"{name}: wanted a bundle folder, one that ships ({known}) or {MOBILENET_V2!r}")


def drawn_clip(plan: ClipPlan, progress: Progress) -> Path:
    """The clip from the cache, drawn now if it is not there."""
    task = progress.add_task("drawing the clip", total=None)
    path = clip(plan, cache_folder(), lambda done, total: progress.update(task, completed=done, total=total))
    progress.remove_task(task)
    return path


def progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console, transient=True
    )
