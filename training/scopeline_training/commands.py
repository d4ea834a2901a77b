"""Commands of the training component, offered to the command line as entry points. Thin: torch is imported late."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from scopeline.errors import ConfigError
from scopeline.extras import how_to_install


def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe file, for instance training/recipes/demo.toml.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="No recipe: a folder with a folder of pictures for each label.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write; runs/NAME when left out.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key.key=value over the recipe, as fit.rate=1e-4.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the fit, at most.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many pictures per label and part.")
    ] = None,
    trial: Annotated[
        bool,
        typer.Option(
            "--trial", help="Prove that it runs: few small pictures, two epochs, worthless figures."
        ),
    ] = False,
    weights: Annotated[
        str | None, typer.Option(help="Of the backbone: imagenet, none, or a file, over the recipe.")
    ] = None,
    go_on_from: Annotated[
        Path | None, typer.Option("--continue", help="Checkpoint to start from, as at another batch size.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an interrupted run left in --out.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Use a data set that the probes refuse; all is stamped.")
    ] = False,
) -> None:
    """Train a model bundle from a recipe or a folder: data, probes, split, fit, report, card, ONNX."""
    _need_torch()
    from scopeline_training.run_options import RunOptions
    from scopeline_training.train_any import TrainOptions, train_folder, train_recipe

    if (recipe is None) == (data is None):
        raise ConfigError("wanted a recipe file, or --data FOLDER, one of them")
    options = TrainOptions(
        changes=tuple(changes or ()), weights=weights, epochs=epochs, trial=trial,
        run=RunOptions(force=force, resume=resume, go_on_from=go_on_from, limit=limit),
    )  # fmt: skip
    if recipe is not None:
        train_recipe(recipe, out or Path("runs") / recipe.stem, options)
    elif data is not None:
        train_folder(data, out or Path("runs") / data.resolve().name, options)


def held_out(
    recipe: Annotated[Path, typer.Argument(help="Recipe of a bundle, training/recipes/colon.toml.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV to write.")] = Path("held_out.csv"),
    fold: Annotated[
        int, typer.Option(min=1, help="Of a recipe with folds, whose network was kept; the card names it.")
    ] = 1,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="What --set changed when it was trained.")
    ] = None,
) -> None:
    """List the pictures that a recipe kept apart from its network, to calibrate its probabilities on.

    Splits again as in training, which takes the same data and the same --set; not for a --trial. The sheet's paths are
    relative to the data folder (SCOPELINE_DATA).

    It is for: scopeline calibrate probabilities BUNDLE --sheet CSV --data FOLDER --held-out
    """
    _need_torch()
    from scopeline_training.held_out import held_out as kept_apart
    from scopeline_training.held_out import write_sheet

    rows = kept_apart(recipe, fold=fold, changes=changes or ())
    write_sheet(rows, out)
    typer.echo(f"{len(rows)} pictures: {out}")


def sweep(
    recipe: Annotated[Path, typer.Argument(help="Recipe of the general path.")],
    settings: Annotated[
        list[str], typer.Option("--set", help="key.key=value,value over the recipe, as fit.rate=1e-3,1e-4.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for all runs; runs/NAME-sweep when left out.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each fit, at most.")] = None,
    weights: Annotated[str | None, typer.Option(help="Of the backbone: imagenet, none, or a file.")] = None,
    trial: Annotated[
        bool, typer.Option("--trial", help="Few small pictures, two epochs, worthless figures.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Use a data set that the probes refuse.")] = False,
) -> None:
    """Run a recipe with every combination of some settings; one table at the end. The same command goes on."""
    _need_torch()
    from scopeline_training.run_options import RunOptions
    from scopeline_training.sweep import sweep as run_sweep
    from scopeline_training.train_any import TrainOptions

    options = TrainOptions(weights=weights, epochs=epochs, trial=trial, run=RunOptions(force=force))
    run_sweep(recipe, settings, out or Path("runs") / f"{recipe.stem}-sweep", options)


def ablation(
    recipe: Annotated[
        Path, typer.Argument(help="Recipe of the general path, for instance gi_findings.toml.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for all runs; runs/NAME-ablation when left out."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each fit, at most.")] = None,
    weights: Annotated[str | None, typer.Option(help="Of the backbone: imagenet, none, or a file.")] = None,
    trial: Annotated[
        bool, typer.Option("--trial", help="Few small pictures, two epochs, worthless figures.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Use a data set that the probes refuse.")] = False,
) -> None:
    """What crop, balance and noise do: study S5's eight versions of a data set, one row each.

    The same command goes on after an interruption.
    """
    _need_torch()
    from scopeline_training.ablation import ablation as run_ablation
    from scopeline_training.run_options import RunOptions
    from scopeline_training.train_any import TrainOptions

    options = TrainOptions(weights=weights, epochs=epochs, trial=trial, run=RunOptions(force=force))
    run_ablation(recipe, out or Path("runs") / f"{recipe.stem}-ablation", options)


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


def evaluate_external(
    bundle: Annotated[Path, typer.Argument(help="Folder of a finished bundle.")],
    sheet: Annotated[
        Path | None, typer.Option(help="CSV with the columns ID,label; pictures lie below its folder.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder with a folder of pictures per label.")] = None,
    images: Annotated[Path | None, typer.Option(help="Where the sheet's pictures lie, if elsewhere.")] = None,
    head: Annotated[str | None, typer.Option(help="Head of the bundle; found by its labels.")] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Label of the set = label of the head; OLD= leaves it out."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the report.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also a set that the shortcut probes refuse; stamps the report.")
    ] = False,
) -> None:
    """Run a finished bundle on an external set and write the report."""
    _need_torch()
    import sys

    from rich.console import Console

    from scopeline_training import external

    if (sheet is None) == (folder is None):
        raise ConfigError("wanted one of --sheet FILE and --folder DIR, got both or neither")
    pairs = [pair.partition("=") for pair in rename or ()]
    if not all(equals for _, equals, _ in pairs):
        raise ConfigError(f"--rename: wanted OLD=NEW, got {', '.join(rename or ())}")
    pictures = external.read_sheet(sheet, images) if sheet else external.read_folder(folder or Path())
    page = external.evaluate_external(
        bundle,
        pictures,
        out or Path("runs") / f"{bundle.resolve().name}-external",
        head=head,
        rename={old: new for old, _, new in pairs},
        force=force,
        command=" ".join(["scopeline", *sys.argv[1:]]),
    )
    Console(soft_wrap=True).print(f"wrote {page}")


def evaluate_masks(
    bundle: Annotated[Path, typer.Argument(help="Folder of a finished bundle with a mask head.")],
    pairs: Annotated[Path | None, typer.Option(help="Folder with `images` and `masks`.")] = None,
    clear: Annotated[
        list[Path] | None, typer.Option(help="Folder of pictures in which there is nothing to mark.")
    ] = None,
    unlike: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of what was trained on; pictures that look like one below it are left out."
        ),
    ] = None,
    aspect: Annotated[
        float | None, typer.Option(help="Width over height before the files were squashed.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="From which probability a pixel is marked; the bundle's own if none.")
    ] = None,
) -> None:
    """What a finished bundle marks: Dice and IoU of pictures with masks, and how many clear pictures have a mark."""
    _need_torch()
    from rich.console import Console

    from scopeline_training.mask_evaluation import mask_answers, read_masked, table_of

    if pairs is None and not clear:
        raise ConfigError("wanted --pairs FOLDER or --clear FOLDER, or both; got neither")
    catalogue = read_masked(pairs, clear or (), unlike=unlike or ())
    answers = mask_answers(bundle, catalogue, aspect=aspect, threshold=threshold)
    Console(soft_wrap=True).print(table_of(answers), markup=False, highlight=False)


def evaluate_readers(
    readings: Annotated[
        Path,
        typer.Argument(
            metavar="CSV",
            help="case, group, truth, model or model_probability, then one column per reader, the senior first.",
        ),
    ],
    labels: Annotated[
        str, typer.Option(help="All labels, with commas, mild to severe, the positive one last.")
    ] = "",
    senior: Annotated[str | None, typer.Option(help="Reader who decides ties; the first column.")] = None,
    threshold: Annotated[float, typer.Option(help="From which probability the model says yes.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")] = Path("runs/readers"),
) -> None:
    """Compare a model with human readers and their consensus on the same cases."""
    _need_torch()
    import sys

    from rich.console import Console

    from scopeline_training.reader_report import write_study
    from scopeline_training.readings import read_readings

    names = [label.strip() for label in labels.split(",") if label.strip()]
    read = read_readings(readings, labels=names, senior=senior, threshold=threshold)
    found = write_study(
        out, read, source=readings.name, command=" ".join(["scopeline", *sys.argv[1:]]), seed=seed
    )
    console = Console(soft_wrap=True)
    for each in found.comparisons:
        p = f"p {each.p:.4f}" if each.p_holm is None else f"p {each.p:.4f}, after Holm {each.p_holm:.4f}"
        console.print(
            f"{each.measure}: model {each.model.value:.3f}, {each.reader} {each.human.value:.3f}, "
            f"difference {each.difference}, {p}",
            highlight=False,
        )
    console.print(f"wrote {out / 'report.html'}")


def _need_torch() -> None:
    if find_spec("torch") is None:
        raise ConfigError(
            f"training needs torch, which the runtime does not bring: {how_to_install('training')}"
        )


def explain(
    model: Annotated[
        Path,
        typer.Argument(
            help="Folder of a `scopeline train` run or a checkpoint in it (Grad-CAM); or a bundle, by folder or by "
            "the name of one that ships (occlusion)."
        ),
    ],
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE...", help="Pictures; with --segments one recording.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the panels.")] = Path("explanations"),
    segments: Annotated[
        Path | None,
        typer.Option(
            help="Results folder of `scopeline batch`, or its segments.csv: explain the key frames."
        ),
    ] = None,
    head: Annotated[str | None, typer.Option(help="Head to explain; the last when left out.")] = None,
    label: Annotated[
        str | None, typer.Option(help="Label to explain; the most probable when left out.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="grad-cam, guided-backprop, guided-grad-cam or occlusion; repeat for several."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Layer for Grad-CAM, repeat for several; the usual ones when left out."),
    ] = None,
) -> None:
    """Show why a model says what it says: picture, probabilities and maps of where it looked, as PNG.

    Guided maps need a network whose activations are all nn.ReLU modules (vgg16, resnet50, densenet121, inception_v3).
    """
    from rich.console import Console

    from scopeline_training.explain import Wish, explain_all
    from scopeline_training.explanation import Method

    unknown = set(method or ()) - set(Method)
    if unknown:
        raise ConfigError(f"wanted a method of {', '.join(Method)}, got {', '.join(sorted(unknown))}")
    wish = Wish(head, label, tuple(Method(each) for each in method or ()), tuple(layer or ()))
    console = Console(soft_wrap=True)
    explain_all(
        model,
        pictures,
        out,
        wish=wish,
        segments=segments,
        say=lambda line: console.print(line, highlight=False, markup=False),
    )


def page(
    pipeline: Annotated[
        Path | None,
        typer.Option(help="Pipeline file, or the name of one that ships; colonoscopy when left out."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Instead: folder of a `scopeline train` run; maps are then Grad-CAM."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the page; 0 takes a free one.", min=0, max=65535)] = 8765,
    address: Annotated[str, typer.Option(help="Address of this machine; no other is served.")] = "127.0.0.1",
) -> None:
    """Try a model in the browser: drop a picture or a short clip; quality first, the rest only if it is good.

    Nothing that is dropped is stored or leaves this machine. Ctrl-C ends it.
    """
    from rich.console import Console

    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the page needs {' and '.join(missing)}: {how_to_install('training')}")
    from scopeline_training.page.app import build_app
    from scopeline_training.page.examiner import open_examiner
    from scopeline_training.page.server import PageServer, check_loopback

    check_loopback(address)
    examiner = open_examiner(pipeline, run)
    try:
        server = PageServer(build_app(examiner), address=address, port=port)
    except ConfigError:
        examiner.close()
        raise
    Console(soft_wrap=True).print(
        f"[bold]{server.url}[/] (Ctrl-C ends it). Research use only. Not a medical device."
    )
    server.run()
