"""Plots: training curves, confusion, ROC, precision-recall, calibration, each from answers alone.

Each function returns a plot that `plot_style.png` writes; labels that do not occur have no curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from scopeline_training.answers import Answers
from scopeline_training.areas import area_under_roc, average_precision
from scopeline_training.plot_style import (
    COLOURS,
    INK,
    QUIET,
    legend_beside,
    line_looks,
    new_plot,
    styled,
    unit_square,
)
from scopeline_training.scores import calibration_bins, confusion_counts

MOST_PAIRS = 15
"""Curves in one picture that an eye can still follow; of more pairs the worst are shown."""
_SHADE = LinearSegmentedColormap.from_list("shade", ["#FFFFFF", "#BBD7EA", COLOURS[0]])


@styled
def training_curves(history: Mapping[str, Sequence[float]]) -> Plot:
    """One panel per quantity over the epochs, train and val together.

    Args:
        history: One value per epoch under names as `train_loss`, `val_loss`, `val_accuracy`; NaN where nothing was
            measured. What stands before the first underscore is the line, the rest is the panel.
    """
    panels: dict[str, dict[str, Sequence[float]]] = {}
    for name, values in history.items():
        part, _, quantity = name.partition("_")
        known = part in ("train", "val", "test") and quantity
        panels.setdefault(quantity if known else name, {})[part if known else ""] = values
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    plot = new_plot(3.4 * columns, 2.7 * rows)
    best = _best_epoch(history)
    for number, (quantity, lines) in enumerate(panels.items(), start=1):
        axes = plot.add_subplot(rows, columns, number)
        _draw_panel(axes, quantity.replace("_", " "), lines, best)
    return plot


@styled
def confusion_matrix(answers: Answers) -> Plot:
    """Counts with the share of their true label; the shade is the share, so that rare labels are seen, too."""
    counts = confusion_counts(answers)
    size = len(answers.labels)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    longest = max(map(len, answers.labels))
    plot = new_plot(1.4 + 0.07 * longest + 0.95 * size, 1.3 + 0.04 * longest + 0.75 * size)
    axes = plot.add_subplot()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.imshow(shares, cmap=_SHADE, vmin=0, vmax=1)
    for (true, said), count in np.ndenumerate(counts):
        ink = "white" if shares[true, said] > 0.6 else INK
        text = f"{count}\n{shares[true, said]:.0%}" if size <= 10 else f"{count or ''}"
        axes.text(said, true, text, ha="center", va="center", color=ink, fontsize=9 if size <= 6 else 7)
    axes.set_xticks(range(size), answers.labels)
    if longest > 10:
        axes.tick_params(axis="x", labelrotation=35)
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    totals = [f"{name}  (n={total})" for name, total in zip(answers.labels, counts.sum(axis=1), strict=True)]
    axes.set_yticks(range(size), totals)
    axes.tick_params(length=0)
    axes.set(xlabel="said", ylabel="true", title=_title(answers, "confusion"))
    return plot


@styled
def roc_one_vs_rest(answers: Answers) -> Plot:
    """One ROC curve per label; of two labels the second one's only, as the other is its mirror."""
    plot = _curve_plot(answers)
    axes = plot.add_subplot()
    looks = line_looks()
    for label in _curve_labels(answers):
        positive, scores = answers.truth == label, answers.probabilities[:, label]
        name = f"{answers.labels[label]} ({answers.prevalence[label]:.0%})"
        _draw_roc(axes, positive, scores, name, next(looks))
    _finish_roc(plot, axes, _title(answers, "ROC, one against the rest"), "label (prevalence)")
    return plot


@styled
def roc_one_vs_one(answers: Answers) -> Plot:
    """One ROC curve per pair of labels, on the pictures of those two, by their relative probability.

    Of more pairs than can be told apart those with the smallest areas are shown.
    """
    curves = sorted(_pairs(answers), key=lambda curve: curve[0])
    left_out = max(0, len(curves) - MOST_PAIRS)
    plot = _curve_plot(answers, 2)
    axes = plot.add_subplot()
    looks = line_looks()
    for _, name, positive, scores in curves[:MOST_PAIRS]:
        _draw_roc(axes, positive, scores, name, next(looks))
    heading = f"pair ({left_out} better: not shown)" if left_out else "pair"
    _finish_roc(plot, axes, _title(answers, "ROC, one against one"), heading)
    return plot


@styled
def precision_recall(answers: Answers) -> Plot:
    """One precision-recall curve per label with what no skill would give, its prevalence, as a dotted line."""
    plot = _curve_plot(answers)
    axes = plot.add_subplot()
    looks = line_looks()
    for label in _curve_labels(answers):
        positive, scores = answers.truth == label, answers.probabilities[:, label]
        colour, pattern = next(looks)
        precision, recall, _ = precision_recall_curve(positive, scores)
        area, without = average_precision(positive, scores), float(positive.mean())
        axes.step(
            recall, precision, where="post", color=colour, linestyle=pattern,
            label=f"{answers.labels[label]}  {area:.3f} (no skill {without:.3f})",
        )  # fmt: skip
        axes.axhline(without, color=colour, linestyle=":", linewidth=1)
    unit_square(axes, "recall", "precision")
    legend_beside(plot, _title(answers, "precision and recall"), "label  AUPRC")
    return plot


@styled
def calibration(answers: Answers) -> Plot:
    """How often answers of a confidence are right, in bins of equal mass, and how confidences are spread."""
    bins = calibration_bins(answers)
    plot = new_plot(4.2, 4.9)
    upper, lower = plot.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1, label="says what it knows")
    upper.plot(
        [each.confidence for each in bins], [each.right for each in bins],
        color=COLOURS[0], marker="o", markersize=4, label=f"{len(bins)} bins of about {len(answers) // len(bins)}",
    )  # fmt: skip
    gap = sum(each.count * abs(each.right - each.confidence) for each in bins) / len(answers)
    upper.set(ylim=(-0.01, 1.01), ylabel="share that is right")
    upper.set_title(_title(answers, f"calibration, ECE {gap:.3f}"))
    upper.legend(loc="upper left")
    lower.hist(answers.probabilities.max(axis=1), bins=40, range=(0, 1), color=COLOURS[0], alpha=0.8)
    lower.set(xlim=(-0.01, 1.01), xlabel="probability of what is said", ylabel="pictures")
    lower.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    return plot


def _draw_panel(axes: Axes, quantity: str, lines: Mapping[str, Sequence[float]], best: int | None) -> None:
    colours = {"train": COLOURS[0], "val": COLOURS[1], "test": COLOURS[2], "": COLOURS[0]}
    for part, values in lines.items():
        epochs = np.arange(1, len(values) + 1)
        seen = ~np.isnan(np.asarray(values, np.float64))
        axes.plot(
            epochs[seen], np.asarray(values)[seen], color=colours[part], label=part,
            marker="o" if seen.sum() < 15 else "", markersize=3,
        )  # fmt: skip
    if best is not None:
        axes.axvline(best, color=QUIET, linestyle=":", linewidth=1, label=f"lowest val loss ({best})")
    axes.set(xlabel="epoch", title=quantity)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if "" not in lines:
        axes.legend()


def _best_epoch(history: Mapping[str, Sequence[float]]) -> int | None:
    losses = np.asarray(history.get("val_loss", ()), np.float64)
    return int(np.nanargmin(losses)) + 1 if np.isfinite(losses).any() else None


def _curve_labels(answers: Answers) -> list[int]:
    """Labels that get a curve of their own."""
    occur = [int(label) for label in np.flatnonzero((answers.counts > 0) & (answers.counts < len(answers)))]
    return occur[1:] if len(answers.labels) == 2 else occur


def _pairs(answers: Answers) -> list[tuple[float, str, NDArray[np.bool_], NDArray[np.float64]]]:
    """Area, name, what is positive and scores of each pair of labels that occur."""
    found = []
    for first, second in combinations(np.flatnonzero(answers.counts).tolist(), 2):
        either = (answers.truth == first) | (answers.truth == second)
        both = answers.probabilities[either][:, [first, second]]
        scores = both[:, 0] / np.maximum(both.sum(axis=1), 1e-300)
        positive = answers.truth[either] == first
        name = f"{answers.labels[first]} - {answers.labels[second]}"
        found.append((area_under_roc(positive, scores), name, positive, scores))
    return found


def _draw_roc(
    axes: Axes, positive: NDArray[np.bool_], scores: NDArray[np.float64], name: str, look: tuple[str, str]
) -> None:
    falsely, rightly, _ = roc_curve(positive, scores)
    area = area_under_roc(positive, scores)
    axes.plot(falsely, rightly, color=look[0], linestyle=look[1], label=f"{name}  {area:.3f}")


def _finish_roc(plot: Plot, axes: Axes, title: str, heading: str) -> None:
    axes.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1, label="no skill  0.500")
    unit_square(axes, "1 - specificity", "sensitivity")
    legend_beside(plot, title, f"{heading}  AUROC")


def _curve_plot(answers: Answers, names: int = 1) -> Plot:
    """A plot with room for curves and, beside them, for a legend that has that many labels in a line."""
    return new_plot(6.0 + 0.06 * names * max(map(len, answers.labels)), 4.3)


def _title(answers: Answers, what: str) -> str:
    return f"{answers.head}, {answers.split}: {what}"
