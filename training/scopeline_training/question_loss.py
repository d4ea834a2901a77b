"""Question loss: the loss of one output of a network, as its head's plan asks; what is not labelled counts nothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from scopeline_training.examples import UNKNOWN
from scopeline_training.mask_losses import pixel_and_dice_loss, pixel_loss
from scopeline_training.network_plan import HeadPlan
from scopeline_training.ordinal import class_distance_loss, score_loss


def question_loss(head: HeadPlan, logits: Tensor, targets: Tensor, *, class_weights: Tensor) -> Tensor:
    """Mean loss over the labelled pictures, weighted by their class; 0 when there are none.

    Args:
        head: Says which loss.
        logits: (N, K), or (N, 1, H, W) of a mask.
        targets: (N,) label numbers, or (N, H, W) of 0 and 1; UNKNOWN where unlabelled, for a mask in all pixels.
        class_weights: (K,) weight of each true label; not used for a mask.
    """
    known = (targets.flatten(1)[:, 0] if targets.ndim > 1 else targets) != UNKNOWN
    if not bool(known.any()):
        return logits.sum() * 0.0
    # Under mixed precision logits may be half: 2^-11 of a logit of 20 is a hundredth, and sums over pixels overflow.
    logits = logits[known].to(torch.promote_types(logits.dtype, torch.float32))
    targets = targets[known]
    losses = _losses(head, logits, targets)
    if head.role == "mask":
        return losses.mean()
    weights = class_weights[targets]
    return (losses * weights).sum() / weights.sum()


def _losses(head: HeadPlan, logits: Tensor, targets: Tensor) -> Tensor:
    if head.loss == "bce":
        return pixel_loss(logits, targets)
    if head.loss == "bce_dice":
        return pixel_and_dice_loss(logits, targets)
    if head.loss == "cdw_ce":
        return class_distance_loss(logits, targets, power=head.distance_power)
    if head.loss == "regression":
        return score_loss(logits, targets)
    return cross_entropy(logits, targets, reduction="none")  # of a `ContinuationAnswer` this is CORN
