"""Kinds: which outputs there are, what each is called on the disk, and who makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from scopeline.errors import ConfigError
from scopeline.outputs.findings import Findings
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
                    "pip install 'scopeline[archive]'"
                ) from error


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
