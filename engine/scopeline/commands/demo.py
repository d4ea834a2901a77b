"""`scopeline demo`: the whole way, from the synthetic procedure to segments beside their truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from scopeline.assemble import assemble
from scopeline.commands.interrupt import INTERRUPTED, stops_on_interrupt
from scopeline.config import load_pipeline
from scopeline.engine import RunReport
from scopeline.simulation.film import render_video
from scopeline.simulation.procedure import Procedure, simulate_procedure
from scopeline.simulation.score import Pair, Score, ScoreKeeper
from scopeline.sinks.zeromq import ZmqSink
from scopeline.sources.synthetic import SyntheticSource
from scopeline.wire import FrameMessage, Message

_WANTED_F1 = 0.9


def demo(
    seed: Annotated[int, typer.Option(help="Which procedure; every seed is another one.")] = 7,
    duration_s: Annotated[
        float,
        typer.Option(
            help="Length of the procedure in seconds; short ones have stretches too short to find.", min=20
        ),
    ] = 180.0,
    fps: Annotated[float, typer.Option(help="Frames per second of the procedure.", min=5, max=60)] = 15.0,
    pipeline: Annotated[
        Path, typer.Option("--pipeline", "-p", help="Pipeline file, or the name of one that ships.")
    ] = Path("demo"),
    publish: Annotated[
        str | None, typer.Option(help="ZeroMQ address to publish on; the pipeline's when left out.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Render the procedure into this video file, with its truth beside it, and end."),
    ] = None,
) -> None:
    """Judge a synthetic procedure with known truth and print what was found beside it.

    Needs no data, no GPU and no card. Every result is also published;
    follow it with `scopeline watch`.

    Exit codes: 0 the segments match the truth, 1 they do not, 130
    interrupted.
    """
    console = Console()
    procedure = simulate_procedure(seed=seed, duration_s=duration_s, fps=fps, width=960, height=720)
    if save is not None:
        _save(console, procedure, save)
        return
    plan = load_pipeline(pipeline)
    address = publish or plan.publish.address
    keeper = ScoreKeeper(procedure)
    with _progress(console) as progress:
        task = progress.add_task("judging", total=procedure.frame_count, note="")

        def hear(message: Message) -> None:
            keeper.hear(message)
            if isinstance(message, FrameMessage):
                progress.update(task, completed=message.frame + 1, note=_now(message))

        engine = assemble(
            plan,
            SyntheticSource(procedure),
            [lambda: ZmqSink(address, encoding=plan.publish.encoding)],
            live=False,
            on_message=hear,
        )
        console.print(
            f"synthetic procedure, seed {seed}: {duration_s:.0f} s at {fps:g} fps, "
            f"published on [bold]{address}[/] (follow it with [bold]scopeline watch[/])"
        )
        with stops_on_interrupt(engine):
            report = engine.run()
    if report.ended == "stopped":
        console.print("[yellow]interrupted[/]; what was seen until then is not scored")
        _print_report(console, report)
        raise typer.Exit(INTERRUPTED)
    score = keeper.score()
    _print_result(console, score, report)
    if score.f1_50 < _WANTED_F1 or not score.grades_right or score.static_flips:
        console.print(
            "[bold red]the segments do not match the truth as they should; see the figures above[/]"
        )
        raise typer.Exit(1)


def _save(console: Console, procedure: Procedure, path: Path) -> None:
    with _progress(console) as progress:
        task = progress.add_task("rendering", total=procedure.frame_count, note="")
        written = render_video(procedure, path, progress=lambda done: progress.update(task, completed=done))
    for file in written:
        console.print(f"wrote {file}")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} frames"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
    )


def _now(message: FrameMessage) -> str:
    segment = message.segment
    if segment is None:
        return message.state.replace("_", " ")
    grade = "" if segment.mes_worst is None else f", MES {segment.mes_worst}"
    return f"{segment.location or 'searching'}{grade}"


def _print_result(console: Console, score: Score, report: RunReport) -> None:
    table = Table(
        title="segments: the truth and what was found", box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for heading in ("true place", "from-to", "MES"):
        table.add_column(heading, no_wrap=True)
    for heading in ("found", "worst", "mostly", "usable", "IoU"):
        table.add_column(heading, justify="right", header_style="bold cyan", no_wrap=True)
    for pair in score.pairs:
        table.add_row(*_row(pair))
    console.print(table)
    flips = f"{score.static_flips} flips while the scope was held still"
    grades = "right in every segment" if score.grades_right else "wrong in at least one segment"
    console.print(f"segment F1@50 {score.f1_50:.2f}, edit {score.edit:.2f}, {score.surplus} surplus, {flips}")
    console.print(f"worst MES {grades}")
    _print_report(console, report)
    console.print("synthetic procedure; research use only", style="dim")


def _row(pair: Pair) -> list[str]:
    true, found = pair.true, pair.found
    row = [true.organ, _span(true.start_s, true.end_s), "-" if true.mes is None else str(true.mes)]
    if found is None:
        return [*row, "[red]not found[/]", "", "", "", ""]
    colour = "green" if pair.grade_right else "red"
    return [
        *row,
        _span(found.start_s, found.end_s),
        f"[{colour}]{'-' if found.mes_worst is None else found.mes_worst}[/]",
        "-" if found.mes_dominant is None else str(found.mes_dominant),
        f"{found.frames_usable}/{found.frames_seen}",
        f"{pair.iou:.2f}",
    ]


def _print_report(console: Console, report: RunReport) -> None:
    ledger = report.ledger
    lost = sum(ledger.lost.values())
    console.print(
        f"ledger: {ledger.captured} captured = {ledger.published} published + {ledger.in_flight} in flight "
        f"+ {lost} lost"
    )
    figures = ", ".join(f"{name} {value:.1f}" for name, value in report.latency_ms.items())
    console.print(f"latency capture to publish, ms: {figures}")
    console.print(
        f"{report.seconds:.1f} s, {ledger.published / report.seconds:.0f} frames/s, rendering included"
    )


def _span(start_s: float, end_s: float) -> str:
    return f"{_clock(start_s)}-{_clock(end_s)}"


def _clock(time_s: float) -> str:
    return f"{round(time_s) // 60:02d}:{round(time_s) % 60:02d}"
