"""Fit callbacks: what watches a fit on Lightning: history, progress, and chance that follows from the epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from scopeline_training.shim import make_torchvision_importable

make_torchvision_importable()
from lightning.pytorch import Callback, LightningModule, Trainer  # noqa: E402

Advance = Callable[[int, str], object]
"""Hears of batches: how many more are done, and a few words for the end of the bar."""


class History(Callback):
    """One value per epoch of everything that is logged, NaN where an epoch has none; part of every checkpoint."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.epochs = 0
        self._rate = math.nan

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        seen["rate"] = self._rate
        for name in seen:
            self.values.setdefault(name, [math.nan] * self.epochs)
        self.epochs += 1
        for name, values in self.values.items():
            values.append(seen.get(name, math.nan))

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values, "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.values, self.epochs = state_dict["values"], state_dict["epochs"]


class Reseed(Callback):
    """Dropout follows from seed and epoch, so that a fit that was interrupted goes on as if it had not been."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if (
            batch_idx == 0
        ):  # a fit that goes on skips the start of its first epoch, but not of its first batch
            torch.manual_seed(self.seed * 100_003 + trainer.current_epoch)


class Bar(Callback):
    """Tells a progress bar of every batch."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step:  # a fit that goes on
            self.advance(trainer.global_step, f"epoch {trainer.current_epoch + 1}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = trainer.callback_metrics.get("val_loss")
        words = f"epoch {trainer.current_epoch + 1}" + (
            "" if loss is None else f", val loss {float(loss):.3f}"
        )
        self.advance(1, words)
