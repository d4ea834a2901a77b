"""Files: what the layouts share: image files of a folder, tables, and the check that every label has pictures."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scopeline.errors import ConfigError
from scopeline_training.catalogue import SPLITS, Catalogue, Sample
from scopeline_training.layouts.plans import Layout

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def images_below(folder: Path, *, deep: bool = False) -> list[Path]:
    """Image files of a folder, sorted by name; with `deep` also those of its folders. Hidden files are no pictures.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: wanted a folder of images, got {'a file' if folder.exists() else 'nothing'}"
        )
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        path
        for path in found
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def folders_in(folder: Path) -> list[Path]:
    """Folders of a folder, sorted by name, hidden ones left out.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: wanted a folder, got {'a file' if folder.exists() else 'nothing'}")
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def split_folders(root: Path) -> list[tuple[str | None, Path]]:
    """(split, folder): train, val and test folders where there are some, or else the root with no split."""
    known = [
        (SPLIT_FOLDERS[each.name.lower()], each)
        for each in folders_in(root)
        if each.name.lower() in SPLIT_FOLDERS
    ]
    return [*known] if known else [(None, root)]


def read_rows(path: Path, *, delimiter: str | None = None) -> list[dict[str, str]]:
    """The rows of a CSV or of the first sheet of an XLSX file, as text by column name; empty rows left out.

    Raises:
        ConfigError: the file cannot be read, or has no header.
    """
    try:
        rows = _xlsx(path) if path.suffix.lower() == ".xlsx" else _csv(path, delimiter)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
        raise ConfigError(
            f"{path}: wanted a table (CSV in UTF-8, or XLSX), cannot read it ({error})"
        ) from error
    if not rows:
        raise ConfigError(f"{path}: wanted a header and at least one row, got none")
    return rows


def _csv(path: Path, delimiter: str | None) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        mark = delimiter or (";" if first.count(";") > first.count(",") else ",")
        rows = [
            {
                (key or "").strip(): (value or "").strip()
                for key, value in row.items()
                if isinstance(value, str | None)
            }
            for row in csv.DictReader(file, delimiter=mark)
        ]
    return [row for row in rows if any(row.values())]


def _xlsx(path: Path) -> list[dict[str, str]]:
    from zipfile import BadZipFile

    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except BadZipFile as error:
        raise ValueError("it is no XLSX file") from error
    try:
        lines = [[_text(cell) for cell in line] for line in book.worksheets[0].iter_rows(values_only=True)]
    finally:
        book.close()
    if not lines:
        return []
    header, *rest = lines
    return [dict(zip(header, line, strict=False)) for line in rest if any(line)]


def _text(cell: object) -> str:
    """Excel keeps whole numbers as 1.0."""
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def need_columns(path: Path, rows: Sequence[Mapping[str, str]], wanted: Iterable[str]) -> None:
    """Refuses a table that lacks a column.

    Raises:
        ConfigError: names what is missing and what is there.
    """
    missing = [each for each in wanted if each not in rows[0]]
    if missing:
        raise ConfigError(
            f"{path}: wanted the columns {', '.join(missing)}, got {', '.join(rows[0])}; "
            "rename them, or name them in the recipe's [data] table"
        )


def split_of(path: Path, value: str) -> str | None:
    """ "train", "val" or "test" of what people write; None where nothing stands.

    Raises:
        ConfigError: it is something else.
    """
    if value and value.lower() not in SPLIT_FOLDERS:
        raise ConfigError(f"{path}: wanted a split of {', '.join(SPLITS)} or nothing, got {value!r}")
    return SPLIT_FOLDERS.get(value.lower())


def labels_in_order(wanted: Sequence[str], found: Iterable[str]) -> tuple[str, ...]:
    """The plan's labels, or else those found, in alphabetical order (numbers by value)."""
    return tuple(wanted) or tuple(
        sorted(set(found), key=lambda each: (not each.isdigit(), each.zfill(12) if each.isdigit() else each))
    )


def catalogue_of(
    root: Path, plan: Layout, samples: Iterable[Sample], classes: Mapping[str, tuple[str, ...]], form: str
) -> Catalogue:
    """The catalogue of a layout; pictures whose every label the plan left out are left out.

    Raises:
        ConfigError: a label of the plan has no picture at all.
    """
    kept = [_within(sample, classes) for sample in samples]
    kept = [sample for sample in kept if sample.labels or sample.mask or sample.is_clear]
    for head, labels in classes.items():
        seen = {sample.labels.get(head) for sample in kept}
        empty = [label for label in labels if label not in seen]
        if empty:
            raise ConfigError(
                f"{root}: wanted pictures of every {head}, got none of {', '.join(map(repr, empty))} "
                f"(found: {', '.join(sorted(each for each in seen if each)) or 'nothing'}); "
                "add some, or leave the label out of the recipe's [data] labels"
            )
    return Catalogue(tuple(kept), dict(classes), plan.description or f"{root.name} ({form})", root)


def _within(sample: Sample, classes: Mapping[str, tuple[str, ...]]) -> Sample:
    known = {head: label for head, label in sample.labels.items() if label in classes.get(head, ())}
    return sample if len(known) == len(sample.labels) else replace(sample, labels=known)
