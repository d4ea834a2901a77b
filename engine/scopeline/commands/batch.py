"""`scopeline batch`: tag recordings, each into a folder of results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final, get_args

import typer
from msgspec import ValidationError, convert
from msgspec.structs import replace
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scopeline.archive.archive import Archive
from scopeline.archive.local_workers import LocalWorkers, cores
from scopeline.archive.ray_workers import RayWorkers
from scopeline.archive.recordings import find_recordings
from scopeline.archive.task import Setup
from scopeline.archive.workers import Workers
from scopeline.assemble import check
from scopeline.batch import Outcome, add_outputs, plan
from scopeline.commands.batch_view import STYLES, BatchView
from scopeline.commands.interrupt import INTERRUPTED, stops_on_interrupt
from scopeline.config import Pipeline, load_pipeline
from scopeline.contact_sheet import length_text
from scopeline.errors import ConfigError
from scopeline.outputs.kinds import check_outputs
from scopeline.results_wanted import OutputKind, ResultsWanted
from scopeline.segment_findings import most_found
from scopeline.summary import Summary

CHUNK_MINUTES: Final = 5.0
"""At 60 frames/s 18,000 frames: two minutes of work and 2 MB, so that a worker that dies costs little."""


def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Recordings, folders of them, patterns, or lists: .txt with a path per line, .csv with a column "
            "'video' and whatever else is known of each.",
        ),
    ],
    pipeline: Annotated[
        Path, typer.Option("--pipeline", "-p", help="Pipeline file, or the name of one that ships.")
    ] = Path("colonoscopy"),
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results; each recording gets one in it.")
    ] = Path("results"),
    again: Annotated[
        bool, typer.Option("--again", help="Also work on recordings that are done already.")
    ] = False,
    also: Annotated[
        str | None,
        typer.Option(
            help="What else to make of each recording, with commas between: parquet, report (a page), pdf, video "
            "(tags and masks drawn), dicom. By default what the pipeline's [results] says."
        ),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option("--pictures/--no-pictures", help="Whether results may hold pictures of the recording."),
    ] = True,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that work side by side; by default one per core.")
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, help="How often a recording that failed is tried again, after all others.")
    ] = 0,
    chunk_minutes: Annotated[
        float,
        typer.Option(min=0.02, help="Recordings longer than one and a half of this are worked on in pieces."),
    ] = CHUNK_MINUTES,
    ray: Annotated[
        str | None,
        typer.Option(help="Work on a Ray cluster: its address, 'auto', or 'local'. See docs/cluster.md."),
    ] = None,
    task_cpus: Annotated[float, typer.Option(min=0.0, help="With --ray: cores that one task takes.")] = 1.0,
    task_gpus: Annotated[float, typer.Option(min=0.0, help="With --ray: GPUs that one task takes.")] = 0.0,
) -> None:
    """Judge recordings and write frames, segments, chapters, a summary and a contact sheet for each.

    What is done already is left alone, so the same command goes on after
    an interruption, also after kill -9. Marks in video.marks.toml beside
    video.mp4 are taken into account. Nothing is published; for that there
    is `live`.

    Exit codes: 0 all done, 1 some recordings failed (the others are done),
    2 wrong usage or configuration, 130 interrupted; what was judged until
    then is in NAME.partial, of a long recording its finished pieces.
    """
    chosen = _with_results(load_pipeline(pipeline), also, pictures)
    check(chosen)
    check_outputs(chosen.results)
    named = find_recordings(inputs, leave_out=out)
    jobs = plan([each.video for each in named], out, chosen, {each.video: each.metadata for each in named})
    console = Console(soft_wrap=True)
    view = BatchView(console, jobs)
    outcomes = []
    with closing(_workers(workers, ray, task_cpus, task_gpus)) as crew:
        setup = Setup(
            chosen, 60 * chunk_minutes, decode_ahead=ray is None and 2 * len(jobs) <= (workers or cores())
        )
        run = Archive(setup, crew, out, retries=retries, on_progress=view.hear)
        with stops_on_interrupt(run), view.progress:
            for outcome in run.work(jobs, again=again):
                outcomes.append(outcome)
                view.end(outcome)
                if outcome.state == "already done":
                    add_outputs(outcome.job, chosen)
    if chosen.results.also:
        _write_overview(out, outcomes, chosen.results)
    console.print(_table(outcomes, len(jobs)))
    console.print(f"results in {out}; research use only", style="dim", highlight=False)
    if run.stopped:
        raise typer.Exit(INTERRUPTED)
    if any(outcome.state == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def _with_results(pipeline: Pipeline, also: str | None, pictures: bool) -> Pipeline:
    wanted = {"also": list(pipeline.results.also), "pictures": pipeline.results.pictures and pictures}
    if also is not None:
        wanted["also"] = [kind.strip() for kind in also.split(",") if kind.strip()]
    try:
        return replace(pipeline, results=convert(wanted, ResultsWanted))
    except ValidationError as error:
        raise ConfigError(
            f"--also: wanted some of {', '.join(get_args(OutputKind))}, with commas between; got {also!r}"
        ) from error


def _write_overview(out: Path, outcomes: Sequence[Outcome], wanted: ResultsWanted) -> None:
    """The archive's page and table, over all that is finished in this call or was."""
    finished = {
        each.job.folder.name: each.summary
        for each in outcomes
        if each.summary is not None and each.state != "failed"
    }
    failed = {each.job.video.name: each.reason for each in outcomes if each.state == "failed"}
    if "report" in wanted.also:
        from scopeline.outputs.report_page import write_overview_page

        write_overview_page(out, finished, failed)
    if "parquet" in wanted.also:
        from scopeline.outputs.parquet_tables import PROCEDURES_TABLE, write_procedures_table

        write_procedures_table(out / PROCEDURES_TABLE, finished)


def _workers(count: int | None, ray: str | None, cpus: float, gpus: float) -> Workers:
    if ray is None:
        return LocalWorkers(count or cores())
    if not cpus and not gpus:
        raise ConfigError(
            "a task that takes no core and no GPU has no bound; give --task-cpus or --task-gpus"
        )
    return RayWorkers(ray, cpus=cpus, gpus=gpus, most=count)


def _table(outcomes: Sequence[Outcome], jobs: int) -> Table:
    states = Counter(outcome.state for outcome in outcomes)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    title = f"{len(outcomes)} of {jobs} recordings: {counted}" if outcomes else f"0 of {jobs} recordings"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, expand=True, padding=(0, 1, 0, 0))
    table.add_column("recording", overflow="fold", ratio=1, min_width=14)
    rows = [_figures(outcome.summary) for outcome in outcomes]
    # Columns that are empty throughout are those of heads that the pipeline does not have.
    names = [name for name in _FIGURES if name not in _OF_HEADS or any(row.get(name) for row in rows)]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("result", no_wrap=True)
    for outcome, row in zip(outcomes, rows, strict=True):
        state = Text(outcome.state, style=STYLES[outcome.state])
        table.add_row(outcome.job.video.name, *(row.get(name) or "-" for name in names), state)
    return table


_OF_HEADS: Final = ("worst MES", "found")
_FIGURES: Final = ("frames", "usable", "segments", *_OF_HEADS, "time")


def _figures(summary: Summary | None) -> dict[str, str]:
    """By column; without what there is nothing to say of."""
    if summary is None:
        return {}
    share, worst = summary.frames.usable_share, summary.procedure.worst_mes
    found = most_found(summary.procedure.findings)
    return {
        "frames": str(summary.frames.published),
        "usable": "" if share is None else f"{100 * share:.0f} %",
        "segments": str(summary.procedure.segments),
        "worst MES": "" if worst is None else str(worst),
        "found": "" if found is None else f"{found[0]} {found[1]}/{found[2]}",
        "time": length_text(summary.seconds),
    }
