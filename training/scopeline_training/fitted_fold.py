"""Fitted fold: one fit of a run and what its network said of those it never saw; and several of them together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
from rich.progress import Progress

from scopeline.picture import Pixels
from scopeline_training.answering import CLEAR, answers_of, ask, log_loss, mask_answers_of, temperatures_of
from scopeline_training.answers import Answers, join_answers
from scopeline_training.catalogue import Catalogue
from scopeline_training.experiment import Experiment
from scopeline_training.fitting import FitResult, Watchers, fit_network, load_weights
from scopeline_training.learner import AnyNetwork, Identity
from scopeline_training.mask_scores import MaskAnswers, dice
from scopeline_training.material import Material, colour_statistics, material_of
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.picture_set import PictureSet
from scopeline_training.pictures import CropName
from scopeline_training.run_options import RunOptions
from scopeline_training.run_parts import PartedRun, groups_in, varied_parts
from scopeline_training.seeding import seed_everything
from scopeline_training.splitting import Parts
from scopeline_training.trainable_network import TrainableNetwork
from scopeline_training.zoo import build, build_dual

REPRESENTATIVE_RULE = (
    "The model that is kept is the representative one: that of the fold whose loss on its own test part is the median "
    "of all folds (the upper of the two in the middle). The best fold would be the luckiest one."
)
"""Study S1 chose a representative of its 12 folds and did not say how."""


@dataclass(frozen=True, slots=True)
class FittedFold:
    """One fit and what its network said of those it never saw."""

    fit: FitResult
    parted: PartedRun
    sets: Mapping[str, PictureSet]
    temperatures: Mapping[str, float]
    answers: tuple[Answers, ...]
    """Of the test part."""
    masks: tuple[MaskAnswers, ...]

    @property
    def loss(self) -> float:
        """On the test part: of the first answer, or 1 - Dice of the first mask."""
        if self.answers:
            return log_loss(self.answers[0])
        return float(1 - dice(self.masks[0].truth, self.masks[0].said).mean()) if self.masks else math.inf


def fit_fold(
    grouped: Catalogue, parts: PartedRun, experiment: Experiment, heads: tuple[HeadPlan, ...], folder: Path,
    number: int, identity: Identity, options: RunOptions, bars: Progress,
) -> FittedFold:  # fmt: skip
    """Fits on one set of parts and asks the network about those it never saw.

    Args:
        grouped: The data set with its groups.
        parts: Who is trained on, who decides, who is tested.
        experiment: The recipe.
        heads: Its questions, with labels.
        folder: For checkpoints and curves.
        number: Of the fold, from 0; added to the recipe's seed.
        identity: Goes into every checkpoint.
        options: Whether to resume, and from what to start.
        bars: For progress.

    Raises:
        ConfigError: a picture cannot be read, or what is to be resumed came from another recipe or other data.
    """
    materials = _materials(grouped, parts.parts, experiment, heads, bars)
    plan = _with_colours(experiment.network, materials["train"])
    seed = experiment.seed + number
    spoil, preset = experiment.spoil, experiment.augment.preset
    sets = {
        name: PictureSet(material, heads, preset, training=name == "train", spoil=spoil, seed=seed)
        for name, material in materials.items()
    }
    seed_everything(seed)
    network: AnyNetwork = build_dual(plan, heads[0]) if plan.inputs else build(plan, heads)
    if options.go_on_from is not None:
        load_weights(network, options.go_on_from)
    epochs = experiment.fit.epochs + (experiment.fit.frozen.epochs if experiment.fit.frozen else 0)
    steps = max(1, len(sets["train"]) // experiment.fit.batch)
    bar = bars.add_task(
        "fitting" if not number else f"fitting fold {number + 1}", total=epochs * steps, note=""
    )
    fit = fit_network(
        network, sets["train"], sets["val"], experiment.fit, heads, folder=folder,
        identity=msgspec.structs.replace(identity, seed=seed), resume=options.resume,
        watchers=Watchers(
            advance=lambda count, words: bars.update(bar, advance=count, note=words),
            say=lambda line: bars.console.print(line, highlight=False, soft_wrap=True),
            track=experiment.track,
        ),
    )  # fmt: skip
    done = sum(phase.epochs for phase in fit.phases) * steps
    bars.update(bar, completed=done, total=done)
    if isinstance(fit.network, TrainableNetwork):
        fit.network.look_all_ways()
    temperatures = temperatures_of(fit.network, ask(fit.network, sets["val"]), sets["val"], heads)
    said = ask(fit.network, sets["test"])
    answers = answers_of(fit.network, said, sets["test"], heads, temperatures=temperatures, split="test")
    masks = mask_answers_of(said, sets["test"], split="test")
    return FittedFold(fit, parts, sets, temperatures, tuple(answers), tuple(masks))


def representative(losses: Sequence[float]) -> int:
    """Which fold is kept; see `REPRESENTATIVE_RULE`."""
    return losses.index(statistics.median_high(losses))


def pooled(folds: Sequence[FittedFold]) -> tuple[list[Answers], list[MaskAnswers]]:
    """The test answers of the one fit, or out-of-fold answers of all."""
    if len(folds) == 1:
        return list(folds[0].answers), list(folds[0].masks)
    split = f"{len(folds)} folds"
    heads = dict.fromkeys(each.head for fold in folds for each in fold.answers)
    answers = [
        join_answers([each for fold in folds for each in fold.answers if each.head == head], split)
        for head in heads
    ]
    areas = dict.fromkeys((each.head, each.split) for fold in folds for each in fold.masks)
    masks = [
        _joined_masks(
            [each for fold in folds for each in fold.masks if (each.head, each.split) == area],
            split + (CLEAR if area[1].endswith(CLEAR) else ""),
        )
        for area in areas
    ]
    return answers, masks


def sizes(folds: Sequence[FittedFold]) -> dict[str, int]:
    """Pictures used per part. Folds share their test pictures out; each trains on nearly all."""
    names = ("train", "val", "test")
    counts = {name: [len(fold.sets[name].material) for fold in folds] for name in names}
    return {name: sum(each) if name == "test" else each[0] for name, each in counts.items()}


def picture_of(folds: Sequence[FittedFold]) -> Callable[[str], Pixels]:
    """From the name of an answer of the test parts to what the network was shown, (S, S, 3) uint8 RGB."""
    return _PictureOf([fold.sets["test"] for fold in folds])


class _PictureOf:
    """From the name of an answer to what the network was shown."""

    def __init__(self, sets: Sequence[PictureSet]) -> None:
        self._places = {name: (each, number) for each in sets for number, name in enumerate(each.names)}

    def __call__(self, name: str) -> Pixels:
        pictures, number = self._places[name]
        return pictures[-1, number].pictures[0]


def _materials(
    grouped: Catalogue, parts: Parts, experiment: Experiment, heads: Sequence[HeadPlan], bars: Progress
) -> dict[str, Material]:
    materials = {}
    for name, (catalogue, crop) in varied_parts(grouped, parts, experiment).items():
        plan = msgspec.structs.replace(experiment.input, crop=_crop(crop))
        dual = experiment.network.inputs is not None
        materials[name] = material_of(catalogue, groups_in(catalogue), plan, heads, dual=dual)
        bar = bars.add_task(f"looking at {name}", total=len(catalogue), note="")
        materials[name].shown.look(lambda bar=bar: bars.advance(bar))  # type: ignore[misc]
    return materials


def _crop(name: str) -> CropName:
    return next(each for each in get_args(CropName) if each == name)


def _with_colours(plan: NetworkPlan, train: Material) -> NetworkPlan:
    """The plan with mean and deviation of the training part where it asks for the data's own and gives none."""
    if plan.normalise != "data" or plan.mean is not None:
        return plan
    mean, std = colour_statistics(train)
    return msgspec.structs.replace(plan, mean=mean, std=std)


def _joined_masks(parts: Sequence[MaskAnswers], split: str) -> MaskAnswers:
    return MaskAnswers(
        tuple(name for part in parts for name in part.names),
        np.concatenate([part.groups for part in parts]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.said for part in parts]),
        parts[0].head,
        split,
    )
