"""Reader report: a reader study as page, document, tables and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Plot
from sklearn.metrics import roc_curve

from scopeline.errors import SinkError
from scopeline_training.areas import area_under_roc
from scopeline_training.examples import UNKNOWN
from scopeline_training.plot_style import COLOURS, QUIET, legend_beside, new_plot, png, styled, unit_square
from scopeline_training.reader_study import CONSENSUS, RESAMPLES, Comparison, Study, counts_per_group, study
from scopeline_training.readings import Readings, consensus
from scopeline_training.report import write_sections
from scopeline_training.report_sections import Illustration, Section, run_section
from scopeline_training.report_table import Table
from scopeline_training.run_record import RunRecord
from scopeline_training.scores import label_recall


def write_study(folder: Path, readings: Readings, *, source: str, command: str, seed: int = 0) -> Study:
    """Runs the study and writes it as report.html, report.pdf, CSV, XLSX and PNG.

    Raises:
        SinkError: the folder cannot be written.
    """
    found = study(readings, seed=seed)
    run = RunRecord(
        title="Model and readers", command=command, seed=seed, data=f"{len(readings.cases)} cases of {source}",
        data_sha256=readings.sha256,
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_sections(folder, run, [_section(readings, found), run_section(run)])
    except OSError as error:
        raise SinkError(
            f"{folder}: cannot write the report ({error.strerror}); choose another folder"
        ) from error
    return found


@styled
def differences_plot(comparisons: Sequence[Comparison]) -> Plot:
    """Model minus reader with its interval, one panel per measure; filled where it is significant."""
    measures = list(dict.fromkeys(each.measure for each in comparisons))
    names = list(dict.fromkeys(each.reader for each in comparisons))
    plot = new_plot(2.2 + 2.6 * len(measures), 1.2 + 0.3 * len(names))
    panels = plot.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axes, measure in zip(panels, measures, strict=True):
        for place, each in enumerate(one for one in comparisons if one.measure == measure):
            found = each.difference
            p = each.p if each.p_holm is None else each.p_holm
            colour = COLOURS[0] if each.p_holm is not None else COLOURS[1]
            axes.plot([found.low, found.high], [place, place], color=colour)
            axes.plot(
                found.value, place, "o", color=colour, markersize=6, markerfacecolor=colour if p < 0.05 else "white"
            )  # fmt: skip
        axes.axvline(0, color=QUIET, linestyle=":", linewidth=1)
        axes.set(title=measure, xlabel="model minus reader")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    return plot


@styled
def readers_roc(readings: Readings) -> Plot:
    """The model's ROC curve with each reader and the consensus as points.

    Raises:
        ValueError: the model gave no probabilities.
    """
    if readings.probability is None:
        raise ValueError("wanted probabilities of the model, got labels only")
    plot = new_plot(6.4, 4.3)
    axes = plot.add_subplot()
    positive = readings.truth == 1
    falsely, rightly, _ = roc_curve(positive, readings.probability)
    area = area_under_roc(positive, readings.probability)
    axes.plot(falsely, rightly, color=COLOURS[0], label=f"model, AUROC {area:.3f}")
    points = {"model as used": readings.model, **readings.readers, CONSENSUS: consensus(readings)}
    marks = "*ov^s<>DPX"
    for number, (name, said) in enumerate(points.items()):
        table = counts_per_group(readings, said, said != UNKNOWN).sum(axis=0)
        with np.errstate(invalid="ignore"):
            place = (1 - label_recall(table)[0], label_recall(table)[1])
        colour = COLOURS[0] if number == 0 else COLOURS[1 + (number - 1) % (len(COLOURS) - 1)]
        axes.plot(*place, marks[number % len(marks)], color=colour, markersize=8, label=name)
    axes.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1, label="no skill")
    unit_square(axes, "1 - specificity", "sensitivity")
    legend_beside(plot, f"{readings.labels[1]} against {readings.labels[0]}", "")
    return plot


def _section(readings: Readings, found: Study) -> Section:
    counts = np.bincount(readings.truth, minlength=len(readings.labels))
    shares = ", ".join(
        f"{label} {share:.1%}" for label, share in zip(readings.labels, counts / counts.sum(), strict=True)
    )
    lead = (
        f"{len(readings.cases)} cases in {len(np.unique(readings.groups))} groups, {len(readings.readers)} readers. "
        f"Prevalence: {shares}. Always saying {readings.labels[int(counts.argmax())]!r} would be right in "
        f"{counts.max() / counts.sum():.1%}. Agreement among the readers on the {found.complete} cases that all of "
        f"them read: Fleiss' kappa {found.fleiss:.3f}, Gwet's AC1 {found.gwet:.3f}. Differences are paired, "
        f"intervals hold 95 % of {RESAMPLES} resamples of groups, p is two-sided and Holm's correction goes over "
        "the readers. "
        "A tie of votes goes to the most senior reader among those tied. Filled points: p below 0.05, of readers "
        "after the correction."
    )
    rows = tuple(
        (each.reader, each.measure, each.cases, each.model, each.human, each.difference, each.p, each.p_holm)
        for each in found.comparisons
    )
    columns = ("reader", "measure", "cases", "model", "human", "model minus human", "p", "p (Holm)")
    votes = consensus(readings)
    said = [readings.model, *readings.readers.values(), votes]
    cases = tuple(
        (
            case,
            int(readings.groups[number]),
            readings.labels[readings.truth[number]],
            *(readings.labels[each[number]] if each[number] != UNKNOWN else "" for each in said),
        )
        for number, case in enumerate(readings.cases)
    )
    drawn = [
        Illustration("differences", "Model minus reader", png(differences_plot(found.comparisons)), True)
    ]
    if readings.probability is not None:
        drawn.append(Illustration("roc_readers", "ROC and readers", png(readers_roc(readings))))
    tables = (
        Table("readers", "Model and readers", columns, rows),
        Table("cases", "Cases", ("case", "group", "truth", "model", *readings.readers, CONSENSUS), cases, False),
    )  # fmt: skip
    return Section("Readers", lead, tables, tuple(drawn))
