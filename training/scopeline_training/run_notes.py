"""Run notes: what a reader has to know of a run, for its record and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from scopeline_training.answers import Answers
from scopeline_training.catalogue import Catalogue
from scopeline_training.experiment import Experiment
from scopeline_training.fitted_fold import REPRESENTATIVE_RULE, FittedFold
from scopeline_training.mask_scores import MaskAnswers, mask_scores
from scopeline_training.run_options import RunOptions
from scopeline_training.run_parts import PartedRun, strata
from scopeline_training.run_record import RunRecord, lacking, split_rows
from scopeline_training.scores import overall_scores
from scopeline_training.shortcut_probes import ProbeVerdict


def record_of(
    experiment: Experiment, catalogue: Catalogue, groups: NDArray[np.int64], splits: Sequence[PartedRun],
    verdicts: tuple[ProbeVerdict, ...], folds: Sequence[FittedFold], chosen: int, recipe: str, command: str,
    options: RunOptions,
) -> RunRecord:  # fmt: skip
    """The record of a run: its split, the verdicts of the probes, and notes on everything a figure of it depends on."""
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


def told(record: RunRecord, answers: Sequence[Answers], masks: Sequence[MaskAnswers]) -> Iterator[str]:
    """What nobody should have to open a report for: how good it is beside guessing, and what the probes found."""
    for each in answers:
        score = next(figure for figure in overall_scores(each) if figure.name == "balanced accuracy")
        blind = 1 / np.count_nonzero(each.counts)
        yield f"{each.head}, {each.split}, {len(each)} pictures: balanced accuracy {score}, by guessing {blind:.3f}"
    for area in masks:
        first = mask_scores(area)[0]
        yield f"{area.head}, {area.split}, {len(area)} pictures: {first.name} {first}"
    for verdict in record.refused:
        yield f"the shortcut probes refuse this data: do not trust the figures. {' '.join(verdict.reasons)}"
