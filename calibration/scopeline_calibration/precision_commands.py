"""`scopeline calibrate precision` and `int8`. Thin: work is imported late."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scopeline.bundle import Bundle, load_bundle
from scopeline.errors import ConfigError
from scopeline.shipped import shipped_pipelines

if TYPE_CHECKING:
    from scopeline.proof import Proof
    from scopeline_calibration.gate import Build
    from scopeline_calibration.labelled_parity import KnownTruth
    from scopeline_calibration.real_frames import RealFrames

DATA_VARIABLE = "SCOPELINE_DATA"
NO_TRUTH = (
    "change of kappa, AUROC, calibration error, Dice: not measured, no --sheet of pictures of known truth"
)
_BundleArgument = Annotated[Path, typer.Argument(help="A bundle's folder, or the name of one that ships.")]
_DataOption = Annotated[
    Path | None,
    typer.Option(
        help=f"Folder with clips and images, searched in depth. Left out: the variable {DATA_VARIABLE}.",
        show_default=False,
    ),
]
_ClipsOption = Annotated[
    list[Path] | None, typer.Option("--clip", help="This clip instead of those in the folder; repeatable.")
]
_SheetOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV of pictures whose truth is known, to compare scores on: path (relative to --data), one column "
        "per head (the mask's path for a mask head). `scopeline held-out` writes one.",
        show_default=False,
    ),
]
_SimulatedOption = Annotated[
    int, typer.Option(help="This many simulated procedures instead of --sheet.", min=0, show_default=False)
]
_FramesOption = Annotated[int, typer.Option(help="Real frames to show, beside 200 hostile ones.", min=20)]
_BatchesOption = Annotated[str, typer.Option(help="Every batch size that will be used, with commas between.")]
_OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for the JSON and the PNG.")]


def calibrate_precision(
    bundle: _BundleArgument,
    backend: Annotated[
        str, typer.Option(help="Runtime to judge: onnxruntime, openvino, tensorrt, or module:Class.")
    ] = "onnxruntime",
    precision: Annotated[str, typer.Option(help="Its arithmetic: fp32, or what else it offers.")] = "fp32",
    network: Annotated[
        Path | None,
        typer.Option(
            help="Judge another build of the bundle's network in ONNX Runtime: a fresh export, a pruned one. "
            "Nothing is proven by it."
        ),
    ] = None,
    data: _DataOption = None,
    clips: _ClipsOption = None,
    sheet: _SheetOption = None,
    simulated: _SimulatedOption = 0,
    frames: _FramesOption = 1200,
    batches: _BatchesOption = "1,4",
    out: _OutOption = Path(),
) -> None:
    """Does a runtime and precision answer as FP32 does? Refuses what does not, and names the layers.

    Shows real and hostile frames to the runtime and to the reference (ONNX Runtime, FP32, one frame at a time, nothing
    fused), compares probabilities, labels, masks and smoothed tags with the bars of the parity gate, prints the table
    and writes it as JSON and PNG. The verdict is kept in the cache folder of this machine, and every result of the
    engine says in `models` whether its build was proven, refused or never judged. Exit code 1 when refused.
    """
    from scopeline_calibration import gate, precision_report

    console = Console()
    chosen = named_bundle(bundle)
    if network is not None and backend != "onnxruntime":
        raise ConfigError(
            f"--network is judged in onnxruntime, got --backend {backend}; leave out one of them"
        )
    build = gate.Build(backend, precision, network or _network_of(chosen, backend, precision))
    with progress_bars(console) as progress:
        known = _known(chosen, sheet, simulated, _data(data, clips or []), progress)
        real = _real(chosen, data, clips or [], frames, progress)
        judge = gate.make_gate(chosen, real, known=known)
        progress.add_task("comparing", total=None)
        proof = judge.check(build, batches=_sizes(batches))
        blamed = None
        if not proof.verdict.passed:
            task = progress.add_task("searching for the layers", total=None)
            blamed = gate.blame(judge, build, proof.verdict, lambda: progress.advance(task))
    console.print(precision_report.verdict_table(proof))
    if known is None:
        console.print(NO_TRUTH, highlight=False)
    _conclude(console, chosen, build, proof, blamed, out, is_kept=network is None)


def _network_of(bundle: Bundle, backend: str, precision: str) -> Path:
    from scopeline.backends.onnx_runtime import INT8_FILE

    if (backend, precision) == ("onnxruntime", "int8"):
        path = bundle.folder / INT8_FILE
        if not path.is_file():
            raise ConfigError(
                f"{path}: no INT8 build there; make one with `scopeline calibrate int8 {bundle.folder}`"
            )
        return path
    return bundle.onnx_path


def calibrate_int8(
    bundle: _BundleArgument,
    data: _DataOption = None,
    clips: _ClipsOption = None,
    sheet: _SheetOption = None,
    simulated: _SimulatedOption = 0,
    frames: _FramesOption = 1200,
    fitted_on: Annotated[
        int,
        typer.Option(help="Of the real frames, how many set the ranges. The gate is on the others.", min=8),
    ] = 200,
    batches: _BatchesOption = "1,4",
    out: _OutOption = Path(),
) -> None:
    """Make an INT8 build for ONNX Runtime from real frames, and keep it only if the parity gate lets it pass.

    Ranges of activations come from some of the real frames, the gate is on the others and on hostile ones. When all
    layers in INT8 are refused, layers are put back to FP32 until it passes, and named. What passed lies as
    model.int8.onnx beside the network and is used where a pipeline says precision = "int8", on this machine only; the
    time per frame is printed beside, because INT8 is not faster everywhere. Exit code 1 when refused; then nothing is
    left there.
    """
    from scopeline_calibration import gate, int8, precision_report

    console = Console()
    chosen = named_bundle(bundle)
    with progress_bars(console) as progress:
        real = _real(chosen, data, clips or [], frames + fitted_on, progress)
        known = _known(chosen, sheet, simulated, _data(data, clips or []), progress)
        judge, quantiser = int8.part(chosen, real, fitted_on, known)
        task = progress.add_task("INT8, trials", total=None)
        found = int8.search(judge, quantiser, lambda: progress.advance(task))
        build = gate.Build("onnxruntime", "int8", found.written, found.kept_in_fp32)
        proof = judge.check(build, batches=_sizes(batches))
        speed = int8.speed(judge, build)
    console.print(precision_report.verdict_table(proof))
    if known is None:
        console.print(NO_TRUTH, highlight=False)
    console.print(found.told)
    console.print(
        f"one frame: FP32 {speed.fp32_ms:.2f} ms, INT8 {speed.int8_ms:.2f} ms (median of {speed.runs})"
    )
    if not proof.verdict.passed:
        found.written.unlink()
    _conclude(console, chosen, build, proof, found.told, out, is_kept=True)


def named_bundle(named: Path) -> Bundle:
    shipped = shipped_pipelines() / "bundles" / named
    return load_bundle(named if named.is_dir() or not shipped.is_dir() else shipped)


def _sizes(batches: str) -> list[int]:
    try:
        sizes = [int(each) for each in batches.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise ConfigError(f"--batches wants whole numbers from 1 on with commas between, got {batches!r}")
    return sizes


def _data(data: Path | None, clips: list[Path]) -> Path:
    missing = [str(clip) for clip in clips if not clip.is_file()]
    if missing:
        raise ConfigError(f"--clip: wanted recordings, there is no file {', '.join(missing)}")
    named = data or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if named is None or not named.is_dir():
        raise ConfigError(
            f"wanted a folder with clips and images, got {str(named) if named else 'none'}; "
            f"name one with --data or in the variable {DATA_VARIABLE}"
        )
    return named


def _real(
    bundle: Bundle, data: Path | None, clips: list[Path], frames: int, progress: Progress
) -> RealFrames:
    from scopeline_calibration.real_frames import real_frames

    task = progress.add_task("real frames", total=frames)
    return real_frames(
        _data(data, clips), bundle.input, count=frames, clips=clips,
        report=lambda done, wanted: progress.update(task, completed=done, total=wanted),
    )  # fmt: skip


def _known(
    bundle: Bundle, sheet: Path | None, simulated: int, data: Path, progress: Progress
) -> KnownTruth | None:
    """Pictures whose truth is known; stills get a spoilt copy each, so that a quality head is scored as well."""
    from scopeline_calibration import labelled, labelled_parity
    from scopeline_calibration.answers import classifying

    if sheet is None and not simulated:
        return None
    if sheet is not None and simulated:
        raise ConfigError("wanted pictures of known truth from one place: --sheet or --simulated")
    task = progress.add_task("reading pictures", total=None)

    def report(done: int, wanted: int) -> None:
        progress.update(task, completed=done, total=wanted)

    heads = classifying(bundle)
    if sheet is None:
        return labelled_parity.known_labels(labelled.from_simulation(simulated, heads, bundle, report=report))
    mask = next((head for head in bundle.heads if head.role == "mask"), None)
    if mask is not None and not heads:
        return labelled_parity.known_masks(sheet, mask, bundle, below=data, report=report)
    found = labelled.from_sheet(sheet, heads, bundle, below=data, report=report)
    if any(head.role == "quality" and head.name not in found.truths for head in heads):
        found = labelled.with_spoilt_copies(found, heads)
    return labelled_parity.known_labels(found)


def _conclude(
    console: Console,
    bundle: Bundle,
    build: Build,
    proof: Proof,
    blamed: str | None,
    out: Path,
    *,
    is_kept: bool,
) -> None:
    from scopeline.proof import keep_proof
    from scopeline_calibration import precision_report

    written = precision_report.write_report(proof, out, blamed=blamed)
    if is_kept:
        kept = keep_proof(bundle, proof, backend=build.backend, precision=build.precision)
        console.print(f"verdict kept in {kept}", highlight=False, soft_wrap=True)
    console.print(f"written: {written[0]}, {written[1]}", highlight=False, soft_wrap=True)
    if not proof.verdict.passed:
        console.print(f"[bold red]refused[/]: {blamed}", highlight=False, soft_wrap=True)
        raise typer.Exit(1)


def progress_bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True,
    )  # fmt: skip
