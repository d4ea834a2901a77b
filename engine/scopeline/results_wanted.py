"""Results wanted: what `scopeline batch` makes of a recording beside its frames, segments and summary."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

OutputKind: TypeAlias = Literal["parquet", "report", "pdf", "video", "dicom"]


class ResultsWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `[results]` of a pipeline file. Changes no verdict."""

    also: tuple[OutputKind, ...] = ()
    """`parquet`: tables of frames and segments. `report`, `pdf`: the procedure on a page. `video`: the recording with
    tags and masks drawn. `dicom`: structured report, key frames and masks."""
    pictures: bool = True
    """False: no picture of the recording is stored in any result."""
