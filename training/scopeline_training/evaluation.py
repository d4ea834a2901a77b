"""Evaluation: a network's answers to held-out examples, as the figures that a card shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scopeline_training.card import confusion_table, figures_table
from scopeline_training.examples import UNKNOWN, Examples
from scopeline_training.figures import Figure, auroc_figure, confusion, table_figures
from scopeline_training.recipe import HeadPlan
from scopeline_training.temperature import fit_temperature, probabilities

Logits = Mapping[str, NDArray[np.float32]]


def fit_temperatures(logits: Logits, examples: Examples) -> dict[str, float]:
    """One temperature per head."""
    return {head: fit_temperature(each, examples.targets[head]) for head, each in logits.items()}


def calibration_error(said: NDArray[np.float32], truth: NDArray[np.int64], bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass, 0..1.

    Args:
        said: (N, K) probabilities.
        truth: (N,) labels.
    """
    confidence, right = said.max(axis=1), said.argmax(axis=1) == truth
    order = np.array_split(np.argsort(confidence), bins)
    gaps = [len(part) * abs(confidence[part].mean() - right[part].mean()) for part in order if len(part)]
    return float(sum(gaps) / len(confidence))


def head_figures(
    head: HeadPlan, logits: NDArray[np.float32], examples: Examples, temperature: float
) -> tuple[list[Figure], NDArray[np.float64]]:
    """All figures of one head on its labelled examples, and the confusion counts."""
    known = examples.targets[head.name] != UNKNOWN
    truth, groups = examples.targets[head.name][known], examples.groups[known]
    said = probabilities(logits[known], temperature)
    choice = said.argmax(axis=1)
    figures = table_figures(truth, choice, groups, labels=len(head.labels))
    if len(head.labels) == 2 and len(np.unique(truth)) == 2:
        figures.append(auroc_figure("AUROC", truth == 1, said[:, 1], groups))
    return figures, confusion(truth, choice, len(head.labels))


def report_heads(
    heads: Sequence[HeadPlan], logits: Logits, examples: Examples, temperatures: Mapping[str, float]
) -> str:
    """Markdown: one table of figures, then prevalence, calibration and confusion per head."""
    rows: dict[str, Sequence[Figure]] = {}
    details = []
    for head in heads:
        figures, table = head_figures(head, logits[head.name], examples, temperatures[head.name])
        rows[head.name] = figures
        truth = examples.targets[head.name]
        known = truth != UNKNOWN
        said = probabilities(logits[head.name][known], temperatures[head.name])
        shares = table.sum(axis=1) / table.sum()
        prevalence = ", ".join(
            f"{label} {share:.1%}" for label, share in zip(head.labels, shares, strict=True)
        )
        details.append(
            f"**{head.name}**: n = {known.sum()} in {len(np.unique(examples.groups[known]))} groups; prevalence "
            f"{prevalence}; always saying the commonest class would score {shares.max():.3f}; calibration error "
            f"(15 bins) {calibration_error(said, truth[known]):.3f} at temperature {temperatures[head.name]:.2f}\n\n"
            + confusion_table(table.tolist(), head.labels)
        )
    return "\n\n".join([figures_table(rows), "95 % intervals from resampling groups (1000 times).", *details])
