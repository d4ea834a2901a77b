"""Report PDF: the sections of a report on A4 pages, drawn by matplotlib, so that no browser or TeX is needed."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.image
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure as Page

from scopeline_training.plot_style import INK, PALE, QUIET
from scopeline_training.report_sections import Illustration, Section
from scopeline_training.report_table import Table, shown
from scopeline_training.run_record import RunRecord

WIDTH, HEIGHT = 8.27, 11.69
"""A4 in inches."""
MARGIN = 0.7
LINE = 0.165
"""Inches from one line of text to the next at 8 points."""
RED = "#B3261E"
_GAP = 0.15
_CHARACTER = 0.068
"""Mean width of a character at 8 points, in inches."""


def write_pdf(path: Path, run: RunRecord, sections: Sequence[Section], *, use: str) -> None:
    """Writes the report as PDF."""
    with (
        mpl.rc_context({"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "pdf.fonttype": 42}),
        PdfPages(path, metadata={"Title": run.title, "CreationDate": None}) as pages,
    ):
        sheet = _Sheet(pages, run, use)
        sheet.text(run.title, size=16, weight="bold")
        sheet.text(use, weight="bold")
        sheet.text(run.data, color=QUIET)
        for verdict in run.refused:
            sheet.text("DATA SET REFUSED, USED ALL THE SAME", size=13, weight="bold", color=RED)
            sheet.text(str(verdict), color=RED)
        for section in sections:
            sheet.section(section)
        if run.recipe:
            sheet.text("Recipe", size=12, weight="bold")
            for line in run.recipe.splitlines():
                sheet.text(line, family="monospace")
        sheet.finish()


class _Sheet:
    """Pages that are filled from top to bottom."""

    def __init__(self, pages: PdfPages, run: RunRecord, use: str) -> None:
        self._pages, self._run, self._use = pages, run, use
        self._number = 0
        self._page = self._new_page()

    def section(self, section: Section) -> None:
        self._skip(0.15)
        self._need(1.5)
        self.text(section.title, size=12, weight="bold")
        self.text(section.lead)
        for table in section.tables:
            if table.is_shown:
                self._table(table)
        narrow = [picture for picture in section.illustrations if not picture.is_wide]
        for place in range(0, len(narrow), 2):
            self._illustrations(narrow[place : place + 2])
        for picture in section.illustrations:
            if picture.is_wide:
                self._illustrations([picture])

    def text(
        self,
        words: str,
        *,
        size: float = 8,
        weight: str = "normal",
        color: str = INK,
        family: str = "sans-serif",
    ) -> None:
        """A paragraph, broken into lines."""
        factor = size / 8
        columns = int((WIDTH - 2 * MARGIN) / (_CHARACTER * factor * (1.12 if family == "monospace" else 1)))
        for line in textwrap.wrap(words, columns, replace_whitespace=False) or [""]:
            self._need(LINE * factor)
            self._put(MARGIN, line, size=size, weight=weight, color=color, family=family)
            self._skip(LINE * factor)
        self._skip(0.05 if family != "monospace" else 0)

    def finish(self) -> None:
        self._pages.savefig(self._page)  # type: ignore[no-untyped-call]

    def _table(self, table: Table) -> None:
        self._skip(0.08)
        self._need(5 * LINE)
        self.text(table.title, size=9, weight="bold")
        widths, size = _widths(table)
        self._row(table.columns, widths, size, weight="bold")
        for row in table.rows:
            cells = [shown(cell) for cell in row]
            self._row([cell[0] for cell in cells], widths, size, below=[cell[1] for cell in cells])
        self._skip(0.1)

    def _row(
        self, cells: Sequence[str], widths: Sequence[float], size: float, *, weight: str = "normal",
        below: Sequence[str] = (),
    ) -> None:  # fmt: skip
        character = _CHARACTER * size / 8
        broken = [
            textwrap.wrap(cell, max(4, int(width / character))) or [""]
            for cell, width in zip(cells, widths, strict=True)
        ]
        lines = max(map(len, broken)) + (0.8 if any(below) else 0)
        self._need(lines * LINE + 0.05)
        left = MARGIN
        for number, (cell, width) in enumerate(zip(broken, widths, strict=True)):
            for step, line in enumerate(cell):
                self._put(left, line, down=step * LINE, size=size, weight=weight)
            if below and below[number]:
                self._put(left, below[number], down=len(cell) * LINE - 0.03, size=0.75 * size, color=QUIET)
            left += width
        self._skip(lines * LINE + 0.03)
        self._rule()
        self._skip(0.02)

    def _illustrations(self, pictures: Sequence[Illustration]) -> None:
        """One that is wide, or two beside each other."""
        room = (WIDTH - 2 * MARGIN - _GAP) / (1 if pictures[0].is_wide else 2)
        decoded = [matplotlib.image.imread(io.BytesIO(picture.png)) for picture in pictures]
        heights = [room * pixels.shape[0] / pixels.shape[1] for pixels in decoded]
        shrink = min(1.0, (HEIGHT - 2.2 * MARGIN) / max(heights))
        self._need(max(heights) * shrink + 0.1)
        for number, (pixels, high) in enumerate(zip(decoded, heights, strict=True)):
            left, bottom = MARGIN + number * (room + _GAP), HEIGHT - self._down - high * shrink
            place = (left / WIDTH, bottom / HEIGHT, room * shrink / WIDTH, high * shrink / HEIGHT)
            axes = self._page.add_axes(place)
            axes.imshow(pixels, aspect="auto", interpolation="none")
            axes.axis("off")
        self._skip(max(heights) * shrink + 0.1)

    def _put(
        self, left: float, words: str, *, down: float = 0, size: float = 8, weight: str = "normal",
        color: str = INK, family: str = "sans-serif",
    ) -> None:  # fmt: skip
        self._page.text(
            left / WIDTH, 1 - (self._down + down) / HEIGHT, words, size=size, weight=weight, color=color,
            family=family, va="top", parse_math=False,
        )  # fmt: skip

    def _rule(self) -> None:
        level = 1 - self._down / HEIGHT
        line = mpl.lines.Line2D(
            [MARGIN / WIDTH, 1 - MARGIN / WIDTH], [level, level], color=PALE, linewidth=0.5
        )
        self._page.add_artist(line)

    def _need(self, inches: float) -> None:
        """Turns the page when that much does not fit."""
        if self._down + inches > HEIGHT - MARGIN:
            self._pages.savefig(self._page)  # type: ignore[no-untyped-call]
            self._page = self._new_page()

    def _skip(self, inches: float) -> None:
        self._down += inches

    def _new_page(self) -> Page:
        self._number += 1
        self._down = MARGIN
        page = Page(figsize=(WIDTH, HEIGHT))
        foot = f"{self._run.title} · page {self._number} · {self._use}"
        page.text(MARGIN / WIDTH, 0.4 / HEIGHT, foot, size=6.5, color=QUIET, parse_math=False)
        if self._run.refused:
            page.text(
                1 - MARGIN / WIDTH, 1 - 0.45 / HEIGHT, "DATA SET REFUSED", size=8, weight="bold", color=RED,
                ha="right",
            )  # fmt: skip
        return page


def _widths(table: Table) -> tuple[list[float], float]:
    """Inches of each column, and the size of letters in points with which they fit."""
    room = WIDTH - 2 * MARGIN
    values = []
    for place in range(len(table.columns)):
        cells = [shown(row[place]) for row in table.rows]
        values.append(
            max((max(min(len(value), 66), round(0.75 * len(below))) for value, below in cells), default=1)
        )
    words = [max((len(word) for word in column.split()), default=1) for column in table.columns]
    for heads, size in ((list(map(len, table.columns)), 8.0), (words, 8.0), (words, 7.0), (words, 6.0)):
        wanted = [
            (max(head, value) + 2) * _CHARACTER * size / 8 for head, value in zip(heads, values, strict=True)
        ]
        if sum(wanted) <= room:
            return wanted, size
    return [width * room / sum(wanted) for width in wanted], size
