"""Fit: one network for several heads at once, missing labels allowed, bad frames made on the fly.

Runs on Lightning, as every fit here does. It differs from `scopeline_training.fitting` in what it is for: networks of a
few minutes whose bad pictures are drawn anew for every batch, fitted for a fixed number of epochs, of which the running
average of the weights is kept. There is no validation part, so nothing stops early and no epoch is chosen.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from scopeline.degrade import FAMILIES, harmless
from scopeline.picture import Pixels
from scopeline_training.augment import spoil_some, vary
from scopeline_training.examples import UNKNOWN, Examples
from scopeline_training.losses import head_loss
from scopeline_training.network import STAGES, Network
from scopeline_training.quiet_lightning import quiet_lightning
from scopeline_training.recipe import FitPlan, HeadPlan
from scopeline_training.seeding import seed_everything
from scopeline_training.shim import make_torchvision_importable

make_torchvision_importable()
from lightning.fabric.plugins.environments.lightning import LightningEnvironment  # noqa: E402
from lightning.pytorch import Callback, LightningModule, Trainer  # noqa: E402
from lightning.pytorch.callbacks import WeightAveraging  # noqa: E402

Report = Callable[[int, float], object]
"""Called after each epoch with its number from 1 and the mean loss."""
DrawnBatch = tuple[Tensor, dict[str, Tensor]]
"""(N, H, W, 3) uint8 pictures, and per head their (N,) int64 targets."""


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
        examples: What to learn from, (N, H, W, 3) uint8; targets of heads that are not asked for are ignored.
        heads: The questions.
        plan: Epochs, rates, how much is spoilt.
        seed: Fixes weights, order, augmentation and degradations.
        families: Degradations that are planted.
        stages: The backbone, see `scopeline_training.network`.
        report: Hears of every epoch.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C; nothing of the fit is kept.
        SystemExit: with 143, at SIGTERM.
    """
    seed_everything(seed)
    rng = np.random.default_rng(seed)
    judging = [head.name for head in heads if head.role == "quality"]
    network = Network({head.name: len(head.labels) for head in heads}, stages, judging=judging)
    if network.oddness is not None:
        network.oddness.learn(_good(examples, rng))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    weights = {head.name: _class_weights(examples, head) for head in heads}
    batches = _Batches(examples, heads, plan, families, rng)
    _learn(_Learner(network, heads, weights, plan, steps=plan.epochs * len(batches)), batches, plan, report)
    network.zero_grad(set_to_none=True)
    del batches
    gc.collect()  # trainer and learner hold each other, and with them the pictures of this fold beside the next one's
    return network.eval()


def _learn(learner: _Learner, batches: _Batches, plan: FitPlan, report: Report) -> None:
    """Leaves the running average of the weights in the learner's network."""
    average = WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(plan.ema_decay))  # type: ignore[no-untyped-call]
    with quiet_lightning():
        trainer = Trainer(
            # On the CPU everywhere: it takes minutes, and gives the same weights on machines with and without a GPU.
            accelerator="cpu", devices=1, max_epochs=plan.epochs, deterministic=True,
            callbacks=[average, _LossReport(report)], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
            plugins=[LightningEnvironment()],  # one process, also as a task of a cluster that starts several
        )  # fmt: skip
        trainer.fit(learner, batches)


class _Learner(LightningModule):
    """The network while it learns: the weighted sum of its heads' losses, AdamW, one cycle of the rate (Smith 2018)."""

    def __init__(
        self, network: Network, heads: Sequence[HeadPlan], class_weights: dict[str, Tensor], plan: FitPlan, *,
        steps: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.heads, self.plan, self.steps = network, heads, plan, steps
        self.class_weights = class_weights

    def training_step(self, batch: DrawnBatch, _number: int) -> Tensor:
        pixels, targets = batch
        logits = self.network(pixels)
        return torch.stack([
            head.weight * head_loss(
                logits[head.name], _as_often(targets[head.name], logits[head.name]),
                class_weights=self.class_weights[head.name], ordinal_power=head.ordinal_power,
            )
            for head in self.heads
        ]).sum()  # fmt: skip

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(
            _parameter_groups(self.network, self.plan.weight_decay), lr=self.plan.peak_rate
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self.plan.peak_rate, total_steps=self.steps, pct_start=0.2
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Batches:
    """The batches of an epoch, drawn anew whenever they are asked for; what does not fill the last one is left out."""

    def __init__(
        self, examples: Examples, heads: Sequence[HeadPlan], plan: FitPlan, families: tuple[str, ...],
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.examples, self.heads, self.plan, self.families, self.rng = examples, heads, plan, families, rng

    def __len__(self) -> int:
        return max(1, len(self.examples) // self.plan.batch)

    def __iter__(self) -> Iterator[DrawnBatch]:
        order = self.rng.permutation(len(self.examples))[: len(self) * self.plan.batch]
        for numbers in np.array_split(order, len(self)):
            yield _batch(self.examples, numbers, self.heads, self.rng, self.plan, self.families)


class _LossReport(Callback):
    """Tells the mean loss of every epoch."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(outputs["loss"]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.report(trainer.current_epoch + 1, sum(self.losses) / len(self.losses))
        self.losses.clear()


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
