"""Folder recipe: a sensible experiment for a folder of class folders, so that nobody needs to write a recipe first."""

from __future__ import annotations

import re
from pathlib import Path

from scopeline_training.experiment import AugmentPlan, Experiment, FittingPlan, ProbePlan
from scopeline_training.layouts.files import images_below
from scopeline_training.layouts.plans import ClassFolders
from scopeline_training.network_plan import NetworkPlan
from scopeline_training.pictures import PicturePlan
from scopeline_training.schedules import WarmRestarts

EPOCHS = 40
MOST_EPOCHS = 160
STEPS = 800
"""Batches that a fit gets room for, within `MOST_EPOCHS`. A folder of 80 pictures has 3 batches of 16 per epoch: with a
patience of 10 epochs a fit ended after 33 batches, its best epoch the first, and said one label of everything."""
FEW = 300
"""Pictures below which batches are of 8."""
TRAINED = 0.7
"""Share of the pictures that is trained on."""


def folder_experiment(data: Path) -> Experiment:
    """The experiment for `data/LABEL/*` or `data/LABEL/PATIENT/*`: our small network from scratch, 128x128.

    A data set that the shortcut probes refuse is used and stamped: who has nothing but a folder gets a bundle to try,
    and reads in the card why not to trust it. A recipe refuses.
    """
    count = len(images_below(data, deep=True))
    batch = 16 if count >= FEW else 8
    epochs = min(MOST_EPOCHS, max(EPOCHS, round(STEPS * batch / (TRAINED * max(count, 1)))))
    name = re.sub(r"[^a-z0-9]+", "-", data.resolve().name.lower()).strip("-") or "model"
    return Experiment(
        name=name,
        data=ClassFolders(root=str(data), head="class"),
        input=PicturePlan(size=128, crop="inscribed"),
        network=NetworkPlan(backbone="small", normalise="unit"),
        fit=FittingPlan(
            epochs=epochs, batch=batch, rate=3e-3, weight_decay=0.02, optimiser="adamw", patience=epochs // 4,
            schedule=WarmRestarts(floor=1e-5, period=epochs, warm_up=3),
        ),
        augment=AugmentPlan(preset="endoscopy"),
        probe=ProbePlan(force=True),
    )  # fmt: skip
