"""`scopeline batch`: tag recordings, each into a folder of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from scopeline.assemble import check
from scopeline.batch import Batch, Job, Outcome, plan
from scopeline.commands.interrupt import INTERRUPTED, stops_on_interrupt
from scopeline.config import load_pipeline
from scopeline.contact_sheet import clock, length_text
from scopeline.wire import FrameMessage, Message

_REDRAW_NS = 100_000_000
_STYLES = {"done": "green", "already done": "cyan", "failed": "bold red", "interrupted": "yellow"}


def batch(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Recordings, one or many.")],
    pipeline: Annotated[
        Path, typer.Option("--pipeline", "-p", help="Pipeline file, or the name of one that ships.")
    ] = Path("colonoscopy"),
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results; each recording gets one in it.")
    ] = Path("results"),
    again: Annotated[
        bool, typer.Option("--again", help="Also work on recordings that are done already.")
    ] = False,
) -> None:
    """Judge recordings and write frames, segments, chapters, a summary and a contact sheet for each.

    What is done already is left alone, so the same command goes on after
    an interruption. Marks in video.marks.toml beside video.mp4 are taken
    into account. Nothing is published; for that there is `live`.

    Exit codes: 0 all done, 1 some recordings failed (the others are done),
    2 wrong usage or configuration, 130 interrupted; what was judged until
    then is in NAME.partial.
    """
    chosen = load_pipeline(pipeline)
    check(chosen)
    jobs = plan(videos, out, chosen)
    console = Console(soft_wrap=True)
    view = _View(console, len(jobs))
    run = Batch(chosen, on_start=view.begin, on_message=view.hear)
    outcomes = []
    with stops_on_interrupt(run), view.progress:
        for outcome in run.work(jobs, again=again):
            outcomes.append(outcome)
            view.end(outcome)
    console.print(_table(outcomes, len(jobs)))
    console.print(f"results in {out}; research use only", style="dim", highlight=False)
    if run.stopped:
        raise typer.Exit(INTERRUPTED)
    if any(outcome.state == "failed" for outcome in outcomes):
        raise typer.Exit(1)


class _View:
    """Two bars: all recordings, and the one at work."""

    def __init__(self, console: Console, jobs: int) -> None:
        self._console = console
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[done]}", markup=False),
            _Speed(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._total = self.progress.add_task("recordings", total=jobs, done=f"0/{jobs}", fps=None)
        self._jobs, self._ended = jobs, 0
        self._now: TaskID | None = None
        self._length_s: float | None = None
        self._first: tuple[int, int] | None = None
        self._next_ns = 0

    def begin(self, job: Job, duration_s: float | None) -> None:
        self._length_s, self._first, self._next_ns = duration_s, None, 0
        self._now = self.progress.add_task(job.video.name, total=duration_s, done="opening", fps=None)

    def hear(self, message: Message) -> None:
        """A message, in the engine's thread; draws at most ten times a second."""
        if self._now is None or not isinstance(message, FrameMessage) or message.published_ns < self._next_ns:
            return
        self._next_ns = message.published_ns + _REDRAW_NS
        self._first = self._first or (message.seq, message.published_ns)
        spent_ns = message.published_ns - self._first[1]
        length = "?" if self._length_s is None else clock(self._length_s)
        self.progress.update(
            self._now,
            completed=message.time_s,
            done=f"{clock(message.time_s)}/{length}",
            fps=(message.seq - self._first[0]) / spent_ns * 1e9 if spent_ns else None,
        )
        if self._length_s:
            share = min(message.time_s / self._length_s, 1.0)
            self.progress.update(self._total, completed=self._ended + share)

    def end(self, outcome: Outcome) -> None:
        if self._now is not None:
            self.progress.remove_task(self._now)
            self._now = None
        self._ended += 1
        self.progress.update(self._total, completed=self._ended, done=f"{self._ended}/{self._jobs}")
        line = Text.assemble((f"{outcome.state:>12}", _STYLES[outcome.state]), f"  {outcome.job.video.name}")
        if outcome.reason:
            said = outcome.reason.removeprefix(f"{outcome.job.video.name}: ")
            line.append(f"  {said}", style="dim" if outcome.state == "done" else "")
        self._console.print(line)


class _Speed(ProgressColumn):
    """Frames per second of the recording at work."""

    def render(self, task: Task) -> Text:
        fps: float | None = task.fields["fps"]
        return Text("" if fps is None else f"{fps:.0f} frames/s")


def _table(outcomes: Sequence[Outcome], jobs: int) -> Table:
    title = f"{len(outcomes)} of {jobs} recordings"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, expand=True)
    table.add_column("recording", overflow="ellipsis", no_wrap=True, ratio=1)
    for name in ("frames", "usable", "segments", "worst MES", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("result", no_wrap=True)
    for outcome in outcomes:
        table.add_row(
            outcome.job.video.name, *_figures(outcome), Text(outcome.state, style=_STYLES[outcome.state])
        )
    return table


def _figures(outcome: Outcome) -> list[str]:
    summary = outcome.summary
    if summary is None:
        return ["-"] * 5
    share, worst = summary.frames.usable_share, summary.procedure.worst_mes
    return [
        str(summary.frames.published),
        "-" if share is None else f"{100 * share:.0f} %",
        str(summary.procedure.segments),
        "-" if worst is None else str(worst),
        length_text(summary.seconds),
    ]
