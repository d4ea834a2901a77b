"""Build view: how far a build is, on the terminal: a bar where TensorRT tells or earlier builds allow a guess, else the
seconds that have passed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scopeline.backends.tensorrt_build_words import Broken, Done, Report, Step, Told, Word
from scopeline.parity import ParityVerdict

_WORDS: Final[dict[Step, str]] = {
    "waiting": "waiting for another build of it",
    "building": "building",
    "verifying": "comparing with FP32",
    "kept": "done",
}


class BuildView:
    """Follows one build."""

    def __init__(self, console: Console, progress: Progress, clock: Callable[[], float]) -> None:
        self._console, self._progress, self._clock = console, progress, clock

    def follow(self, name: str, words: Iterable[Word]) -> Done | Broken:
        """Show the steps of the bundle `name`; gives the last word."""
        task = self._progress.add_task(name, total=None, text="")
        step, start_s = "", self._clock()
        for word in words:
            if not isinstance(word, Told):
                self._progress.update(task, total=1, completed=1, text=_WORDS["kept"])
                return word
            report = word.report
            total, done = _share(report, self._clock() - start_s)
            self._progress.update(task, total=total, completed=done, text=_text(report))
            if report.step != step:
                step = report.step
                if not self._console.is_terminal:
                    self._console.print(f"{name}: {_text(report)}", markup=False, soft_wrap=True)
        return Broken(why="the building process said nothing")


@contextmanager
def build_view(console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[BuildView]:
    """A view that is cleared away at the end."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        yield BuildView(console, progress, clock)


def verdict_table(verdict: ParityVerdict) -> Table:
    """The rows of the parity gate."""
    table = Table(
        title=f"{verdict.bundle}: {verdict.candidate} against {verdict.reference}, {verdict.frames} frames, "
        f"batches {', '.join(map(str, verdict.batches))}",
        title_justify="left",
    )
    for column in ("check", "head", "figure", "bar", ""):
        table.add_column(column, justify="right" if column in ("figure", "bar") else "left")
    for row in verdict.rows:
        passed = "ok" if row.passed else "FAILED"
        table.add_row(row.check, row.head, f"{row.figure:.5g}", f"{row.bar:g}", passed)
    return table


def _share(report: Report, spent_s: float) -> tuple[float | None, float]:
    """Total and done, for the bar: as TensorRT tells it, else by earlier builds, never quite full; else unknown."""
    if report.share is not None:
        return 1.0, report.share
    if report.expected_s:
        return report.expected_s, min(spent_s, 0.95 * report.expected_s)
    return None, 0.0


def _text(report: Report) -> str:
    about = f", about {report.expected_s:.0f} s by earlier builds" if report.expected_s else ""
    return f"{_WORDS[report.step]}{about}{': ' + report.text if report.text else ''}"
