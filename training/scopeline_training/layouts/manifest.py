"""Manifest: the project's own table of shared data: path, task, label, licence."""

from __future__ import annotations

from pathlib import Path

from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.layouts.files import SUFFIXES, catalogue_of, labels_in_order, need_columns, read_rows
from scopeline_training.layouts.plans import Manifest


def read(root: Path, plan: Manifest) -> Catalogue:
    """The images of one task whose licence the plan allows. Patients are unknown but for `one_recording`.

    Raises:
        ConfigError: no such task or licence, or a label without pictures.
    """
    path = root / "manifest.csv"
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
    labels = labels_in_order(plan.labels, (row["label"] for row in used))
    samples = [
        Sample(
            root / row["path"],
            {plan.head: row["label"]},
            group=f"recording of {row['label']}" if row["label"] in plan.one_recording else None,
        )
        for row in used
    ]
    return catalogue_of(root, plan, samples, {plan.head: labels}, f"task {plan.task} of the manifest")
