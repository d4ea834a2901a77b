"""Report sections: what a report says, before it is a page or a document."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure as Plot

from scopeline_training import plots
from scopeline_training.answers import Answers
from scopeline_training.mask_scores import MaskAnswers, dice, iou, mask_scores, trivial_mask_scores
from scopeline_training.picture_grids import PictureOf, mask_grid, prediction_grid
from scopeline_training.plot_style import png
from scopeline_training.report_table import Cell, Table
from scopeline_training.run_record import RunRecord
from scopeline_training.scores import confusion_counts, label_scores, overall_scores, trivial_scores

BLIND = "looking at nothing"
"""Column of what somebody scores who always answers the prevalences."""


@dataclass(frozen=True, slots=True)
class Illustration:
    """A drawn plot."""

    name: str
    caption: str
    png: bytes
    is_wide: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    lead: str
    tables: tuple[Table, ...] = ()
    illustrations: tuple[Illustration, ...] = ()


def answers_section(
    answers: Answers, run: RunRecord, picture_of: PictureOf | None = None, *, seed: int = 0
) -> Section:
    """Everything about one head on one part of the data."""
    slug = slug_of(answers.head, answers.split)
    tables = (
        _overall_table(answers, slug, seed),
        _label_table(answers, slug, seed),
        _confusion_table(answers, slug),
        _prediction_table(answers, slug),
    )
    return Section(
        f"{answers.head}: {answers.split}", _lead(answers, run), tables, _drawn(answers, slug, picture_of)
    )


def mask_section(masks: MaskAnswers, picture_of: PictureOf | None = None, *, seed: int = 0) -> Section:
    """Everything about one mask head on one part of the data."""
    slug = slug_of(masks.head, masks.split)
    blind = trivial_mask_scores(masks)
    rows = tuple((figure.name, figure, blind.get(figure.name)) for figure in mask_scores(masks, seed=seed))
    each = zip(
        masks.names, masks.groups.tolist(), dice(masks.truth, masks.said), iou(masks.truth, masks.said),
        strict=True,
    )  # fmt: skip
    tables = (
        Table(f"masks_{slug}", "Areas", ("figure", "value", BLIND), rows),
        Table(
            f"mask_pictures_{slug}", "Areas of each picture", ("picture", "group", "Dice", "IoU"),
            tuple((name, group, float(one), float(other)) for name, group, one, other in each), False,
        ),
    )  # fmt: skip
    lead = (
        f"{len(masks)} pictures in {len(np.unique(masks.groups))} groups; the true areas cover "
        f"{masks.truth.mean():.1%} of all pixels. Whoever marks the whole of every picture, or nothing, has the "
        f"figures of the last column."
    )
    grid: tuple[Illustration, ...] = ()
    if picture_of is not None:
        grid = (_illustration(f"grid_{slug}", "Predicted areas", mask_grid(masks, picture_of), is_wide=True),)
    return Section(f"{masks.head}: {masks.split}", lead, tables, grid)


def history_section(history: Mapping[str, Sequence[float]]) -> Section:
    """Training curves; see `plots.training_curves` for the names."""
    epochs = max(len(values) for values in history.values())
    rows = tuple(
        (
            epoch + 1,
            *(float(values[epoch]) if epoch < len(values) else None for values in history.values()),
        )
        for epoch in range(epochs)
    )
    table = Table("history", "Epochs", ("epoch", *history), rows, is_shown=False)
    curves = _illustration("curves", "Training curves", plots.training_curves(history), is_wide=True)
    return Section("Training", f"{epochs} epochs.", (table,), (curves,))


def run_section(run: RunRecord) -> Section:
    """What one needs to judge the run or to repeat it."""
    facts: list[tuple[str, str]] = [
        ("command", run.command),
        ("seed", str(run.seed)),
        ("data", run.data),
        ("data sha256", run.data_sha256),
        ("recipe sha256", run.recipe_sha256 if run.recipe else "no recipe"),
        ("code sha256", run.code_sha256),
        ("versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
        *(("shortcut probes", str(verdict)) for verdict in run.probes),
        *(("note", note) for note in run.notes),
    ]
    if not run.probes:
        facts.append(("shortcut probes", "not run"))
    split = tuple((row.part, row.label, row.pictures, row.groups) for row in run.split)
    tables = [Table("run", "Record", ("what", "value"), tuple(facts))]
    if split:
        tables.append(Table("split", "Split", ("part", "label", "pictures", "groups"), split))
    return Section("Run", "What was run, on what, and by what.", tuple(tables))


def slug_of(*words: str) -> str:
    """Words as part of a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", "_".join(words).replace("_", "-")).strip("-").lower()


def _lead(answers: Answers, run: RunRecord) -> str:
    commonest = int(answers.prevalence.argmax())
    shares = ", ".join(
        f"{label} {share:.1%}" for label, share in zip(answers.labels, answers.prevalence, strict=True)
    )
    text = (
        f"{len(answers)} pictures in {len(np.unique(answers.groups))} groups. Prevalence: {shares}. Always saying "
        f"{answers.labels[commonest]!r} would be right in {answers.prevalence[commonest]:.1%}. Intervals hold 95 % of "
        "1000 resamples of groups (areas under curves: 500)."
    )
    for verdict in run.probes:
        if verdict.head == answers.head and "thumbnail" in verdict.aurocs:
            text += (
                f" The 16x16 grey thumbnail alone tells a label with AUROC {verdict.aurocs['thumbnail']:.3f}: "
                "that is the baseline to beat."
            )
    return text


def _overall_table(answers: Answers, slug: str, seed: int) -> Table:
    blind = trivial_scores(answers)
    rows = tuple((figure.name, figure, blind[figure.name]) for figure in overall_scores(answers, seed=seed))
    return Table(f"overall_{slug}", "All labels", ("figure", "value", BLIND), rows)


def _label_table(answers: Answers, slug: str, seed: int) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (row.label, row.pictures, row.groups, row.prevalence, *row.figures)
        for row in label_scores(answers, seed=seed)
    )
    columns = ("precision", "sensitivity (recall)", "specificity", "F1", "AUROC", "AUPRC")
    heading = ("label", "pictures", "groups", "prevalence (no-skill AUPRC)", *columns)
    return Table(f"labels_{slug}", "Each label against the rest", heading, rows)


def _confusion_table(answers: Answers, slug: str) -> Table:
    counts = confusion_counts(answers).tolist()
    rows = tuple((label, *row) for label, row in zip(answers.labels, counts, strict=True))
    return Table(
        f"confusion_{slug}", "Confusion, true label in rows", ("true", *answers.labels), rows, is_shown=False
    )


def _prediction_table(answers: Answers, slug: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for number, name in enumerate(answers.names):
        truth, said = (answers.labels[each[number]] for each in (answers.truth, answers.said))
        probabilities: list[float] = answers.probabilities[number].tolist()
        rows.append((name, int(answers.groups[number]), truth, said, *probabilities))
    columns = ("picture", "group", "true", "said", *(f"P({label})" for label in answers.labels))
    return Table(f"predictions_{slug}", "Each picture", columns, tuple(rows), is_shown=False)


def _drawn(answers: Answers, slug: str, picture_of: PictureOf | None) -> tuple[Illustration, ...]:
    occurring = int((answers.counts > 0).sum())
    drawn = [_illustration(f"confusion_{slug}", "Confusion", plots.confusion_matrix(answers))]
    if occurring > 1:
        drawn += [
            _illustration(f"roc_rest_{slug}", "ROC, one against the rest", plots.roc_one_vs_rest(answers)),
            _illustration(f"pr_{slug}", "Precision and recall", plots.precision_recall(answers)),
        ]
    if occurring > 2:
        drawn.append(_illustration(f"roc_one_{slug}", "ROC, one against one", plots.roc_one_vs_one(answers)))
    drawn.append(_illustration(f"calibration_{slug}", "Calibration", plots.calibration(answers)))
    if picture_of is not None:
        grid = prediction_grid(answers, picture_of)
        drawn.append(_illustration(f"grid_{slug}", "Predictions", grid, is_wide=True))
    return tuple(drawn)


def _illustration(name: str, caption: str, plot: Plot, *, is_wide: bool = False) -> Illustration:
    return Illustration(name, caption, png(plot), is_wide)
