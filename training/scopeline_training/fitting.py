"""Fitting: one network, one training part, one validation part: phases, early stopping, the best weights kept.

Runs on Lightning, so that devices, nodes, strategies and precisions are the library's. A folder holds all there is of a
fit: per phase `best.ckpt`, `last.ckpt`, `metrics.csv` and, once it is over, `done.json`. A fit that was interrupted
goes on from there and ends with the same weights.

Batch norms: while the backbone is frozen its batch norms keep the mean and variance they have; layers that learn use
the statistics of their batch (`scopeline_training.freezing`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from scopeline.errors import ConfigError
from scopeline_training.experiment import FittingPlan, TrackPlan
from scopeline_training.fit_callbacks import Advance, Bar, History, Reseed
from scopeline_training.learner import (
    CHECKPOINT_KEY,
    AnyNetwork,
    Identity,
    Learner,
    PhasePlan,
    class_weights,
)
from scopeline_training.network_plan import HeadPlan
from scopeline_training.picture_set import PictureSet, listed_batches, shuffled_batches
from scopeline_training.quiet_lightning import quiet_lightning
from scopeline_training.shim import make_torchvision_importable

make_torchvision_importable()
from lightning.pytorch import Callback, Trainer  # noqa: E402
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint  # noqa: E402
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger  # noqa: E402

FROZEN, ALL = "frozen", "all"
Say = Callable[[str], object]
"""Hears a line for people."""


class PhaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a phase came to."""

    name: str
    epochs: int
    """Run."""
    best_epoch: int
    """From 1: whose weights are kept."""
    best_loss: float
    """Validation loss of that epoch."""
    learning: int
    """Parameters that learnt."""
    history: dict[str, list[float | None]]
    """One value per epoch; None where an epoch has none."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """A fitted network, in evaluation mode, with the weights of its best epoch."""

    network: AnyNetwork
    checkpoint: Path
    phases: tuple[PhaseRecord, ...]

    @property
    def history(self) -> dict[str, list[float]]:
        """One value per epoch over all phases, NaN where an epoch has none."""
        names = dict.fromkeys(name for phase in self.phases for name in phase.history)
        return {
            name: [
                math.nan if value is None else value
                for phase in self.phases
                for value in phase.history.get(name, [None] * phase.epochs)
            ]
            for name in names
        }


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who hears of a fit."""

    advance: Advance = lambda _count, _words: None
    say: Say = lambda _line: None
    track: TrackPlan = field(default_factory=TrackPlan)


def fit_network(
    network: AnyNetwork, train: PictureSet, val: PictureSet, plan: FittingPlan, heads: Sequence[HeadPlan], *,
    folder: Path, identity: Identity, resume: bool = False, watchers: Watchers | None = None,
) -> FitResult:  # fmt: skip
    """Fits a network, in as many phases as the plan has.

    Args:
        network: Fresh from the zoo, or with weights to go on from; it is changed.
        train: What it learns from.
        val: What decides which epoch is best, when to stop, and when a plateau's rate falls.
        plan: Phases, rates, batch, devices.
        heads: The questions.
        folder: For checkpoints and tables.
        identity: What is written into every checkpoint; its seed fixes order, augmentation and dropout.
        resume: Go on with what an interrupted fit left in `folder`.
        watchers: Progress bar, log, trackers.

    Raises:
        ConfigError: there is something to resume, and it came from another recipe or other data.
    """
    watchers = watchers or Watchers()
    weights = {
        head.name: class_weights(head, torch.from_numpy(train.expected_counts(head)))
        for head in heads if head.role != "mask"
    }  # fmt: skip
    records: list[PhaseRecord] = []
    best = folder
    phases = phases_of(plan)
    for number, phase in enumerate(phases, start=1):
        place = folder / f"{number}-{phase.name}"
        learning = _freeze(network, plan, phase)
        watchers.say(_announced(number, len(phases), phase, network, learning))
        best, done = place / "best.ckpt", place / "done.json"
        if resume and done.is_file():
            _check(best, identity)
            records.append(msgspec.json.decode(done.read_bytes(), type=PhaseRecord))
        else:
            run = _Phase(plan, phase, place, identity, watchers)
            records.append(run.fit(network, train, val, heads, weights, learning, resume=resume))
            done.write_bytes(msgspec.json.encode(records[-1]))
        load_weights(network, best)
    return FitResult(network.eval(), best, tuple(records))


def phases_of(plan: FittingPlan) -> list[PhasePlan]:
    """The phases of a plan, one or two."""
    last = PhasePlan(
        name=ALL, epochs=plan.epochs, rate=plan.rate, patience=plan.patience, schedule=plan.schedule
    )
    if plan.frozen is None:
        return [last]
    first = plan.frozen
    return [PhasePlan(name=FROZEN, epochs=first.epochs, rate=first.rate, patience=first.patience), last]


def load_weights(network: AnyNetwork, checkpoint: Path) -> Identity | None:
    """Puts the weights of a checkpoint of a fit into a network of the same form; says what it came from.

    Raises:
        ConfigError: it cannot be read, or belongs to a network of another form.
    """
    content = _checkpoint(checkpoint)
    prefix = "network."
    weights = {
        key.removeprefix(prefix): each
        for key, each in content["state_dict"].items()
        if key.startswith(prefix)
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(
            f"{checkpoint}: its weights are of another network than the recipe's: {str(error)[:300]}"
        ) from error
    said = content.get(CHECKPOINT_KEY)
    return msgspec.convert(said, Identity) if said else None


class _Phase:
    """One run of Lightning's trainer."""

    def __init__(
        self, plan: FittingPlan, phase: PhasePlan, folder: Path, identity: Identity, watchers: Watchers
    ) -> None:
        self.plan, self.phase, self.folder = plan, phase, folder
        self.identity, self.watchers = identity, watchers

    def fit(
        self, network: AnyNetwork, train: PictureSet, val: PictureSet, heads: Sequence[HeadPlan],
        weights: Mapping[str, Tensor], learning: int, *, resume: bool,
    ) -> PhaseRecord:  # fmt: skip
        last = self.folder / "last.ckpt"
        going_on = resume and last.is_file()
        if going_on:
            _check(last, self.identity)
        history = History()
        with quiet_lightning():
            trainer = self._trainer(history, _has_mask(heads))
            batches = shuffled_batches(
                train, self.plan.batch, epoch=lambda: trainer.current_epoch, workers=self.plan.workers
            )
            learner = Learner(
                network, heads, weights, plan=self.plan, phase=self.phase,
                steps=max(1, len(batches)), identity=self.identity,
            )  # fmt: skip
            torch.manual_seed(self.identity.seed)
            trainer.fit(
                learner, batches, listed_batches(val, self.plan.batch, workers=self.plan.workers),
                ckpt_path=str(last) if going_on else None, weights_only=True,
            )  # fmt: skip
            for logger in trainer.loggers:
                logger.finalize("success")
            if self.watchers.track.wandb != "off":
                import wandb

                wandb.teardown()  # or the next phase would go on in this one's run; it stops W&B's threads, too
        network.cpu()
        losses = [value if math.isfinite(value) else math.inf for value in history.values["val_loss"]]
        best = min(range(len(losses)), key=losses.__getitem__)
        values: dict[str, list[float | None]] = {
            name: [value if math.isfinite(value) else None for value in each]
            for name, each in history.values.items()
        }
        return PhaseRecord(
            name=self.phase.name, epochs=history.epochs, best_epoch=best + 1, best_loss=losses[best],
            learning=learning, history=values,
        )  # fmt: skip

    def _trainer(self, history: History, has_mask: bool) -> Trainer:
        plan, phase = self.plan, self.phase
        callbacks: list[Callback] = [
            Reseed(self.identity.seed),
            history,
            Bar(self.watchers.advance),
            # After the end of the epoch, or a resumed fit would skip what belongs to it; the last one also when it is
            # not the best, which ModelCheckpoint's `save_last` leaves out.
            ModelCheckpoint(
                self.folder,
                "best",
                monitor="val_loss",
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            ),
            ModelCheckpoint(self.folder, "last", save_on_train_epoch_end=True, enable_version_counter=False),
        ]
        if phase.patience is not None:
            callbacks.append(EarlyStopping("val_loss", min_delta=plan.least_gain, patience=phase.patience))
        # Scaling up a mask has no deterministic backward pass on CUDA: there it can only be asked for.
        deterministic: Any = (
            "warn" if plan.deterministic and has_mask and torch.cuda.is_available() else plan.deterministic
        )
        return Trainer(
            accelerator=plan.accelerator, devices=plan.devices, num_nodes=plan.nodes, strategy=plan.strategy,
            precision=plan.precision, max_epochs=phase.epochs, gradient_clip_val=plan.clip, deterministic=deterministic,
            callbacks=callbacks, logger=_loggers(self.folder, self.watchers.track), default_root_dir=self.folder,
            num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
        )  # fmt: skip


def _loggers(folder: Path, track: TrackPlan) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(folder.parent, name=folder.name, version="")]
    if track.tensorboard:
        loggers.append(TensorBoardLogger(folder.parent, name=folder.name, version="tensorboard"))
    if track.wandb != "off":
        loggers.append(
            WandbLogger(
                project=track.project, save_dir=folder, offline=track.wandb == "offline", log_model=False
            )
        )
    return loggers


def _freeze(network: AnyNetwork, plan: FittingPlan, phase: PhasePlan) -> int:
    """Freezes what a phase does not teach; the number of parameters that learn."""
    if phase.name == FROZEN:
        network.freeze_backbone()
    elif plan.learn_only:
        network.unfreeze_only(*plan.learn_only)
    else:
        network.unfreeze(plan.learn_from)
    return sum(each.numel() for each in network.parameters() if each.requires_grad)


def _announced(number: int, count: int, phase: PhasePlan, network: AnyNetwork, learning: int) -> str:
    every = sum(each.numel() for each in network.parameters())
    norms = (
        "batch norms of the backbone keep their statistics"
        if phase.name == FROZEN
        else "batch norms that learn use the statistics of their batch"
    )
    return (
        f"phase {number} of {count} ({phase.name}): {learning:,} of {every:,} parameters learn at rate {phase.rate:g} "
        f"for at most {phase.epochs} epochs; {norms}"
    )


def _check(checkpoint: Path, identity: Identity) -> None:
    said = msgspec.convert(_checkpoint(checkpoint)[CHECKPOINT_KEY], Identity)
    for name in ("recipe_sha256", "data_sha256", "seed"):
        if getattr(said, name) != getattr(identity, name):
            raise ConfigError(
                f"{checkpoint}: wanted to resume a fit, but its {name} differs from this run's; run it as it was "
                "begun, or start afresh in another folder (with `--continue CHECKPOINT` to start from its weights)"
            )


def _checkpoint(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever is wrong with a file, torch has an error of its own for it
        raise ConfigError(f"{path}: wanted a checkpoint of a fit, cannot read it ({error})") from error
    if "state_dict" not in content:
        raise ConfigError(f"{path}: wanted a checkpoint of a fit, got a file without `state_dict`")
    return content


def _has_mask(heads: Sequence[HeadPlan]) -> bool:
    return any(head.role == "mask" for head in heads)
