"""`scopeline calibrate smoothing`. Thin: work is imported late."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scopeline.errors import ConfigError

if TYPE_CHECKING:
    from scopeline_calibration.labelled_sequence import LabelledSequence

TUNING_GRADE_SEEDS = range(3100, 3124)
CHECK_GRADE_SEEDS = range(3200, 3212)
_MOST_MISSED = {"location": 0.01, "grade": 0.30}
"""Grades come in patches of three to eight seconds, which no tag that must be steady can all show."""
_FLIPS_OF_TRUTH = {"location": None, "grade": 1.0}
"""A grade's tag that changes more often than the grade makes changes up. For places the time to a stable tag is what
holds the point back."""


def calibrate_smoothing(
    sequences: Annotated[
        Path | None,
        typer.Argument(
            help="Labelled sequences: CSV (sequence, time_s, truth, p_LABEL..., quality) or .jsonl. Simulated "
            "procedures when left out.",
            show_default=False,
        ),
    ] = None,
    role: Annotated[
        Literal["location", "grade"], typer.Option(help="Which default to vary, and what to simulate.")
    ] = "location",
    procedures: Annotated[
        int,
        typer.Option(
            help="Simulated procedures to choose on, at each strength of the head; 24 take some minutes.",
            min=1,
            max=24,
        ),
    ] = 24,
    most_missed: Annotated[
        float | None,
        typer.Option(
            help="Share of true episodes that the chosen point may miss; 0.01 for locations, 0.3 for grades.",
            min=0.0,
            max=1.0,
            show_default=False,
        ),
    ] = None,
    pipeline: Annotated[
        Path | None,
        typer.Option(
            "--pipeline", "-p", help="Pipeline file that the chosen point is for.", show_default=False
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="Its head; the first one of the role when left out.", show_default=False),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the chosen point into the pipeline file.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the JSON and the PNG.")] = Path(),
) -> None:
    """What steadiness costs: flips, segment scores, delays and misses over settings of both smoothers.

    Runs the engine's own smoother with every setting of a grid over the sequences, prints and plots the curve, and
    takes one point by a stated rule; what it misses stands beside what it gains. Some sequences are kept back to check
    the point: of a file every second one, of the simulator other seeds, with acceptance rows H1 to H3 for a location
    head. With --pipeline FILE --write the point goes into the file's [smoothing.HEAD].

    Exit code 1 when the library's default does not stand on the curve of simulated procedures, or fails H1 to H3 there.
    """
    import msgspec

    from scopeline.replace_file import cannot_write, replace_file
    from scopeline_calibration.pipeline_smoothing import default_for, write_smoothing
    from scopeline_calibration.smoothing_check import held_out_rows
    from scopeline_calibration.smoothing_curve import Bounds, measure_curve, settings_grid
    from scopeline_calibration.smoothing_plot import draw_curve
    from scopeline_calibration.smoothing_point import measure
    from scopeline_calibration.smoothing_report import (
        SmoothingReport,
        print_report,
        rows_as_text,
        settings_words,
    )
    from scopeline_calibration.smoothing_suite import LEVELS, STATIC_SEEDS, TEST_SEEDS

    if write and (pipeline is None or not pipeline.suffix):
        raise ConfigError(
            "--write needs --pipeline with the path of a .toml file, which is changed; name one"
        )
    chosen_head = _head(pipeline, head, role) if pipeline is not None else None
    base = default_for(role)
    console = Console()
    tune, check, told = _material(sequences, role, procedures)
    simulated_places = sequences is None and role == "location"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    acceptance: dict[str, list[str]] = {}
    passed = True
    with Progress(*columns, console=console, transient=True) as progress:
        steps = len(settings_grid(base))
        task = progress.add_task(
            "smoothing", total=steps + (2 if check else 0) + (6 if simulated_places else 0)
        )
        curve = measure_curve(
            base,
            tune,
            bounds=Bounds(
                most_missed=_MOST_MISSED[role] if most_missed is None else most_missed,
                flips_of_truth=_FLIPS_OF_TRUTH[role],
                quick_for=f"{max(LEVELS):.1%}" if simulated_places else None,
            ),
            done=lambda: progress.advance(task),
        )
        chosen = curve.points[curve.chosen].settings
        checks = [measure(each, check) if check else None for each in (chosen, base)]
        progress.advance(task, 2 if check else 0)
        if simulated_places:
            for name, each in {"default": base, "chosen": chosen}.items():
                if name == "chosen" and chosen == base:
                    continue
                rows, _ = held_out_rows(
                    each, weak=min(LEVELS), strong=max(LEVELS), seeds=TEST_SEEDS, still_seeds=STATIC_SEEDS,
                    done=lambda: progress.advance(task),
                )  # fmt: skip
                acceptance[name] = rows_as_text(rows)
                passed = passed and (name != "default" or all(row.passed for row in rows))
    report = SmoothingReport(
        role=role,
        chosen_on=told[0],
        curve=curve,
        checked_on=told[1] if check else None,
        chosen_check=checks[0],
        default_check=checks[1],
        acceptance=acceptance,
    )
    print_report(report, console)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    replace_file(
        out / f"smoothing_{role}.json", msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
    )
    draw_curve(curve, out / f"smoothing_{role}.png", title=f"Smoothing a {role} head on {told[0]}")
    console.print(f"written: {out / f'smoothing_{role}.json'} and .png", highlight=False, soft_wrap=True)
    if write and pipeline is not None and chosen_head is not None:
        write_smoothing(pipeline, chosen_head, chosen, f"{settings_words(chosen)}, on {told[0]}")
        console.print(
            f"{pipeline}: [smoothing.{chosen_head}] is now the chosen point", highlight=False, soft_wrap=True
        )
    if sequences is None and not (passed and curve.default_is_on_curve):
        raise typer.Exit(1)


def _material(
    path: Path | None, role: str, procedures: int
) -> tuple[list[LabelledSequence], list[LabelledSequence], tuple[str, str]]:
    """What to choose on, what to check on, and what each is called."""
    from scopeline_calibration.labelled_sequence import read_sequences, simulated_grades, simulated_places
    from scopeline_calibration.smoothing_suite import GRADE_ACCURACY, LEVELS, TEST_SEEDS, TUNING_SEEDS

    if path is not None:
        read = read_sequences(path)
        if len(read) < 2:
            return read, [], (f"{len(read)} sequence of {path.name}", "")
        return read[::2], read[1::2], (
            f"{len(read[::2])} sequences of {path.name}", f"the other {len(read[1::2])}"
        )  # fmt: skip
    if role == "grade":
        tune, check = TUNING_GRADE_SEEDS[:procedures], CHECK_GRADE_SEEDS
        return (
            simulated_grades(GRADE_ACCURACY, tune),
            simulated_grades(GRADE_ACCURACY, check),
            (
                f"simulated procedures {tune.start}-{tune.stop - 1}",
                f"procedures {check.start}-{check.stop - 1}",
            ),
        )
    tune, check = TUNING_SEEDS[:procedures], TEST_SEEDS[:4]
    return (
        simulated_places(LEVELS, tune),
        simulated_places(LEVELS, check),
        (f"simulated procedures {tune.start}-{tune.stop - 1}", f"procedures {check.start}-{check.stop - 1}"),
    )


def _head(pipeline: Path, name: str | None, role: str) -> str:
    from scopeline.bundle import load_bundle
    from scopeline.config import load_pipeline
    from scopeline_calibration.pipeline_smoothing import head_of

    loaded = load_pipeline(pipeline)
    if name is not None:
        return head_of(loaded, name).name
    heads = [head for choice in loaded.bundles for head in load_bundle(loaded.bundle_path(choice)).heads]
    first = next((head.name for head in heads if head.role == role), None)
    if first is None:
        raise ConfigError(f"pipeline {loaded.name!r} has no {role} head; name one with --head")
    return first
