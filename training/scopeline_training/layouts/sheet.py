"""Sheet: one row per picture in a CSV or XLSX file, with the columns of study S5 and more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.layouts.files import catalogue_of, labels_in_order, need_columns, read_rows, split_of
from scopeline_training.layouts.plans import Sheet

KNOWN = ("path", "second", "mask", "split", "patient", "camera", "round", "quality")


def read(root: Path, plan: Sheet) -> Catalogue:
    """The pictures that a sheet lists; paths are relative to the sheet.

    Raises:
        ConfigError: an unknown key of `columns`, a missing column or file, a split or round that is none.
    """
    unknown = set(plan.columns) - set(KNOWN)
    if unknown:
        raise ConfigError(f"columns: wanted {', '.join(KNOWN)}, got {', '.join(sorted(unknown))}")
    sheet = root / plan.sheet
    rows = read_rows(sheet)
    heads = plan.heads or (plan.head,)
    need_columns(sheet, rows, [plan.columns.get("path", "path"), *heads, *plan.columns.values()])
    samples = [_sample(sheet, number, row, plan, heads) for number, row in enumerate(rows, start=2)]
    classes = {
        head: labels_in_order(
            plan.labels if head == heads[0] else (), (row[head] for row in rows if row[head])
        )
        for head in heads
    }
    return catalogue_of(root, plan, samples, classes, f"sheet {plan.sheet}")


def _sample(sheet: Path, line: int, row: Mapping[str, str], plan: Sheet, heads: tuple[str, ...]) -> Sample:
    said = {each: row.get(plan.columns.get(each, each), "") for each in KNOWN}
    where = Path(f"{sheet}, line {line}")
    if not said["path"]:
        raise ConfigError(f"{where}: wanted the path of a picture, got nothing")
    if said["round"] and not said["round"].isdigit():
        raise ConfigError(f"{where}: wanted a whole number as round, got {said['round']!r}")
    return Sample(
        _file(sheet, where, said["path"]),
        {head: row[head] for head in heads if row[head]},
        group=said["patient"] or None,
        split=split_of(where, said["split"]),
        mask=_file(sheet, where, said["mask"]) if said["mask"] else None,
        second=_file(sheet, where, said["second"]) if said["second"] else None,
        camera=said["camera"] or None,
        round=int(said["round"]) if said["round"] else None,
        quality=said["quality"] or None,
    )


def _file(sheet: Path, where: Path, value: str) -> Path:
    path = sheet.parent / value.replace("\\", "/")
    if not path.is_file():
        raise ConfigError(
            f"{where}: wanted the file {path}, it is not there; correct the sheet or add the file"
        )
    return path
