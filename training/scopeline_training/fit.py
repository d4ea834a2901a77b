"""Fit: one plain loop over epochs and batches, several heads at once, missing labels allowed.

Read it from top to bottom; it has no hooks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scopeline.degrade import FAMILIES, harmless
from scopeline.picture import Pixels
from scopeline_training.augment import spoil_some, vary
from scopeline_training.examples import UNKNOWN, Examples
from scopeline_training.losses import head_loss
from scopeline_training.network import STAGES, Network
from scopeline_training.recipe import FitPlan, HeadPlan

Report = Callable[[int, float], object]
"""Called after each epoch with its number from 1 and the mean loss."""


def seed_everything(seed: int) -> None:
    """One seed for every source of chance."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)


def fit(
    examples: Examples,
    heads: Sequence[HeadPlan],
    plan: FitPlan,
    *,
    seed: int,
    families: tuple[str, ...] = FAMILIES,
    stages: Sequence[tuple[int, int]] = STAGES,
    report: Report = lambda epoch, loss: None,
) -> Network:
    """A network fitted to the examples: the running average of its weights, in evaluation mode.

    Args:
        examples: What to learn from; targets of heads that are not asked for are ignored.
        heads: The questions.
        plan: Epochs, rates, how much is spoilt.
        seed: Fixes weights, order, augmentation and degradations.
        families: Degradations that are planted.
        stages: The backbone, see `scopeline_training.network`.
        report: Hears of every epoch.
    """
    seed_everything(seed)
    rng = np.random.default_rng(seed)
    judging = [head.name for head in heads if head.role == "quality"]
    network = Network({head.name: len(head.labels) for head in heads}, stages, judging=judging)
    if network.oddness is not None:
        network.oddness.learn(_good(examples, rng))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    ema = get_ema_multi_avg_fn(plan.ema_decay)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=ema, use_buffers=True)
    weights = {head.name: _class_weights(examples, head) for head in heads}
    steps_per_epoch = max(1, len(examples) // plan.batch)
    optimiser = torch.optim.AdamW(_parameter_groups(network, plan.weight_decay), lr=plan.peak_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.peak_rate, total_steps=plan.epochs * steps_per_epoch, pct_start=0.2
    )
    for epoch in range(plan.epochs):
        network.train()
        total = 0.0
        order = rng.permutation(len(examples))[: steps_per_epoch * plan.batch]
        for numbers in np.array_split(order, steps_per_epoch):
            pixels, targets = _batch(examples, numbers, heads, rng, plan, families)
            logits = network(pixels)
            loss = torch.stack([
                head.weight * head_loss(
                    logits[head.name], _as_often(targets[head.name], logits[head.name]),
                    class_weights=weights[head.name], ordinal_power=head.ordinal_power,
                )
                for head in heads
            ]).sum()  # fmt: skip
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            average.update_parameters(network)
            total += loss.item()
        report(epoch + 1, total / steps_per_epoch)
    fitted = average.module
    assert isinstance(fitted, Network)
    return fitted.eval()


def predict(network: Network, pixels: Pixels, batch: int = 64) -> dict[str, NDArray[np.float32]]:
    """Logits per head, (N, K) float32."""
    network.eval()
    parts: list[dict[str, Tensor]] = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch):
            parts.append(network(torch.from_numpy(pixels[start : start + batch])))
    return {head: torch.cat([part[head] for part in parts]).numpy() for head in parts[0]}


def _good(examples: Examples, rng: np.random.Generator) -> Tensor:
    """(3N, 3, H, W) uint8: the good pictures, as they are and twice with the variation that does no harm."""
    good = examples.pixels[examples.targets["quality"] == 1]
    varied = [vary(torch.from_numpy(np.stack([harmless(each, rng) for each in good])), rng) for _ in range(2)]
    return torch.cat([torch.from_numpy(good), *varied]).permute(0, 3, 1, 2)


def _batch(
    examples: Examples,
    numbers: NDArray[np.int64],
    heads: Sequence[HeadPlan],
    rng: np.random.Generator,
    plan: FitPlan,
    families: tuple[str, ...],
) -> tuple[Tensor, dict[str, Tensor]]:
    pixels = examples.pixels[numbers]  # a copy, so that it may be spoilt in place
    targets = {
        name: torch.from_numpy(each[numbers])
        for name, each in examples.targets.items()
        if any(name == head.name for head in heads)
    }
    if "quality" in targets:
        spoil_some(
            pixels, targets, rng,
            share=plan.spoilt_share, families=families, outlier_share=plan.outlier_share,
        )  # fmt: skip
    return vary(torch.from_numpy(pixels), rng), targets


def _as_often(targets: Tensor, logits: Tensor) -> Tensor:
    """The targets once per answer: a judging head answers several times about each picture while it is trained."""
    return targets.repeat(len(logits) // len(targets))


def _class_weights(examples: Examples, head: HeadPlan) -> Tensor:
    """Weight of each class by its rarity, mean 1. Quality is balanced by what is spoilt on the fly."""
    targets = examples.targets[head.name]
    counts = np.bincount(targets[targets != UNKNOWN], minlength=len(head.labels))
    power = 0.0 if head.role == "quality" else head.balance
    weights = np.maximum(counts, 1.0) ** -power
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def _parameter_groups(network: Network, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay on filters only, not on biases and batch norms."""
    decayed = [each for each in network.parameters() if each.ndim > 1]
    free = [each for each in network.parameters() if each.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
