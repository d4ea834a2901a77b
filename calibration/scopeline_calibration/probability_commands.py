"""`scopeline calibrate probabilities` and `thresholds`. Thin: work is imported late."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from scopeline.bundle import Bundle
from scopeline.errors import ConfigError
from scopeline_calibration.precision_commands import named_bundle, progress_bars

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

    from scopeline_calibration.labelled import Labelled

_BundleArgument = Annotated[Path, typer.Argument(help="A bundle's folder, or the name of one that ships.")]
_DataOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder whose sub-folders are called like the labels of --head; with --sheet, what its paths are "
        "relative to."
    ),
]
_HeadOption = Annotated[str | None, typer.Option(help="The head that --data has labels of.")]
_SheetOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV of pictures: path (relative to it, or to --data), one column per head, and group (patient) where "
        "known. `scopeline held-out` writes one of what a recipe kept apart."
    ),
]
_SimulatedOption = Annotated[
    int, typer.Option(help="This many simulated procedures instead, whose truth is planted.", min=0)
]
_SpoilOption = Annotated[
    bool,
    typer.Option(
        "--spoil", help="Take the pictures as good, and add a spoilt copy of each as bad, for quality."
    ),
]
_AspectOption = Annotated[
    float | None,
    typer.Option(help="Width over height before the pictures of --data were squashed, if they were."),
]
_HeldOutOption = Annotated[
    bool,
    typer.Option(
        "--held-out",
        help="I know that the bundle was trained on none of these pictures; with --answers, that nobody answered about "
        "a picture it was trained on.",
    ),
]
_DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Measure and report, write nothing into bundle, card or pipeline.")
]
_OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for the JSON and the PNG.")]
_SeedOption = Annotated[int, typer.Option(help="Of splits and resampling.")]


def calibrate_probabilities(
    bundle: _BundleArgument,
    data: _DataOption = None,
    head: _HeadOption = None,
    sheet: _SheetOption = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            help="CSV of what networks said of pictures they had not seen, of --head: `scopeline train` writes one "
            "of its folds."
        ),
    ] = None,
    simulated: _SimulatedOption = 0,
    spoil: _SpoilOption = False,
    aspect: _AspectOption = None,
    held_out: _HeldOutOption = False,
    dry_run: _DryRunOption = False,
    seed: _SeedOption = 0,
    out: _OutOption = Path(),
) -> None:
    """Make probabilities mean what they say: a temperature per head, and a bias per label where there is enough data.

    Fitted and measured on different groups of pictures (five folds): expected calibration error in bins of equal mass,
    Brier score, both with intervals, also by image quality. Written into bundle.toml only where the error on pictures
    that were not fitted on is at most 0.05 and smaller than before, and never from pictures that the bundle was trained
    on; what was found stands in card.md either way. A head that knows nothing is called uninformative and left alone:
    flattened enough, it would look calibrated. Masks are not calibrated here.
    """
    from scopeline.bundle import write_heads
    from scopeline_calibration import probability_card, probability_report
    from scopeline_calibration.answers import classifying, goodness
    from scopeline_calibration.head_calibration import HeadCalibration, calibrate_head
    from scopeline_calibration.labelled import UNKNOWN

    console = Console()
    chosen = named_bundle(bundle)
    with progress_bars(console) as progress:
        if answers is not None and (data, sheet, simulated, spoil) == (None, None, 0, False):
            labelled, logits = _given(answers, chosen, head)
            quality = None
        else:
            labelled = _labelled(chosen, data, head, sheet, simulated, spoil, aspect, progress, answers)
            logits = _asked(chosen, labelled, progress)
            quality = goodness(chosen, logits)
        found: list[HeadCalibration] = []
        for each in classifying(chosen):
            known = labelled.truths.get(each.name, None)
            rows = (known != UNKNOWN).nonzero()[0] if known is not None else ()
            if known is not None and len(rows):
                found.append(
                    calibrate_head(
                        each,
                        logits[each.name][rows],
                        known[rows],
                        labelled.groups[rows],
                        quality=None if quality is None or each.role == "quality" else quality[rows],
                        seed=seed,
                    )
                )
    warning = _warning(labelled, chosen, held_out)
    if answers is not None and not held_out:
        warning = "a table cannot tell who answered: where no network had seen the picture, say --held-out"
    title = f"{chosen.name}: {labelled.told}"
    console.print(probability_report.calibration_table(found, title, probability_report.CAPTION))
    for one in found:
        console.print(probability_report.told(one), highlight=False)
    if warning:
        console.print(f"[yellow]not held out[/]: {warning}", highlight=False)
    network = chosen.network.sha256 if answers is None else None  # others answered
    report = {
        "bundle": chosen.name,
        "network": network,
        "data": labelled.told,
        "warning": warning,
        "heads": found,
    }
    written = probability_report.write(
        report,
        probability_report.draw_reliability(found, title),
        out,
        f"probabilities-{chosen.name}" + (f"-{head}" if answers is not None else ""),
    )
    console.print(f"written: {written[0]}, {written[1]}", highlight=False, soft_wrap=True)
    better = {one.head: one.after for one in found if one.outcome == "calibrated"}
    if better and not dry_run and not warning:
        write_heads(
            chosen,
            tuple(
                msgspec.structs.replace(each, temperature=round(better[each.name].temperature, 4),
                                        bias=tuple(round(number, 4) for number in better[each.name].bias))
                if each.name in better else each
                for each in chosen.heads
            ),
        )  # fmt: skip
        console.print(f"{', '.join(better)}: written into {chosen.folder / 'bundle.toml'}", highlight=False)
    else:
        console.print("bundle.toml stays as it is")
    if not dry_run and not warning:
        probability_card.write_section(
            chosen.folder / "card.md", found, labelled.told, of_head=head if answers is not None else None
        )
        console.print(f"said in {chosen.folder / 'card.md'}", highlight=False, soft_wrap=True)


def calibrate_thresholds(
    bundle: _BundleArgument,
    risk: Annotated[
        float,
        typer.Option(help="Share of wrong answers that is accepted, among those given.", min=0.001, max=0.9),
    ] = 0.1,
    data: _DataOption = None,
    head: _HeadOption = None,
    sheet: _SheetOption = None,
    simulated: _SimulatedOption = 0,
    spoil: _SpoilOption = False,
    aspect: _AspectOption = None,
    pipeline: Annotated[
        Path | None,
        typer.Option("--pipeline", "-p", help="Pipeline file that gets the quality gate's bound."),
    ] = None,
    held_out: _HeldOutOption = False,
    dry_run: _DryRunOption = False,
    seed: _SeedOption = 0,
    out: _OutOption = Path(),
) -> None:
    """From which probability on a head should answer, for a stated risk; and from which quality on frames are judged.

    Draws risk over coverage: how many answers are wrong among those given, when the least sure ones are withheld. The
    bound with the largest coverage at the stated risk is chosen, and measured on groups that it was not chosen on. It
    goes into bundle.toml (abstain_below) for organ and grade, and for quality, whose risk is the share of bad frames
    among those let through, into the pipeline file (usable_at). Where no bound reaches the risk, nothing is written.
    """
    from scopeline.bundle import write_heads
    from scopeline_calibration import probability_report, thresholds

    console = Console()
    chosen = named_bundle(bundle)
    with progress_bars(console) as progress:
        labelled = _labelled(chosen, data, head, sheet, simulated, spoil, aspect, progress)
        logits = _asked(chosen, labelled, progress)
        found = thresholds.find(chosen, labelled, logits, risk=risk, seed=seed)
    warning = _warning(labelled, chosen, held_out)
    title = f"{chosen.name}: {labelled.told}"
    console.print(thresholds.table(found, title))
    if warning:
        console.print(f"[yellow]not held out[/]: {warning}", highlight=False)
    report = {"bundle": chosen.name, "network": chosen.network.sha256, "data": labelled.told, "warning": warning, "risk": risk, "heads": found}  # fmt: skip # noqa: E501
    plot = probability_report.draw_curves(
        {each.head: each.curve for each in found}, {each.head: each.point for each in found}, risk, title
    )
    written = probability_report.write(thresholds.thinned(report), plot, out, f"thresholds-{chosen.name}")
    console.print(f"written: {written[0]}, {written[1]}", highlight=False, soft_wrap=True)
    if dry_run or warning:
        return
    bounds = {each.head: each.point.bound for each in found if each.point and each.role != "quality"}
    if bounds:
        write_heads(chosen, thresholds.with_bounds(chosen.heads, bounds))
        console.print(f"{', '.join(bounds)}: abstain_below written into {chosen.folder / 'bundle.toml'}")
    gate = next((each.point.bound for each in found if each.point and each.role == "quality"), None)
    if gate is not None and pipeline is not None:
        place = thresholds.write_usable_at(pipeline, gate)
        console.print(f"usable_at = {gate:.3f} written into {place}", highlight=False)


def _given(
    table: Path, bundle: Bundle, head: str | None
) -> tuple[Labelled, Mapping[str, NDArray[np.float32]]]:
    from scopeline_calibration.answers import classifying
    from scopeline_calibration.given_answers import read_answers

    named = [each for each in classifying(bundle) if each.name == head]
    if not named:
        there = ", ".join(each.name for each in classifying(bundle))
        raise ConfigError(f"--answers wants --head, one of {there}; got {head or 'none'}")
    return read_answers(table, named[0])


def _asked(bundle: Bundle, labelled: Labelled, progress: Progress) -> Mapping[str, NDArray[np.float32]]:
    from scopeline_calibration.answers import logits_of

    task = progress.add_task("asking the network", total=None)
    return logits_of(
        bundle, labelled.pixels, lambda done, all_: progress.update(task, completed=done, total=all_)
    )


def _labelled(
    bundle: Bundle,
    data: Path | None,
    head: str | None,
    sheet: Path | None,
    simulated: int,
    spoil: bool,
    aspect: float | None,
    progress: Progress,
    answers: Path | None = None,
) -> Labelled:
    from scopeline_calibration import labelled
    from scopeline_calibration.answers import classifying

    heads = classifying(bundle)
    if answers is not None or sum([data is not None or sheet is not None, simulated > 0]) != 1:
        raise ConfigError(
            "wanted labelled pictures from one place: --data with --head, --sheet, or --simulated; or for "
            "probabilities --answers with --head and none of these"
        )
    if not heads:
        raise ConfigError(
            f"{bundle.name} has masks only; probabilities and thresholds are of heads with labels"
        )
    task = progress.add_task("reading pictures", total=None)

    def report(done: int, wanted: int) -> None:
        progress.update(task, completed=done, total=wanted)

    if simulated:
        found = labelled.from_simulation(simulated, heads, bundle, report=report)
    elif sheet is not None:
        found = labelled.from_sheet(sheet, heads, bundle, below=data, report=report)
    else:
        assert data is not None
        named = [each for each in heads if each.name == head or (head is None and len(heads) == 1)]
        if not named:
            raise ConfigError(
                f"--data wants --head, one of {', '.join(each.name for each in heads)}; got {head or 'none'}"
            )
        found = labelled.from_folders(data, named[0], bundle, aspect=aspect, report=report)
    return labelled.with_spoilt_copies(found, heads) if spoil else found


def _warning(pictures: Labelled, bundle: Bundle, held_out: bool) -> str | None:
    from scopeline_calibration.labelled import seen_in_training

    return None if held_out else seen_in_training(pictures, bundle)
