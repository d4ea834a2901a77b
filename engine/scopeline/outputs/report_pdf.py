"""Report PDF: the procedure report on A4 pages, for filing and printing. Needs no browser."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import FontFace

from scopeline.contact_sheet import GRADE_COLOURS, clock
from scopeline.outputs.findings import Findings
from scopeline.outputs.report_facts import STATEMENT, Fact, headline, lines, origin, unusable
from scopeline.outputs.strip import Stretch, rows
from scopeline.pictures import FIELD, jpeg
from scopeline.replace_file import replace_file
from scopeline.tally import OUTSIDE

PDF: Final = "report.pdf"
_INK, _SOFT, _EDGE, _WARN = (27, 35, 44), (98, 109, 122), (221, 225, 230), (122, 31, 43)
_MARGIN, _WIDTH = 15.0, 180.0
"""Millimetres on A4."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEADS = ("", "key frame", "location", "time", "worst grade", "conf.", "informative", "unusable")
_WIDTHS = (8, 24, 36, 36, 28, 14, 19, 19)


def write_report_pdf(findings: Findings) -> Path:
    """report.pdf: the same as the page says.

    Raises:
        SourceError: the run's frames cannot be read.
        SinkError: the folder cannot be written.
    """
    summary = findings.summary
    sheet = _Sheet(findings)
    sheet.head(findings.name)
    if not summary.complete:
        sheet.say("The recording was not read to its end: these are the findings up to there.", 10, _WARN)
    sheet.fact_list(headline(summary))
    sheet.heading("Timeline")
    sheet.draw_strip()
    sheet.heading("Segments")
    sheet.segment_table()
    sheet.heading("Quality: frames that were set aside")
    sheet.fact_list(
        [Fact(reason, f"{count} ({100 * part:.1f} %)") for reason, count, part in unusable(summary)]
        or [Fact("none", "")]
    )
    sheet.field_picture()
    sheet.heading("Made with")
    sheet.fact_list(origin(findings))
    path = findings.folder / PDF
    replace_file(path, bytes(sheet.output()))
    return path


class _Sheet(FPDF):
    """A4 pages with the statement at the foot of each."""

    def __init__(self, findings: Findings) -> None:
        super().__init__("portrait", "mm", "A4")
        self._findings = findings
        self.set_margins(_MARGIN, _MARGIN)
        self.set_auto_page_break(True, 20)
        self.set_title(f"{findings.name} - Scopeline report")
        self.set_creator("Scopeline")
        self.set_creation_date(_EPOCH)  # a stamp of the run would make equal reports differ
        self.set_font("helvetica", size=10)
        self.add_page()

    def footer(self) -> None:
        self.set_y(-14)
        self.set_font("helvetica", "B", 7.5)
        self.set_text_color(*_WARN)
        self.cell(_WIDTH - 12, 5, STATEMENT)
        self.set_text_color(*_SOFT)
        self.cell(12, 5, f"{self.page_no()}", align="R")

    def head(self, text: str) -> None:
        self.say(text, 20, _INK, bold=True)
        self.say(STATEMENT, 8.5, _WARN, bold=True)
        self.ln(2)

    def heading(self, text: str) -> None:
        if self.get_y() > 255:
            self.add_page()
        self.ln(4)
        self.say(text, 12, _INK, bold=True)
        self.ln(1)

    def say(self, text: str, size: float, colour: tuple[int, int, int], *, bold: bool = False) -> None:
        self.set_font("helvetica", "B" if bold else "", size)
        self.set_text_color(*colour)
        self.multi_cell(_WIDTH, size * 0.48, _plain(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def fact_list(self, facts: list[Fact]) -> None:
        for fact in facts:
            self.set_font("helvetica", "", 9)
            self.set_text_color(*_SOFT)
            self.cell(52, 5, _plain(fact.name))
            self.set_text_color(*_INK)
            remark = f"  ({fact.remark})" if fact.remark else ""
            self.multi_cell(_WIDTH - 52, 5, _plain(fact.value + remark), new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def draw_strip(self) -> None:
        summary = self._findings.summary
        columns = self._findings.facts().strip
        left, unit = _MARGIN + 20, (_WIDTH - 20) / len(columns)
        for row in rows(columns):
            y = self.get_y()
            self.set_font("helvetica", "", 8)
            self.set_text_color(*_SOFT)
            self.set_x(_MARGIN)
            self.cell(20, 6, _plain(row.name))
            self.set_fill_color(238, 240, 243)
            self.rect(left, y, _WIDTH - 20, 6, "F")
            for stretch in row.stretches:
                self.set_fill_color(*_faded(stretch.colour, stretch.strength))
                self.rect(left + unit * stretch.first, y, unit * stretch.count, 6, "F")
                if row.has_words:
                    self._word(stretch, left + unit * stretch.first, y, unit * stretch.count)
            self.set_y(y + 7.5)
        for quarter in range(5):
            label = clock(summary.stream_s * quarter / 4)
            self.set_font("helvetica", "", 7)
            self.set_text_color(*_SOFT)
            self.set_x(left + (_WIDTH - 20) * quarter / 4 - self.get_string_width(label) * quarter / 4)
            self.cell(self.get_string_width(label), 3, label)
        self.ln(4)

    def _word(self, stretch: Stretch, x: float, y: float, width: float) -> None:
        """A stretch's label in its middle, where it fits."""
        text = _plain(stretch.label)
        self.set_font("helvetica", "B", 8)
        if self.get_string_width(text) + 2 > width:
            return
        self.set_text_color(*(_SOFT if stretch.label == OUTSIDE else (255, 255, 255)))
        self.set_xy(x, y)
        self.cell(width, 6, text, align="C")

    def segment_table(self) -> None:
        self.set_font("helvetica", "", 8.5)
        self.set_text_color(*_INK)
        self.set_draw_color(*_EDGE)
        found = lines(self._findings.tally.segments)
        if not found:
            self.say("No segment was found.", 9, _SOFT)
            return
        plain = FontFace(emphasis="", color=_SOFT)
        self.set_fill_color(255, 255, 255)
        with self.table(
            col_widths=_WIDTHS,
            line_height=4.4,
            headings_style=plain,
            borders_layout="HORIZONTAL_LINES",
            text_align="LEFT",
            padding=(0.6, 1, 0.6, 1),
        ) as table:
            table.row(_HEADS)
            for line in found:
                row = table.row()
                row.cell(str(line.number))
                cutout = self._findings.cutouts.get(line.number)
                if cutout is None:
                    row.cell("no picture", style=plain)
                else:
                    row.cell(img=io.BytesIO(jpeg(cutout.pixels)), img_fill_width=True)
                said = f"\n{line.findings} frames" if line.findings else ""
                row.cell(_plain(line.location + (" (operator)" if line.marked else "") + said))
                row.cell(f"{line.time}\n{line.length}")
                colour = (
                    None if line.worst is None else GRADE_COLOURS[min(line.worst, len(GRADE_COLOURS) - 1)]
                )
                row.cell(line.grade, style=FontFace(emphasis="BOLD", color=colour) if colour else plain)
                for text in (line.confidence, line.informative, line.unusable):
                    row.cell(text)

    def field_picture(self) -> None:
        picture = self._findings.folder / FIELD
        if not picture.is_file():
            return
        if self.get_y() > 188:
            self.add_page()
        self.heading("Field of view")
        self.image(io.BytesIO(picture.read_bytes()), h=62)


def _plain(text: str) -> str:
    """The built-in fonts know Latin 1; anything else becomes a question mark rather than an error."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _rgb(code: str) -> tuple[int, int, int]:
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def _faded(code: str, strength: float) -> tuple[int, int, int]:
    red, green, blue = (round(238 + (value - 238) * strength) for value in _rgb(code))
    return red, green, blue
