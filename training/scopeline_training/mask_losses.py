"""Mask losses: binary cross-entropy per pixel, Dice per picture, both in one."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

SMOOTH_PX = 1.0
"""Added to both sides of the Dice fraction: an empty mask that is found empty scores 1."""


def pixel_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean binary cross-entropy over the pixels of each picture, (N,).

    Args:
        logits: (N, 1, H, W).
        masks: (N, H, W) of 0 and 1, any dtype.
    """
    losses = binary_cross_entropy_with_logits(logits[:, 0], masks.to(logits.dtype), reduction="none")
    return losses.mean(dim=(1, 2))


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """1 - Dice of the probabilities of each picture, (N,) (Milletari et al. 2016, V-Net, without squares)."""
    found, wanted = logits[:, 0].sigmoid(), masks.to(logits.dtype)
    shared = (found * wanted).sum(dim=(1, 2))
    both = found.sum(dim=(1, 2)) + wanted.sum(dim=(1, 2))
    return 1 - (2 * shared + SMOOTH_PX) / (both + SMOOTH_PX)


def pixel_and_dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """`pixel_loss` + `dice_loss`, (N,): the first keeps probabilities honest, the second does not drown a small lesion
    in background."""
    return pixel_loss(logits, masks) + dice_loss(logits, masks)
