"""Filed: what one run found, shown in the terminal and kept as JSON, as Markdown and as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from scopeline_bench.machine import Machine
from scopeline_bench.page import figure, html_list, html_page, html_table, machine_table, section, write_html
from scopeline_bench.report import Rows, publish, save


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """One run, ready to be filed."""

    name: str
    """Of the files of results."""
    title: str
    lead: str
    machine: Machine
    tables: Sequence[Rows]
    notes: Sequence[str]
    figures: Any
    """Everything measured, in any form that msgspec encodes."""
    before: Sequence[str] = ()
    """HTML before the tables: the verdict."""
    charts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """SVG by the heading above it."""
    identity: Mapping[str, str] = field(default_factory=dict)
    """What judged: bundles and pipeline with their hashes."""

    def html(self) -> str:
        """One file, no scripts, nothing loaded from elsewhere."""
        parts = [
            *self.before,
            section("Measured", *(html_table(table) for table in self.tables)),
            *(section(heading, *map(figure, drawn)) for heading, drawn in self.charts.items()),
            section("Notes", html_list(self.notes)),
            section(
                "Where, and of what", html_table(machine_table(self.machine, self.identity), of_words=True)
            ),
        ]
        lead = f"{self.lead} {self.machine.date}, commit {self.machine.commit}."
        return html_page(self.title, lead, parts)

    def file(self, console: Console, out: Path | None, page: Path | None) -> None:
        """Show it; save it.

        Args:
            console: Where it is shown.
            out: Folder that gets `<date>-<commit>/<name>.json`, `.md` and `.html`.
            page: HTML file to write besides.
        """
        publish(self.name, console, None, self.machine, self.tables, self.notes, self.figures)
        pages = [page] if page is not None else []
        if out is not None:
            place = save(self.name, out, self.machine, self.tables, self.notes, self.figures)
            console.print(f"wrote {place}")
            pages.append(place / f"{self.name}.html")
        for path in pages:
            write_html(path, self.html())
            console.print(f"wrote {path}")
