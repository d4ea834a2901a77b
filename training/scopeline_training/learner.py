"""Learner: a network of the zoo as Lightning fits it: one loss per output, scores, optimiser and schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from scopeline_training.dual_network import FUSED, DualNetwork
from scopeline_training.examples import UNKNOWN
from scopeline_training.experiment import FittingPlan
from scopeline_training.network_plan import HeadPlan
from scopeline_training.picture_set import Batch
from scopeline_training.question_loss import question_loss
from scopeline_training.schedules import Constant, Cosine, Plateau, Schedule, WarmRestarts, rate_at
from scopeline_training.shim import make_torchvision_importable
from scopeline_training.trainable_network import TrainableNetwork

make_torchvision_importable()
from lightning.pytorch import LightningModule  # noqa: E402
from torchmetrics import Metric  # noqa: E402
from torchmetrics.classification import (  # noqa: E402
    BinaryF1Score,
    MulticlassAccuracy,
)

AnyNetwork = TrainableNetwork | DualNetwork
Part = Literal["train", "val"]
CHECKPOINT_KEY = "scopeline"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint came from; every checkpoint carries it under `scopeline`."""

    data_sha256: str
    recipe_sha256: str
    code_sha256: str
    seed: int


class PhasePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One phase of a fit."""

    name: str
    epochs: int
    rate: float
    patience: int | None
    schedule: Schedule = msgspec.field(default_factory=Constant)


class Learner(LightningModule):
    """A network while it learns.

    Args:
        network: What learns.
        heads: Its questions.
        class_weights: Head -> (K,) weight of each true label.
        plan: Optimiser and decay.
        phase: Rate and schedule.
        steps: Batches per epoch.
        identity: Goes into every checkpoint.
    """

    def __init__(
        self, network: AnyNetwork, heads: Sequence[HeadPlan], class_weights: Mapping[str, Tensor], *,
        plan: FittingPlan, phase: PhasePlan, steps: int, identity: Identity,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = network
        self.plan, self.phase, self.steps, self.identity = plan, phase, steps, identity
        self.questions = {head.name: head for head in heads}
        for name, weights in class_weights.items():
            self.register_buffer(f"weights_{name}", weights, persistent=False)
        self.scores = nn.ModuleDict({
            f"{part}_{output}": _score(self.questions[head])
            for part in ("train", "val") for output, head in self._scored
        })  # fmt: skip

    @property
    def _scored(self) -> list[tuple[str, str]]:
        """(output, head) of the outputs whose scores are watched: a dual network's fused answer, every other's all."""
        if isinstance(self.network, DualNetwork):
            return [(FUSED, self.network.head)]
        return [(each.name, each.head) for each in self.network.outputs if not each.while_training]

    def forward(self, *pictures: Tensor) -> dict[str, Tensor]:
        logits: dict[str, Tensor] = self.network(*pictures)
        return logits

    def training_step(self, batch: Batch, _number: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, _number: int) -> None:
        self._step(batch, "val")

    def configure_optimizers(self) -> Any:
        groups = [
            {**group, "params": [each for each in group["params"] if each.requires_grad]}
            for group in self.network.parameter_groups(self.plan.weight_decay)
        ]
        optimiser = _optimiser(self.plan, [group for group in groups if group["params"]], self.phase.rate)
        schedule = self.phase.schedule
        if isinstance(schedule, Constant):
            return optimiser
        if isinstance(schedule, Plateau):
            on_plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimiser, factor=schedule.factor, patience=schedule.patience, min_lr=schedule.floor
            )
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": on_plateau, "monitor": "val_loss"}}
        moving = torch.optim.lr_scheduler.LambdaLR(optimiser, _factor(schedule, self.phase, self.steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": moving, "interval": schedule.per}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[CHECKPOINT_KEY] = msgspec.to_builtins(self.identity)

    def _step(self, batch: Batch, part: Part) -> Tensor:
        logits = self(*batch.pictures)
        size = len(batch.pictures[0])
        losses = []
        for output in self.network.outputs:
            if output.name not in logits:
                continue
            head = self.questions[output.head]
            loss = question_loss(
                head, logits[output.name], batch.targets[head.name], class_weights=self._weights(head)
            )
            losses.append(output.weight * head.weight * loss)
            if len(self.network.outputs) > 1:
                self._note(f"{part}_loss of {output.name}", loss, size)
        whole = torch.stack(losses).sum()
        self._note(f"{part}_loss", whole, size)
        for name, head_name in self._scored:
            self._watch(
                part, name, self.questions[head_name], logits[name].detach(), batch.targets[head_name]
            )
        return whole

    def _watch(self, part: Part, output: str, head: HeadPlan, logits: Tensor, targets: Tensor) -> None:
        score = self.scores[f"{part}_{output}"]
        assert isinstance(score, Metric)
        if head.role == "mask":
            score.update(logits[:, 0], targets)
            measure = "Dice of pixels"
        else:
            score.update(logits, targets)
            measure = "balanced accuracy"
        self.log(f"{part}_{measure} of {output}", score, on_step=False, on_epoch=True)

    def _weights(self, head: HeadPlan) -> Tensor:
        if head.role == "mask":
            return torch.ones(2, device=self.device)
        return self.get_buffer(f"weights_{head.name}")

    def _note(self, name: str, value: Tensor, size: int) -> None:
        self.log(
            name, value, on_step=False, on_epoch=True, batch_size=size, sync_dist=self.trainer.world_size > 1
        )


def class_weights(head: HeadPlan, counts: Tensor) -> Tensor:
    """(K,) weight of each label: its count to minus `head.balance`, mean 1."""
    weights = counts.clamp(min=1).float() ** -head.balance
    return weights / weights.mean()


def _factor(schedule: Cosine | WarmRestarts, phase: PhasePlan, steps: int) -> Callable[[int], float]:
    """Epochs or steps done -> factor of the rate. A closure, which a checkpoint leaves out; an object it would keep."""
    total = phase.epochs * (steps if schedule.per == "step" else 1)
    return lambda position: rate_at(schedule, position, top=phase.rate, total=total) / phase.rate


def _optimiser(plan: FittingPlan, groups: list[dict[str, Any]], rate: float) -> torch.optim.Optimizer:
    if plan.optimiser == "adam":
        return torch.optim.Adam(groups, lr=rate)
    if plan.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=rate)
    return torch.optim.SGD(groups, lr=rate, momentum=0.9)


def _score(head: HeadPlan) -> Metric:
    if head.role == "mask":
        return BinaryF1Score(ignore_index=UNKNOWN)
    return MulticlassAccuracy(len(head.labels), average="macro", ignore_index=UNKNOWN)
