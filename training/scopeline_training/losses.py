"""Losses: cross-entropy for names, class-distance weighted cross-entropy for grades; unlabelled rows count nothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from scopeline_training.examples import UNKNOWN


def head_loss(
    logits: Tensor, targets: Tensor, *, class_weights: Tensor, ordinal_power: float | None
) -> Tensor:
    """Mean loss over the labelled rows, 0 when there are none.

    Args:
        logits: (N, K).
        targets: (N,) label numbers, UNKNOWN where unlabelled.
        class_weights: (K,) weight of each true class.
        ordinal_power: See `distance_loss`; cross-entropy alone if None.
    """
    known = targets != UNKNOWN
    if not bool(known.any()):
        return logits.sum() * 0.0
    logits, targets = logits[known], targets[known]
    weights = class_weights[targets]
    losses = cross_entropy(logits, targets, reduction="none")
    if ordinal_power is not None:
        # Cross-entropy beside it keeps the probabilities honest: the distance term alone never rewards the
        # true class over its neighbour by much (their distance is 1).
        losses = losses + distance_loss(logits, targets, ordinal_power)
    return (losses * weights).sum() / weights.sum()


def distance_loss(logits: Tensor, targets: Tensor, power: float) -> Tensor:
    """-sum over i of log(1 - p_i) * |i - c|^power, (N,) (CDW-CE; Polat et al. 2022, arXiv 2202.05167).

    The distances are scaled to at most 1, so that the power changes their ratio and not the step size.
    """
    labels = logits.shape[1]
    distance = (torch.arange(labels)[None, :] - targets[:, None]).abs() / (labels - 1)
    wrong = torch.log1p(-softmax(logits, dim=1).clamp(max=1 - 1e-6))
    return -(wrong * distance**power).sum(dim=1)
