"""Kinds: which outputs there are, what each is called on the disk, and who makes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import msgspec

from scopeline.errors import ConfigError, SinkError
from scopeline.extras import how_to_install
from scopeline.outputs.findings import Findings
from scopeline.pictures import CONTACT_SHEET, FIELD
from scopeline.results_wanted import ResultsWanted

_MAKERS: Final = {
    "parquet": (
        ("frames.parquet", "parquet_tables", "write_frames_table"),
        ("segments.parquet", "parquet_tables", "write_segments_table"),
    ),
    "report": (("report.html", "report_page", "write_report_page"),),
    "pdf": (("report.pdf", "report_pdf", "write_report_pdf"),),
    "video": (("annotated.mp4", "annotated_video", "write_annotated_video"),),
    "dicom": (("dicom", "dicom_objects", "write_dicom"),),
}
"""By kind: name on the disk, module, function. Modules are imported when somebody wants them: they bring packages."""


def check_outputs(wanted: ResultsWanted) -> None:
    """Whether everything that was asked for can be made here; asked before the first recording, not after it.

    Raises:
        ConfigError: a package is missing, or pictures are wanted and not wanted.
    """
    if "video" in wanted.also and not wanted.pictures:
        raise ConfigError("results: wanted an annotated video and no pictures; leave one of them out")
    for kind in wanted.also:
        for _, module, _ in _MAKERS[kind]:
            try:
                import_module(f"scopeline.outputs.{module}")
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"results: {kind!r} needs the package {error.name}, which is not installed; "
                    f"{how_to_install('archive')}"
                ) from error


def with_what_was_there(folder: Path, wanted: ResultsWanted) -> ResultsWanted:
    """What is wanted, and what an earlier run of other inputs left in the folder that is about to be replaced: nobody
    asked for it to go. Left out is what cannot be made here any more."""
    also: list[str] = list(wanted.also)
    for kind, makers in _MAKERS.items():
        if kind in also or not all((folder / name).exists() for name, _, _ in makers):
            continue
        more = msgspec.convert({"also": [*also, kind], "pictures": wanted.pictures}, ResultsWanted)
        try:
            check_outputs(more)
        except ConfigError:
            continue
        also.append(kind)
    return msgspec.convert({"also": also, "pictures": wanted.pictures}, ResultsWanted)


def withdraw_pictures(folder: Path) -> None:
    """Take away every file of a finished folder that was made with pictures.

    Raises:
        SinkError: one cannot be removed.
    """
    pictured = [name for kind in ("report", "pdf", "video", "dicom") for name, _, _ in _MAKERS[kind]]
    try:
        for name in (*pictured, CONTACT_SHEET, FIELD):  # the mark of such a folder goes last
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise SinkError(f"{folder}: its pictures cannot be removed ({error.strerror})") from error


def missing_outputs(folder: Path, wanted: ResultsWanted) -> list[str]:
    """Names of what a finished folder lacks."""
    return [name for kind in wanted.also for name, _, _ in _MAKERS[kind] if not (folder / name).exists()]


def write_outputs(findings: Findings, wanted: ResultsWanted, only: Sequence[str] | None = None) -> None:
    """Make what is wanted, or of it only what goes by these names.

    Raises:
        SourceError: the run's frames or the recording cannot be read.
        SinkError: the folder cannot be written.
    """
    for kind in wanted.also:
        for name, module, function in _MAKERS[kind]:
            if only is None or name in only:
                make: Callable[[Findings], Path] = getattr(
                    import_module(f"scopeline.outputs.{module}"), function
                )
                make(findings)
