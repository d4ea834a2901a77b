"""Manifest: the project's own table of shared data: path, task, label, licence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.layouts.files import SUFFIXES, catalogue_of, labels_in_order, need_columns, read_rows
from scopeline_training.layouts.plans import Manifest

NAME = "manifest.csv"


def read(root: Path, plan: Manifest) -> Catalogue:
    """The images of one task whose licence the plan allows. Patients are unknown but for `one_recording` and
    `recording`.

    Raises:
        ConfigError: no such task or licence, a label without pictures, or `recording` is no regular expression.
    """
    path = root / NAME
    rows = read_rows(path)
    need_columns(path, rows, ("path", "task", "label", "licence"))
    used = [
        row
        for row in rows
        if row["task"] == plan.task
        and (not plan.licences or row["licence"] in plan.licences)
        and Path(row["path"]).suffix.lower() in SUFFIXES
        and row["label"]
    ]
    named = [plan.rename.get(row["label"], row["label"]) for row in used]
    pattern = _pattern(plan.recording)
    samples = [
        Sample(root / row["path"], {plan.head: label}, group=_recording(row, label, plan, pattern))
        for row, label in zip(used, named, strict=True)
    ]
    labels = labels_in_order(plan.labels, named)
    return catalogue_of(root, plan, samples, {plan.head: labels}, f"task {plan.task} of the manifest")


def _recording(
    row: Mapping[str, str], label: str, plan: Manifest, pattern: re.Pattern[str] | None
) -> str | None:
    """Name of the recording that a picture comes from, None where nothing tells."""
    if label in plan.one_recording:
        return f"recording of {label}"
    found = pattern.search(row["path"]) if pattern else None
    return found.group() if found else None


def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise ConfigError(
            f"data.recording: wanted a regular expression, got {text!r} ({error}); in TOML put it in single quotes"
        ) from error
