"""Report page: one procedure on one self-contained HTML page, and an archive's recordings on another."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from scopeline.contact_sheet import clock, length_text
from scopeline.outputs.findings import Findings
from scopeline.outputs.report_facts import STATEMENT, headline, lines, origin, unusable
from scopeline.outputs.strip import GRADES, rows
from scopeline.pictures import FIELD, jpeg
from scopeline.replace_file import replace_file
from scopeline.summary import Summary

REPORT: Final = "report.html"
OVERVIEW: Final = "overview.html"


def write_report_page(findings: Findings) -> Path:
    """report.html: figures, timeline, segments with key frames, quality, origin. Opens without a network.

    Raises:
        SourceError: the run's frames cannot be read.
        SinkError: the folder cannot be written.
    """
    summary = findings.summary
    strip = findings.facts().strip
    text = (
        _pages()
        .get_template("report.html.j2")
        .render(
            title=findings.name,
            statement=STATEMENT,
            complete=summary.complete,
            facts=headline(summary),
            rows=rows(strip),
            columns=len(strip),
            ticks=[clock(summary.stream_s * share / 4) for share in range(5)],
            segments=[(line, _shot(findings, line.number)) for line in lines(findings.tally.segments)],
            grades=GRADES,
            unusable=unusable(summary),
            field=_stored(findings.folder / FIELD),
            origin=origin(findings),
        )
    )
    path = findings.folder / REPORT
    replace_file(path, text.encode())
    return path


def write_overview_page(out: Path, summaries: Mapping[str, Summary], failed: Mapping[str, str]) -> Path:
    """overview.html: every recording of an archive in a table that sorts, with a link to its report.

    Args:
        out: The folder that holds the results folders.
        summaries: Finished recordings, by name of their results folder.
        failed: Why others failed, by name of the file.

    Raises:
        SinkError: the folder cannot be written.
    """
    entries = []
    for name, summary in sorted(summaries.items()):
        shown = next(
            (file for file in (REPORT, "contact_sheet.jpg", "summary.json") if (out / name / file).is_file()),
            "",
        )
        entries.append((name, summary, f"{name}/{shown}"))
    length_s = sum(summary.stream_s for summary in summaries.values())
    text = (
        _pages()
        .get_template("overview.html.j2")
        .render(
            statement=STATEMENT,
            entries=entries,
            failed=sorted(failed.items()),
            length=length_text(length_s) if length_s < 3600 else f"{length_s / 3600:.1f} h",
            clock=clock,
            grades=GRADES,
        )
    )
    path = out / OVERVIEW
    replace_file(path, text.encode())
    return path


def _pages() -> Environment:
    return Environment(
        loader=PackageLoader("scopeline.outputs"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shot(findings: Findings, number: int) -> str | None:
    cutout = findings.cutouts.get(number)
    return None if cutout is None else _inline(jpeg(cutout.pixels))


def _stored(path: Path) -> str | None:
    return _inline(path.read_bytes()) if path.is_file() else None


def _inline(picture: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()
