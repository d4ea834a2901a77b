"""Report: figures with their machine, as a dated folder that can be committed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from scopeline_bench.machine import Machine


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """One figure over rounds."""

    median: float
    lowest: float
    highest: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f}-{self.highest:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Median, lowest and highest of one or more values."""
    return Spread(
        median=statistics.median(values), lowest=min(values), highest=max(values), rounds=len(values)
    )


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A table of text, for the screen and for Markdown."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def show(self, console: Console) -> None:
        table = Table(title=self.title, title_justify="left")
        for place, column in enumerate(self.columns):
            table.add_column(column, justify="left" if place == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        lines = [f"| {' | '.join(self.columns)} |", "|" + " --- |" * len(self.columns)]
        return "\n".join([f"**{self.title}**", "", *lines, *(f"| {' | '.join(row)} |" for row in self.rows)])


def describe(machine: Machine, load_after: float) -> str:
    """The machine in two lines."""
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    changed = " with uncommitted changes" if machine.uncommitted else ""
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB, {machine.system}, Python {machine.python}; "
        f"load average {machine.load_before} before, {load_after} after.\n"
        f"{machine.date}, commit {machine.commit}{changed}; {versions}."
    )


def publish(
    name: str,
    console: Console,
    out: Path | None,
    machine: Machine,
    tables: Sequence[Rows],
    notes: Sequence[str],
    figures: Any,
) -> None:
    """Show tables and notes, and save them with the figures where a folder is given."""
    for table in tables:
        table.show(console)
    for note in notes:
        console.print(note, highlight=False, markup=False)
    if out is not None:
        console.print(f"wrote {save(name, out, machine, tables, notes, figures)}")


def save(
    name: str, folder: Path, machine: Machine, tables: Sequence[Rows], notes: Sequence[str], figures: Any
) -> Path:
    """Write `<folder>/<date>-<commit>/<name>.json` and `.md`; returns the folder that was written to.

    Args:
        figures: Everything measured, in any form that msgspec encodes.
    """
    place = folder / f"{machine.date[:10]}-{machine.commit}"
    place.mkdir(parents=True, exist_ok=True)
    content = msgspec.json.encode({"machine": machine, "notes": list(notes), "figures": figures})
    (place / f"{name}.json").write_bytes(msgspec.json.format(content, indent=1) + b"\n")
    parts = [f"# {name}", *(table.markdown() for table in tables), "\n".join(f"- {note}" for note in notes)]
    (place / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return place
