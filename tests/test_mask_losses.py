"""Mask losses: equal to their formulas in float64, on what is labelled only."""

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs scopeline[training]")

import torch
from torch import Tensor

from scopeline_training.examples import UNKNOWN
from scopeline_training.mask_losses import SMOOTH_PX, dice_loss, pixel_and_dice_loss, pixel_loss
from scopeline_training.network_plan import HeadPlan
from scopeline_training.question_loss import question_loss

POLYP = HeadPlan(name="polyp", role="mask", labels=("background", "polyp"), loss="bce_dice")


def pair(seed: int) -> tuple[Tensor, Tensor]:
    """(3, 1, 5, 7) float64 logits and (3, 5, 7) masks."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0, 2, (3, 1, 5, 7))), torch.from_numpy(rng.integers(0, 2, (3, 5, 7)))


def test_pixel_loss_is_binary_cross_entropy() -> None:
    logits, masks = pair(0)
    wanted = []
    for picture, mask in zip(logits.numpy()[:, 0], masks.numpy(), strict=True):
        p = 1 / (1 + np.exp(-picture))
        wanted.append(-np.mean(mask * np.log(p) + (1 - mask) * np.log(1 - p)))
    np.testing.assert_allclose(pixel_loss(logits, masks).numpy(), wanted, rtol=1e-12)


def test_dice_loss_is_one_minus_twice_the_shared_over_the_sum() -> None:
    logits, masks = pair(1)
    wanted = []
    for picture, mask in zip(logits.numpy()[:, 0], masks.numpy(), strict=True):
        p = 1 / (1 + np.exp(-picture))
        wanted.append(1 - (2 * (p * mask).sum() + SMOOTH_PX) / (p.sum() + mask.sum() + SMOOTH_PX))
    np.testing.assert_allclose(dice_loss(logits, masks).numpy(), wanted, rtol=1e-12)


def test_a_perfect_mask_costs_nothing_even_where_there_is_no_lesion() -> None:
    masks = torch.zeros(2, 8, 8)
    masks[0, 2:5, 3:6] = 1
    logits = 60.0 * (masks - 0.5)[:, None]
    assert pixel_and_dice_loss(logits, masks).abs().max().item() < 1e-5


def test_a_missed_lesion_costs_more_than_nothing_missed_however_small_it_is() -> None:
    masks = torch.zeros(1, 64, 64)
    masks[0, :6, :6] = 1
    nothing = torch.full((1, 1, 64, 64), -12.0)
    assert pixel_loss(nothing, masks).item() < 0.2
    assert dice_loss(nothing, masks).item() > 0.95


def test_a_picture_without_a_mask_counts_nothing() -> None:
    logits, masks = pair(2)
    masks[1] = UNKNOWN
    found = question_loss(POLYP, logits, masks, class_weights=torch.ones(2))
    wanted = pixel_and_dice_loss(logits[[0, 2]], masks[[0, 2]]).mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)


def test_half_precision_logits_of_a_large_mask_do_not_overflow() -> None:
    masks = torch.ones(1, 300, 300)  # 90 000 pixels; the largest half is 65 504
    logits = torch.full((1, 1, 300, 300), 8.0).half()
    found = question_loss(POLYP, logits, masks, class_weights=torch.ones(2))
    assert found.item() == pytest.approx(math.log1p(math.exp(-8)) + 0.5 / (1 + math.exp(8)), rel=1e-2)


def test_gradients_are_finite_far_out() -> None:
    logits = torch.tensor([[[[1000.0, -1000.0]]]], requires_grad=True)
    loss = pixel_and_dice_loss(logits, torch.tensor([[[0, 1]]])).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(loss.item())
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
