"""Running: a recipe from data to a checked bundle: read, group, probe, split, fit, answer, report, export.

Reads top to bottom.

A run's folder holds `bundle/` (what the engine loads), `report/`, `fits/` (checkpoints and curves per fold),
`split.csv` (which picture was in which part), `folds.csv` of a cross-validation, and `recipe.toml`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from scopeline.bundle import Training
from scopeline.commands.model import check_model
from scopeline.errors import ConfigError
from scopeline_training.answers import Answers
from scopeline_training.catalogue import Catalogue
from scopeline_training.data_sets import read_catalogue
from scopeline_training.experiment import Experiment
from scopeline_training.fitted_fold import fit_fold, picture_of, pooled, representative, sizes
from scopeline_training.grouping import group_numbers, without_look_alikes
from scopeline_training.learner import Identity
from scopeline_training.mask_scores import MaskAnswers
from scopeline_training.network_plan import HeadPlan
from scopeline_training.pair_stand_in import PairStandIn, make_pairs
from scopeline_training.pictures import cache_folder
from scopeline_training.report import write_report
from scopeline_training.run_bundle import bundle_sha256, save_bundle
from scopeline_training.run_card import run_card
from scopeline_training.run_folder import pipeline_text, write_folds, write_split, write_text
from scopeline_training.run_notes import record_of, told
from scopeline_training.run_options import RunOptions
from scopeline_training.run_parts import limited, parted, with_groups
from scopeline_training.run_record import RunRecord, code_sha256
from scopeline_training.seeding import seed_everything
from scopeline_training.shortcut_probes import ProbeVerdict, need_pass, probe


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
        BundleError: the export is refused; checkpoints and report are there.
    """
    options, console = options or RunOptions(), console or Console(quiet=_is_helper())
    cv2.setNumThreads(1)
    seed_everything(experiment.seed)
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
            fit_fold(
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
    answers, masks = pooled(folds)
    chosen = representative([fold.loss for fold in folds])
    record = record_of(
        experiment, catalogue, groups, splits, verdicts, folds, chosen, recipe, command, options
    )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "recipe.toml", recipe)
    write_split(out / "split.csv", catalogue, groups, splits)
    if len(folds) > 1:
        write_folds(out / "folds.csv", folds, chosen)
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
        out / "report", record, answers, masks=masks, history=best.fit.history, picture_of=picture_of(folds)
    )
    console.print(f"report: [bold]{out / 'report' / 'report.html'}[/]", soft_wrap=True, highlight=False)
    save_bundle(
        out / "bundle", best.fit.network, experiment, heads, temperatures=best.temperatures, card=card,
        training=Training(
            recipe=experiment.name, command=command, data=catalogue.description,
            data_sha256=catalogue.sha256, seed=experiment.seed,
        ),
    )  # fmt: skip
    write_text(out / "pipeline.toml", pipeline_text(experiment, heads))
    check_model(out / "bundle", backend="onnxruntime", precision="fp32")
    for line in told(record, answers, masks):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(
        f"bundle: [bold]{out / 'bundle'}[/]\n"
        f"try it: scopeline batch VIDEO --pipeline {out / 'pipeline.toml'}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    return RunResult(
        out,
        record,
        tuple(answers),
        tuple(masks),
        sizes(folds),
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


def _questions(experiment: Experiment, catalogue: Catalogue) -> tuple[HeadPlan, ...]:
    heads = [HeadPlan(name=name) for name in catalogue.classes]
    if not heads:
        heads = [HeadPlan(name=experiment.data.head, role="mask", loss="bce_dice")]
    if experiment.spoil and experiment.spoil.head not in catalogue.classes:
        heads.append(HeadPlan(name=experiment.spoil.head, role="quality", labels=("bad", "good")))
    return tuple(heads)


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
