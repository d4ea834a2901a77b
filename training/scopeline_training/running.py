"""Running: a recipe from data to a checked bundle: read, group, probe, split, fit, answer, report, export.

Reads top to bottom.

A run's folder holds `bundle/` (what the engine loads), `report/`, `fits/` (checkpoints and curves per fold),
`split.csv` (which picture was in which part), `folds.csv` of a cross-validation, and `recipe.toml`.
"""

from __future__ import annotations

import csv
import math
import os
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import cv2
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from scopeline.bundle import Training
from scopeline.commands.model import check_model
from scopeline.errors import ConfigError, SinkError
from scopeline.picture import Pixels
from scopeline_training.answering import CLEAR, answers_of, ask, log_loss, mask_answers_of, temperatures_of
from scopeline_training.answers import Answers, join_answers
from scopeline_training.catalogue import Catalogue
from scopeline_training.data_sets import read_catalogue
from scopeline_training.experiment import Experiment
from scopeline_training.figures import balanced_accuracy, table_figures
from scopeline_training.fitting import FitResult, Watchers, fit_network, load_weights
from scopeline_training.grouping import group_numbers, without_look_alikes
from scopeline_training.learner import AnyNetwork, Identity
from scopeline_training.mask_scores import MaskAnswers, dice
from scopeline_training.material import Material, colour_statistics, material_of
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.pair_stand_in import PairStandIn, make_pairs
from scopeline_training.picture_set import PictureSet
from scopeline_training.pictures import CropName, cache_folder
from scopeline_training.report import write_report
from scopeline_training.run_bundle import bundle_sha256, save_bundle
from scopeline_training.run_card import run_card
from scopeline_training.run_parts import (
    PartedRun,
    groups_in,
    limited,
    parted,
    strata,
    varied_parts,
    with_groups,
)
from scopeline_training.run_record import RunRecord, code_sha256, lacking, split_rows
from scopeline_training.scores import confusion_counts
from scopeline_training.shortcut_probes import ProbeVerdict, need_pass, probe
from scopeline_training.splitting import Parts
from scopeline_training.toml_text import toml_text
from scopeline_training.trainable_network import TrainableNetwork
from scopeline_training.zoo import build, build_dual

REPRESENTATIVE_RULE = (
    "The model that is kept is the representative one: that of the fold whose loss on its own test part is the median "
    "of all folds (the upper of the two in the middle). The best fold would be the luckiest one."
)
"""Study S1 chose a representative of its 12 folds and did not say how."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is asked of one run beside its recipe."""

    force: bool = False
    """Use a data set that the probes refuse; everything is stamped."""
    resume: bool = False
    """Go on where an interrupted run with the same recipe, data and folder stopped."""
    go_on_from: Path | None = None
    """Checkpoint whose weights to start from, as for a fit at another batch size."""
    limit: int | None = None
    """At most so many pictures per label and part; its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Fold:
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


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run left behind."""

    folder: Path
    record: RunRecord
    answers: tuple[Answers, ...]
    masks: tuple[MaskAnswers, ...]
    sizes: Mapping[str, int]
    """Part -> pictures that were used: train and val of the first fold, test of all."""
    epochs: int
    """Run in the last phase, of the fold that is kept."""
    bundle_sha256: str

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"


def run_experiment(
    experiment: Experiment, out: Path, *, recipe: str, command: str, beside: Path | None = None,
    prose: Path | None = None, options: RunOptions | None = None, console: Console | None = None,
) -> RunResult | None:  # fmt: skip
    """Runs a recipe of the general path.

    Args:
        experiment: The recipe.
        out: The run's folder.
        recipe: Text of the recipe, for the record.
        command: How to repeat it, for the record.
        beside: Folder that relative data folders are sought in first.
        prose: Hand-written part of the card, if there is such a file.
        options: What is asked of this run.
        console: For progress.

    Returns:
        None in the helping processes of a fit on several devices.

    Raises:
        ConfigError: the recipe does not suit the data, or the probes refuse the data.
    """
    options, console = options or RunOptions(), console or Console(quiet=_is_helper())
    cv2.setNumThreads(1)
    _seed(experiment.seed)
    with _bars(console) as bars:
        catalogue = read_data(experiment, beside)
        if options.limit:
            catalogue = limited(catalogue, options.limit, head=experiment.split.head, seed=experiment.seed)
        catalogue = without_look_alikes(catalogue, experiment.split.hamming)
        heads = heads_of(experiment, catalogue)
        verdicts = probe_all(catalogue, experiment, heads, bars)
        for verdict in verdicts:
            need_pass(verdict, force=options.force or experiment.probe.force)
        groups = group_numbers(catalogue, experiment.split.hamming)
        identity = Identity(
            data_sha256=catalogue.sha256,
            recipe_sha256=RunRecord(
                title="", command="", seed=0, data="", data_sha256="", recipe=recipe
            ).recipe_sha256,
            code_sha256=code_sha256(),
            seed=experiment.seed,
        )
        grouped = with_groups(catalogue, groups)
        splits = list(parted(catalogue, groups, experiment.split, seed=experiment.seed))
        folds = [
            _fit_one(
                grouped,
                each,
                experiment,
                heads,
                out / "fits" / f"fold-{number:02d}",
                number,
                identity,
                options,
                bars,
            )
            for number, each in enumerate(splits)
        ]
    if _is_helper():
        return None
    answers, masks = _pooled(folds)
    chosen = representative([fold.loss for fold in folds])
    record = _record(experiment, catalogue, groups, splits, verdicts, folds, chosen, recipe, command, options)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "recipe.toml", recipe)
    _write_split(out / "split.csv", catalogue, groups, splits)
    if len(folds) > 1:
        _write_folds(out / "folds.csv", folds, chosen)
    best = folds[chosen]
    card = run_card(
        experiment,
        heads,
        best.fit.network,
        record,
        answers,
        masks,
        temperatures=best.temperatures,
        prose=prose,
    )
    write_report(
        out / "report", record, answers, masks=masks, history=best.fit.history, picture_of=_picture_of(folds)
    )
    save_bundle(
        out / "bundle", best.fit.network, experiment, heads, temperatures=best.temperatures, card=card,
        training=Training(
            recipe=experiment.name, command=command, data=catalogue.description,
            data_sha256=catalogue.sha256, seed=experiment.seed,
        ),
    )  # fmt: skip
    _write(out / "pipeline.toml", _pipeline(experiment, heads))
    check_model(out / "bundle", backend="onnxruntime", precision="fp32")
    for line in _told(record, answers):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(
        f"report: [bold]{out / 'report' / 'report.html'}[/]\nbundle: [bold]{out / 'bundle'}[/]\n"
        f"try it: scopeline batch VIDEO --pipeline {out / 'pipeline.toml'}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    return RunResult(
        out,
        record,
        tuple(answers),
        tuple(masks),
        _sizes(folds),
        best.fit.phases[-1].epochs,
        bundle_sha256(out / "bundle"),
    )


def read_data(experiment: Experiment, beside: Path | None) -> Catalogue:
    """The data set that a recipe names.

    Raises:
        ConfigError: it is not there, or has another form.
    """
    if isinstance(experiment.data, PairStandIn):
        return make_pairs(experiment.data, cache_folder().parent / "stand_ins")
    return read_catalogue(experiment.data, beside)


def heads_of(experiment: Experiment, catalogue: Catalogue) -> tuple[HeadPlan, ...]:
    """The recipe's questions with their labels, or one per head of the data set.

    Raises:
        ConfigError: a question that the data set cannot answer.
    """
    asked = experiment.heads or _questions(experiment, catalogue)
    spoilt = experiment.spoil.head if experiment.spoil else None
    heads = []
    for head in asked:
        labels = head.labels
        if head.role == "mask":
            labels = labels or ("background", head.name)
        elif head.name == spoilt:
            labels = labels or ("bad", "good")
        elif head.name not in catalogue.classes:
            raise ConfigError(
                f"heads: {head.name!r} is asked, and the data set has labels of "
                f"{', '.join(catalogue.classes) or 'nothing'}"
            )
        heads.append(msgspec.structs.replace(head, labels=labels or catalogue.classes[head.name]))
    if spoilt is not None and {"bad", "good"} - set(next((h.labels for h in heads if h.name == spoilt), ())):
        raise ConfigError(
            f"spoil: wanted a head {spoilt!r} with the labels bad and good, add it to [[heads]]"
        )
    return tuple(heads)


def probe_all(
    catalogue: Catalogue, experiment: Experiment, heads: Sequence[HeadPlan], bars: Progress
) -> tuple[ProbeVerdict, ...]:
    """The shortcut probes of every head that the data set has labels of."""
    asked = [head.name for head in heads if head.name in catalogue.classes]
    bar = bars.add_task("probing for shortcuts", total=len(asked), note="")
    verdicts = []
    for name in asked:
        verdicts.append(probe(catalogue, experiment.input.crop, head=name, seed=experiment.seed))
        bars.update(bar, advance=1, note=f"{name}: {'REFUSED' if verdicts[-1].refused else 'passed'}")
    return tuple(verdicts)


def representative(losses: Sequence[float]) -> int:
    """Which fold is kept; see `REPRESENTATIVE_RULE`."""
    return losses.index(statistics.median_high(losses))


def _fit_one(
    grouped: Catalogue, parts: PartedRun, experiment: Experiment, heads: tuple[HeadPlan, ...], folder: Path,
    number: int, identity: Identity, options: RunOptions, bars: Progress,
) -> Fold:  # fmt: skip
    materials = _materials(grouped, parts.parts, experiment, heads, bars)
    plan = _with_colours(experiment.network, materials["train"])
    seed = experiment.seed + number
    spoil, preset = experiment.spoil, experiment.augment.preset
    sets = {
        name: PictureSet(material, heads, preset, training=name == "train", spoil=spoil, seed=seed)
        for name, material in materials.items()
    }
    _seed(seed)
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
    return Fold(fit, parts, sets, temperatures, tuple(answers), tuple(masks))


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


def _questions(experiment: Experiment, catalogue: Catalogue) -> tuple[HeadPlan, ...]:
    heads = [HeadPlan(name=name) for name in catalogue.classes]
    if not heads:
        heads = [HeadPlan(name=experiment.data.head, role="mask", loss="bce_dice")]
    if experiment.spoil and experiment.spoil.head not in catalogue.classes:
        heads.append(HeadPlan(name=experiment.spoil.head, role="quality", labels=("bad", "good")))
    return tuple(heads)


def _sizes(folds: Sequence[Fold]) -> dict[str, int]:
    """Pictures used per part. Folds share their test pictures out; each trains on nearly all."""
    names = ("train", "val", "test")
    counts = {name: [len(fold.sets[name].material) for fold in folds] for name in names}
    return {name: sum(each) if name == "test" else each[0] for name, each in counts.items()}


def _pooled(folds: Sequence[Fold]) -> tuple[list[Answers], list[MaskAnswers]]:
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


def _joined_masks(parts: Sequence[MaskAnswers], split: str) -> MaskAnswers:
    return MaskAnswers(
        tuple(name for part in parts for name in part.names),
        np.concatenate([part.groups for part in parts]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.said for part in parts]),
        parts[0].head,
        split,
    )


def _record(
    experiment: Experiment, catalogue: Catalogue, groups: NDArray[np.int64], splits: Sequence[PartedRun],
    verdicts: tuple[ProbeVerdict, ...], folds: Sequence[Fold], chosen: int, recipe: str, command: str,
    options: RunOptions,
) -> RunRecord:  # fmt: skip
    parts = (
        splits[0].parts.named()
        if len(splits) == 1
        else {f"fold {n}": s.parts.test for n, s in enumerate(splits, 1)}
    )
    head = experiment.split.head or next(iter(catalogue.classes), None)
    labels = catalogue.classes[head] if head else ("pictures",)
    table = split_rows(parts, strata(catalogue, experiment.split.head), groups, labels)
    notes = [*dict.fromkeys(note for split in splits for note in split.notes)]
    if missing := lacking(table):
        notes.append(
            f"No picture of {missing}: its groups are too few to be in every part, and none lies in two. Where a label "
            "is not tested, no figure says how well it is told."
        )
    if len(folds) > 1:
        notes.append(f"{REPRESENTATIVE_RULE} Here it is fold {chosen + 1} of {len(folds)}.")
    if any(sample.group is None for sample in catalogue.samples):
        notes.append(
            "Patients are unknown for some pictures: clusters of look-alikes (64-bit perceptual hashes within a "
            f"Hamming distance of {experiment.split.hamming}) stand in for them, and pictures of one patient may still "
            "face each other across the split."
        )
    if options.limit:
        notes.append(f"A trial with at most {options.limit} pictures per label: its figures mean nothing.")
    if options.go_on_from:
        notes.append("Fitting went on from the weights of an earlier run.")
    for phase in folds[chosen].fit.phases:
        notes.append(
            f"Phase {phase.name}: {phase.epochs} epochs, best {phase.best_epoch} (validation loss "
            f"{phase.best_loss:.4f}), {phase.learning:,} parameters learnt."
        )
    notes.append(
        "Batch norms of a frozen backbone keep their statistics; those that learn use the statistics of their batch."
    )
    return RunRecord(
        title=experiment.name, command=command, seed=experiment.seed, data=catalogue.description,
        data_sha256=catalogue.sha256, recipe=recipe, probes=verdicts, notes=tuple(notes),
        split=table,
    )  # fmt: skip


def _told(record: RunRecord, answers: Sequence[Answers]) -> Iterator[str]:
    """What nobody should have to open a report for: how good it is beside guessing, and what the probes found."""
    for each in answers:
        with np.errstate(invalid="ignore", divide="ignore"):  # resamples with a single label have no kappa
            found = table_figures(each.truth, each.said, each.groups, labels=len(each.labels))
        score = next(figure for figure in found if figure.name == "balanced accuracy")
        blind = 1 / np.count_nonzero(each.counts)
        yield f"{each.head}, {each.split}, {len(each)} pictures: balanced accuracy {score}, by guessing {blind:.3f}"
    for verdict in record.refused:
        yield f"the shortcut probes refuse this data: do not trust the figures. {' '.join(verdict.reasons)}"


def _pipeline(experiment: Experiment, heads: Sequence[HeadPlan]) -> str:
    """A pipeline that runs the bundle beside it: quality first, everything else only of good frames."""
    judge = next((head.name for head in heads if head.role == "quality"), None)
    table: dict[str, object] = {"name": experiment.name, "bundles": [{"path": "bundle"}]}
    if judge is not None:
        gate = {"when": {"head": judge, "label": "good", "at_least": 0.5}}
        table["heads"] = {head.name: gate for head in heads if head.name != judge}
    return toml_text(table)


def _write_split(
    path: Path, catalogue: Catalogue, groups: NDArray[np.int64], splits: Sequence[PartedRun]
) -> None:
    """Every picture with its group and its part in each fold, `-` where it is in none."""
    table = np.full((len(catalogue), len(splits)), "-", object)
    for number, split in enumerate(splits):
        for name, numbers in split.parts.named().items():
            table[numbers, number] = name
    header = [
        "picture",
        "group",
        *(f"fold {n + 1}" if len(splits) > 1 else "part" for n in range(len(splits))),
    ]
    rows = [[name, group, *row] for name, group, row in zip(catalogue.names, groups, table, strict=True)]
    _write_csv(path, header, rows)


def _write_folds(path: Path, folds: Sequence[Fold], chosen: int) -> None:
    """The out-of-fold table: one line per fold."""
    rows = []
    for number, fold in enumerate(folds):
        counts = [len(part) for part in fold.parted.parts.named().values()]
        last = fold.fit.phases[-1]
        score = (
            float(balanced_accuracy(confusion_counts(fold.answers[0]).astype(np.float64)))
            if fold.answers
            else 1 - fold.loss
        )
        rows.append(
            [number + 1, *counts, last.epochs, last.best_epoch, f"{last.best_loss:.6f}", f"{fold.loss:.6f}",
             f"{score:.6f}", "kept" if number == chosen else ""]
        )  # fmt: skip
    measure = "balanced accuracy" if folds[0].answers else "Dice"
    header = [
        "fold",
        "train",
        "val",
        "test",
        "epochs",
        "best epoch",
        "best val loss",
        "test loss",
        f"test {measure}",
        "",
    ]
    _write_csv(path, header, rows)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
    except OSError as error:
        raise SinkError(f"{path}: cannot write ({error.strerror})") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise SinkError(f"{path}: cannot write ({error.strerror})") from error


class _PictureOf:
    """From the name of an answer to what the network was shown."""

    def __init__(self, sets: Sequence[PictureSet]) -> None:
        self._places = {name: (each, number) for each in sets for number, name in enumerate(each.names)}

    def __call__(self, name: str) -> Pixels:
        pictures, number = self._places[name]
        return pictures[-1, number].pictures[0]


def _picture_of(folds: Sequence[Fold]) -> _PictureOf:
    return _PictureOf([fold.sets["test"] for fold in folds])


def _seed(seed: int) -> None:
    """Weights follow from torch's state; Python's and numpy's are set for libraries that ask them."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _is_helper() -> bool:
    """Whether this is not the first process of a fit on several devices."""
    return any(int(os.environ.get(name, "0")) > 0 for name in ("LOCAL_RANK", "NODE_RANK"))


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TimeRemainingColumn(), console=console,
    ) as bars:  # fmt: skip
        yield bars
