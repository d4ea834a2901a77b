"""Report: what a run is worth, as one page, one document and tables, ready for a paper and hard to misread."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from scopeline.errors import SinkError
from scopeline_training.answers import Answers
from scopeline_training.mask_scores import MaskAnswers
from scopeline_training.picture_grids import PictureOf
from scopeline_training.report_pdf import write_pdf
from scopeline_training.report_sections import (
    Section,
    answers_section,
    history_section,
    mask_section,
    run_section,
)
from scopeline_training.report_table import shown, write_csv, write_workbook
from scopeline_training.run_record import RunRecord

USE = "Research use only. Not a medical device."


def write_report(
    folder: Path,
    run: RunRecord,
    answers: Sequence[Answers] = (),
    *,
    masks: Sequence[MaskAnswers] = (),
    history: Mapping[str, Sequence[float]] | None = None,
    picture_of: PictureOf | None = None,
) -> Path:
    """Writes report.html, report.pdf, run.json, tables.xlsx, a CSV per table and a PNG per plot; the page's path.

    Args:
        folder: Made if it is not there; files of the same names are replaced.
        answers: One per head and part of the data, each a section of its own.
        masks: The same for mask heads.
        history: One value per epoch under names as `train_loss` and `val_loss`.
        picture_of: From the names in answers and masks to what the network was shown; no picture grids if None.

    Raises:
        SinkError: the folder cannot be written.
    """
    sections = [
        *(answers_section(each, run, picture_of, seed=run.seed) for each in answers),
        *(mask_section(each, picture_of, seed=run.seed) for each in masks),
        *([history_section(history)] if history else []),
        run_section(run),
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(run)))
        write_sections(folder, run, sections)
    except OSError as error:
        raise SinkError(
            f"{folder}: cannot write the report ({error.strerror}); choose another folder"
        ) from error
    return folder / "report.html"


def write_sections(folder: Path, run: RunRecord, sections: Sequence[Section]) -> None:
    """Writes the page, the document, the tables and the plots of any sections."""
    tables = [table for section in sections for table in section.tables]
    for table in tables:
        write_csv(table, folder)
    write_workbook(tables, folder / "tables.xlsx")
    for section in sections:
        for picture in section.illustrations:
            (folder / f"{picture.name}.png").write_bytes(picture.png)
    (folder / "report.html").write_text(_page(run, sections), "utf-8")
    write_pdf(folder / "report.pdf", run, sections, use=USE)


def _page(run: RunRecord, sections: Sequence[Section]) -> str:
    templates = Environment(
        loader=PackageLoader("scopeline_training", "."), autoescape=True, undefined=StrictUndefined
    )
    return templates.get_template("report.html.j2").render(
        run=run, sections=sections, use=USE, shown=shown, encoded=lambda png: b64encode(png).decode()
    )
