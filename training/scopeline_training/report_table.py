"""Report table: rows that are shown to people and written for machines (CSV, XLSX)."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scopeline_training.figures import Figure

Cell = str | int | float | Figure | None


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns and rows; a `Figure` is one column to people, and three (value, low, high) to machines."""

    name: str
    """File name without its ending, and the sheet's name."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_shown: bool = True
    """Whether the report shows it, or only its files do."""

    def flat(self) -> list[list[str | int | float | None]]:
        """Heading and rows with every figure as three cells; what is not a number is an empty cell."""
        wide = [
            any(isinstance(row[place], Figure) for row in self.rows) for place in range(len(self.columns))
        ]
        heading: list[str | int | float | None] = []
        for column, is_wide in zip(self.columns, wide, strict=True):
            heading += [column, f"{column} low", f"{column} high"] if is_wide else [column]
        return [heading, *(_flat_row(row, wide) for row in self.rows)]


def shown(cell: Cell) -> tuple[str, str]:
    """A cell as people read it, and the interval that belongs to it or nothing."""
    match cell:
        case Figure():
            has_interval = not (math.isnan(cell.low) or math.isnan(cell.high))
            return _number(cell.value), f"{cell.low:.3f} to {cell.high:.3f}" if has_interval else ""
        case float():
            return _number(cell), ""
        case None:
            return "–", ""
    return str(cell), ""


def write_csv(table: Table, folder: Path) -> Path:
    """Writes `NAME.csv`, UTF-8."""
    path = folder / f"{table.name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table.flat())
    return path


def write_workbook(tables: Sequence[Table], path: Path) -> None:
    """Writes all tables as sheets of one XLSX file."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font

    book = Workbook(write_only=True)
    for table in tables:
        sheet = book.create_sheet(_sheet_name(table.name, book.sheetnames))
        sheet.freeze_panes = "A2"
        for number, row in enumerate(table.flat()):
            cells = [WriteOnlyCell(sheet, value) for value in row]
            for cell in cells:
                if isinstance(cell.value, str):
                    cell.data_type = "s"  # a file name that begins with "=" is no formula
                if number == 0:
                    cell.font = Font(bold=True)
            sheet.append(cells)
    book.save(path)


def _flat_row(row: tuple[Cell, ...], wide: Sequence[bool]) -> list[str | int | float | None]:
    cells: list[str | int | float | None] = []
    for cell, is_wide in zip(row, wide, strict=True):
        if isinstance(cell, Figure):
            cells += [_finite(cell.value), _finite(cell.low), _finite(cell.high)]
        else:
            cells += [_finite(cell) if isinstance(cell, float) else cell, *[None] * (2 * is_wide)]
    return cells


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _sheet_name(name: str, taken: Sequence[str]) -> str:
    """At most 31 characters, as the format wants, and not twice."""
    short = name[:31]
    number = 2
    while short in taken:
        short = f"{name[:28]}~{number}"
        number += 1
    return short
