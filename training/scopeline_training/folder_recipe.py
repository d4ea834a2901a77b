"""Folder recipe: a sensible experiment for a folder of class folders, so that nobody needs to write a recipe first."""

from __future__ import annotations

import re
from pathlib import Path

from scopeline_training.experiment import AugmentPlan, Experiment, FittingPlan, ProbePlan
from scopeline_training.layouts.plans import ClassFolders
from scopeline_training.network_plan import NetworkPlan
from scopeline_training.pictures import PicturePlan
from scopeline_training.schedules import WarmRestarts

EPOCHS = 40


def folder_experiment(data: Path) -> Experiment:
    """The experiment for `data/LABEL/*` or `data/LABEL/PATIENT/*`: our small network from scratch, 128x128.

    A data set that the shortcut probes refuse is used and stamped: who has nothing but a folder gets a bundle to try,
    and reads in the card why not to trust it. A recipe refuses.
    """
    name = re.sub(r"[^a-z0-9]+", "-", data.resolve().name.lower()).strip("-") or "model"
    return Experiment(
        name=name,
        data=ClassFolders(root=str(data), head="class"),
        input=PicturePlan(size=128, crop="inscribed"),
        network=NetworkPlan(backbone="small", normalise="unit"),
        fit=FittingPlan(
            epochs=EPOCHS, batch=16, rate=3e-3, weight_decay=0.02, optimiser="adamw", patience=10,
            schedule=WarmRestarts(floor=1e-5, period=EPOCHS, warm_up=3),
        ),
        augment=AugmentPlan(preset="endoscopy"),
        probe=ProbePlan(force=True),
    )  # fmt: skip
