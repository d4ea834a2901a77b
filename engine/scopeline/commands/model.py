"""`scopeline model`: the bundles at hand, and whether one would run."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from scopeline.backends import BACKENDS, open_backend
from scopeline.backends.tensorrt_build_process import BuildProcess
from scopeline.backends.tensorrt_build_words import Broken, BuildOrder
from scopeline.backends.tensorrt_runtime import plan_store, refusal
from scopeline.bundle import Bundle, Head, load_bundle
from scopeline.commands.build_view import build_view, verdict_table
from scopeline.config import GpuRule
from scopeline.errors import BackendError, BundleError
from scopeline.shipped import shipped_pipelines

model = typer.Typer(no_args_is_help=True, help="Model bundles: list what ships, check one of your own.")


@model.command("list")
def list_models(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of bundles; those that ship when left out.")
    ] = None,
) -> None:
    """Show the bundles in a folder: heads, labels, input, licence, size."""
    place = folder or shipped_pipelines() / "bundles"
    bundles = [load_bundle(description.parent) for description in sorted(place.glob("*/bundle.toml"))]
    if not bundles:
        raise BundleError(f"{place}: no bundles here; a bundle is a folder with bundle.toml and model.onnx")
    console = Console(highlight=False)
    console.print(f"bundles in {place}\n", style="dim", soft_wrap=True)
    for bundle in bundles:
        console.print(_described(bundle))
    console.print("Research use only. Read a bundle's card.md before using it.", style="dim")


def _described(bundle: Bundle) -> Group:
    """One bundle: a line with its name, and what it answers below, as wide as the terminal is."""
    size_mb = bundle.onnx_path.stat().st_size / 1e6
    shown = f"{bundle.input.width}x{bundle.input.height} {bundle.input.crop}"
    lines = Table.grid(padding=(0, 2))
    for head in bundle.heads:
        lines.add_row(f"  {head.name}", head.role, ", ".join(head.labels))
    lines.add_row("  licence", "", bundle.licence)
    title = Text.assemble(
        (bundle.name, "bold"),
        f" {bundle.version}  ",
        (f"{shown}, {size_mb:.1f} MB, {bundle.network.sha256[:12]}", "dim"),
    )
    return Group(title, lines, Text())


@model.command("check")
def check_model(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder, or the name of one that ships.")],
    backend: Annotated[
        str, typer.Option(help=f"Runtime to open it in: {', '.join(sorted(BACKENDS))}.")
    ] = "onnxruntime",
    precision: Annotated[
        str, typer.Option(help="Arithmetic: fp32, or what else the runtime offers.")
    ] = "fp32",
) -> None:
    """Check a bundle: hash, heads against outputs, card, and that hostile frames give finite probabilities."""
    bundle = load_bundle(_found(folder))
    if not (bundle.folder / "card.md").is_file():
        raise BundleError(
            f"{folder}: wanted a card.md beside the network: say what data it saw and what it cannot do"
        )
    runtime = open_backend(backend, bundle, threads=1, precision=precision)
    try:
        pictures = _hostile_pictures(bundle)
        logits = runtime.infer(pictures)
        one_by_one = [runtime.infer(picture[None]) for picture in pictures]
    finally:
        runtime.close()
    for head in bundle.heads:
        rows = np.stack([_answer(head, row) for row in logits[head.name]])
        if not np.isfinite(rows).all():
            raise BundleError(
                f"{folder}: head {head.name!r} gives values that are not numbers on hostile frames"
            )
        alone = np.stack([_answer(head, answer[head.name][0]) for answer in one_by_one])
        if np.abs(alone - rows).max() > 1e-4:
            raise BundleError(f"{folder}: head {head.name!r} answers differently in a batch than alone")
    Console().print(
        f"[green]ok[/] {bundle.name} {bundle.version}: {len(bundle.heads)} heads, "
        f"{backend} {precision}, {len(pictures)} hostile frames finite, batch equals single"
    )


@model.command("build")
def build_model(
    folder: Annotated[Path, typer.Argument(help="The bundle's folder, or the name of one that ships.")],
    device: Annotated[int, typer.Option(help="Number of the GPU.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of plans; in the user's cache folder when left out.")
    ] = None,
    frames: Annotated[
        Path | None,
        typer.Option(
            help="Frames of your own to judge the plan on: a .npy file, (N, height, width, 3) uint8 RGB."
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Build even if there is a plan.")] = False,
) -> None:
    """Build a bundle's TensorRT FP16 plan for this machine's GPU, and prove it.

    The plan is held against FP32 on the CPU, on a simulated procedure, on
    hostile frames and on frames of your own; only one that passes is ever
    used. Takes seconds to minutes, once per network, driver and TensorRT.

    Exit codes: 0 built and passed (or there already), 1 it cannot be built
    or did not pass; then the CPU runtime goes on serving.
    """
    bundle = load_bundle(_found(folder))
    place = plan_store(GpuRule(device=device, cache=str(cache) if cache else "")).folder
    order = BuildOrder(
        bundle=str(bundle.folder), device=device, cache=str(place), again=again, frames=str(frames or "")
    )
    console = Console()
    with closing(BuildProcess(order)) as build, build_view(console) as view:
        last = view.follow(bundle.name, build.words())
    if isinstance(last, Broken):
        raise BackendError(f"{bundle.name}: {last.why}")
    console.print(verdict_table(last.verdict))
    if not last.verdict.passed:
        raise BackendError(refusal(bundle.name, last.verdict))
    console.print(
        f"[green]ok[/] {bundle.name}: {last.plan_bytes / 1e6:.1f} MB, built in {last.build_s:.1f} s, "
        f"proven in {last.verify_s:.1f} s; in {place}",
        soft_wrap=True,
    )


def _found(folder: Path) -> Path:
    """A bundle by its folder, or by the name of one that ships."""
    shipped = shipped_pipelines() / "bundles" / folder
    return folder if folder.is_dir() or not shipped.is_dir() else shipped


def _answer(head: Head, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return head.mask(logits) if head.role == "mask" else head.probabilities(logits)


def _hostile_pictures(bundle: Bundle) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Black, white, single colours, noise, a hard edge: (N, H, W, 3) uint8."""
    height, width = bundle.input.height, bundle.input.width
    pictures = [np.full((height, width, 3), level, np.uint8) for level in (0, 255)]
    for channel in range(3):
        colour = np.zeros((height, width, 3), np.uint8)
        colour[..., channel] = 255
        pictures.append(colour)
    pictures.append(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8))
    edge = np.zeros((height, width, 3), np.uint8)
    edge[:, width // 2 :] = 255
    pictures.append(edge)
    return np.stack(pictures)
