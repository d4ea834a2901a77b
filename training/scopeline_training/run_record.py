"""Run record: everything one needs to judge a run or to repeat it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

import scopeline
from scopeline_training.catalogue import SPLITS
from scopeline_training.shortcut_probes import ProbeVerdict

PACKAGES = (
    "scopeline", "torch", "torchvision", "timm", "segmentation-models-pytorch", "lightning", "torchmetrics",
    "scikit-learn", "numpy", "opencv-python-headless", "onnxruntime",
)  # fmt: skip


class SplitRow(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one label lies in one part of the data."""

    part: str
    label: str
    pictures: int
    groups: int


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was run, on what, by what."""

    title: str
    command: str
    seed: int
    data: str
    """The data set in one sentence."""
    data_sha256: str
    recipe: str = ""
    """Text of the recipe; empty where none was used."""
    code_sha256: str = msgspec.field(default_factory=lambda: code_sha256())
    versions: dict[str, str] = msgspec.field(default_factory=lambda: package_versions())
    split: tuple[SplitRow, ...] = ()
    probes: tuple[ProbeVerdict, ...] = ()
    """Verdict of the shortcut probes, one per head; a refused one is stamped on the report."""
    notes: tuple[str, ...] = ()
    """What a reader has to know: what was left out, which licence the data has."""

    @property
    def recipe_sha256(self) -> str:
        return hashlib.sha256(self.recipe.encode()).hexdigest()

    @property
    def refused(self) -> tuple[ProbeVerdict, ...]:
        """Verdicts of sets that should not have been used."""
        return tuple(verdict for verdict in self.probes if verdict.refused)


def split_rows(
    parts: Mapping[str, NDArray[np.int64]],
    truth: NDArray[np.int64],
    groups: NDArray[np.int64],
    labels: tuple[str, ...],
) -> tuple[SplitRow, ...]:
    """The split table: for each part and label, pictures and groups.

    Args:
        parts: Name of the part -> numbers of its pictures.
        truth: (N,) label numbers; pictures without a label (-1) are not counted.
        groups: (N,)
    """
    rows = []
    for part, numbers in parts.items():
        for label, name in enumerate(labels):
            inside = numbers[truth[numbers] == label]
            count = len(np.unique(groups[inside]))
            rows.append(SplitRow(part=part, label=name, pictures=len(inside), groups=count))
    return tuple(rows)


def lacking(split: Sequence[SplitRow]) -> str:
    """Which labels have no picture in which part of a three-way split, as "nose in val and test"; empty if none.

    Folds are not asked: what one fold does not test, another does.
    """
    parts: dict[str, list[str]] = {}
    for row in split:
        if row.part in SPLITS and not row.pictures:
            parts.setdefault(row.label, []).append(row.part)
    return ", ".join(f"{label} in {' and '.join(names)}" for label, names in parts.items())


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that figures may depend on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def code_sha256() -> str:
    """Hash over the sources of the runtime and of the training component, by name and content."""
    digest = hashlib.sha256()
    for folder in (Path(scopeline.__file__).parent, Path(__file__).parent):
        for source in sorted(folder.rglob("*.py")):
            digest.update(source.relative_to(folder).as_posix().encode() + source.read_bytes())
    return digest.hexdigest()
