"""What `scopeline batch` shows while it works: one bar for everything, one for each worker."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from scopeline.archive.task import Progress as Word
from scopeline.batch import Job, Outcome
from scopeline.contact_sheet import clock

STYLES = {"done": "green", "already done": "cyan", "failed": "bold red", "interrupted": "yellow"}


class BatchView:
    """Bars and lines. The total is reckoned in bytes: what a recording will take is best told by its size."""

    def __init__(self, console: Console, jobs: Sequence[Job]) -> None:
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
        # A word may come for a recording whose last one is told already.
        self._sizes = {job.place: _size(job) for job in jobs}
        self._names = {job.place: job.video.name for job in jobs}
        self._jobs, self._ended, self._done_bytes = len(jobs), 0, 0
        self._total = self.progress.add_task(
            "recordings", total=max(sum(self._sizes.values()), 1), done=f"0/{len(jobs)}", fps=None
        )
        self._bars: dict[str, TaskID] = {}
        self._parts: dict[str, dict[int | None, float]] = {}
        self._first: dict[int, tuple[float, int]] = {}

    def hear(self, word: Word) -> None:
        """A word of a worker."""
        far = word.far
        bar = self._bars.get(word.worker)
        if bar is None:
            bar = self._bars[word.worker] = self.progress.add_task(word.worker, total=None, done="", fps=None)
        name = self._names.get(word.place, "")
        part = (
            ""
            if word.what == "recording"
            else ", joining"
            if word.chunk is None
            else f", part {word.chunk + 1}"
        )
        self.progress.update(
            bar,
            description=f"{word.worker}: {name}{part}",
            total=far.of_s,
            completed=far.done_s,
            done=f"{clock(far.done_s)}/{'?' if far.of_s is None else clock(far.of_s)}",
            fps=self._speed(word),
        )
        if far.of_s and far.share:
            self._parts.setdefault(word.place, {})[word.chunk] = far.share * min(far.done_s / far.of_s, 1.0)
            at_work = sum(self._sizes[place] * sum(parts.values()) for place, parts in self._parts.items())
            self.progress.update(self._total, completed=self._done_bytes + at_work)

    def end(self, outcome: Outcome) -> None:
        """A recording's outcome, as a line that stays."""
        place = outcome.job.place
        self._parts.pop(place, None)
        self._ended += 1
        self._done_bytes += self._sizes.get(place, 0)
        done = f"{self._ended}/{self._jobs}"
        self.progress.update(self._total, completed=self._done_bytes, done=done)
        line = Text.assemble((f"{outcome.state:>12}", STYLES[outcome.state]), f"  {outcome.job.video.name}")
        if outcome.reason:
            said = outcome.reason.removeprefix(f"{outcome.job.video.name}: ")
            line.append(f"  {said}", style="dim" if outcome.state == "done" else "")
        self._console.print(line)

    def _speed(self, word: Word) -> float | None:
        """Frames per second since the worker's task was first heard of."""
        now_s = self.progress.get_time()
        first = self._first.setdefault(word.ticket, (now_s, word.far.frames))
        spent_s = now_s - first[0]
        return (word.far.frames - first[1]) / spent_s if spent_s > 0 else None


class _Speed(ProgressColumn):
    """Frames per second of the recording at work."""

    def render(self, task: Task) -> Text:
        fps: float | None = task.fields["fps"]
        return Text("" if fps is None else f"{fps:.0f} frames/s")


def _size(job: Job) -> int:
    try:
        return job.video.stat().st_size
    except OSError:
        return 0
