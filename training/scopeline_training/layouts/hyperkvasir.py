"""HyperKvasir: the CSV of study S1 (`ID,label`), the publishers' sheet of labelled images, and their split files."""

from __future__ import annotations

from pathlib import Path

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.layouts.files import SUFFIXES, catalogue_of, images_below, labels_in_order, read_rows
from scopeline_training.layouts.plans import HyperKvasir

COLUMNS = (("ID", "label"), ("Video file", "Finding"), ("file-name", "class-name"))
"""(file, label) columns: study S1's sheet, the publishers' image-labels.csv, their N_fold_split.csv."""


def read(root: Path, plan: HyperKvasir) -> Catalogue:
    """The pictures that the CSV names, wherever below the root they lie, with or without their ending.

    Raises:
        ConfigError: unknown columns, a picture that is not there, or two files of one name.
    """
    sheet = root / plan.sheet
    rows = read_rows(sheet)
    columns = next((pair for pair in COLUMNS if set(pair) <= rows[0].keys()), None)
    if columns is None:
        raise ConfigError(
            f"{sheet}: wanted the columns {' or '.join(','.join(pair) for pair in COLUMNS)}, got {','.join(rows[0])}"
        )
    files = _by_stem(root)
    said = [(row[columns[0]], plan.rename.get(row[columns[1]], row[columns[1]])) for row in rows]
    labels = labels_in_order(plan.labels, (label for _, label in said))
    samples = [
        Sample(_find(files, name, sheet), {plan.head: label}) for name, label in said if label in labels
    ]
    return catalogue_of(root, plan, samples, {plan.head: labels}, "HyperKvasir CSV")


def _by_stem(root: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in images_below(root, deep=True):
        files.setdefault(path.stem, []).append(path)
    return files


def _find(files: dict[str, list[Path]], name: str, sheet: Path) -> Path:
    stem = Path(name).stem if Path(name).suffix.lower() in SUFFIXES else Path(name).name
    found = files.get(stem, [])
    if len(found) != 1:
        raise ConfigError(
            f"{sheet}: wanted one picture named {stem!r} below {sheet.parent}, got {len(found)}; "
            "put the images beside the sheet, each once"
        )
    return found[0]
