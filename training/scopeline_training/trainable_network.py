"""Trainable network: one backbone, one answer per question, normalisation inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from torch import Tensor, nn
from torch.nn.functional import interpolate

from scopeline.errors import ConfigError
from scopeline_training.backbone import Backbone
from scopeline_training.freezing import Freezable
from scopeline_training.inception import AUXILIARY_WEIGHT, AuxiliaryAnswer
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.normalisation import normalisation
from scopeline_training.ordinal import ContinuationAnswer, ScoreAnswer


class ParameterGroup(TypedDict):
    """What an optimiser takes."""

    params: list[Tensor]
    weight_decay: float


ACROSS, DOWN = (2,), (1,)
"""Axes of (N, H, W, 3) that mirror images have backwards."""


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of what a network returns, and the loss it takes part in."""

    name: str
    """Its key."""
    head: str
    """Name of the head whose targets and loss it has."""
    weight: float = 1.0
    """Of its loss beside the head's own weight."""
    while_training: bool = False
    """It is there while training only."""


class DenseAnswer(nn.Module):
    """(N, C) features -> (N, K) logits, through dropout, or through a dense ReLU layer and dropout (source study S3).

    Args:
        features: C.
        plan: Says the dropout and the width of the dense layer.
        head: Says the labels, and by its loss the form of the answer.
    """

    def __init__(self, features: int, plan: NetworkPlan, head: HeadPlan) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, plan.hidden) if plan.hidden else None
        self.dropout = nn.Dropout(plan.dropout)
        self.answer = _answer(plan.hidden or features, head)

    def forward(self, features: Tensor) -> Tensor:
        if self.hidden is not None:
            features = self.hidden(features).relu()
        logits: Tensor = self.answer(self.dropout(features))
        return logits


class MaskAnswer(nn.Module):
    """(N, C, H / step, W / step) features -> (N, 1, H, W) logits.

    Args:
        features: C.
        step: 1, or more for an answer that is scaled up to the picture.
    """

    def __init__(self, features: int, step: int) -> None:
        super().__init__()
        self.answer = nn.Conv2d(features, 1, 1)
        self.step = step

    def forward(self, fine: Tensor) -> Tensor:
        logits: Tensor = self.answer(fine)
        if self.step == 1:
            return logits
        return interpolate(logits, scale_factor=float(self.step), mode="bilinear", align_corners=False)


class TrainableNetwork(Freezable):
    """(N, H, W, 3) uint8 RGB -> logits per head: (N, K), or (N, 1, H, W) of a mask; float32.

    While training Inception v3 adds `<head>.auxiliary` per head, see `outputs`.

    Args:
        plan: Normalisation and the form of the answers.
        heads: The questions.
        backbone: What they share.

    Raises:
        ConfigError: a head does not suit the backbone, or makes no sense.
    """

    input_names = ("pixels",)

    def __init__(self, plan: NetworkPlan, heads: Sequence[HeadPlan], backbone: Backbone) -> None:
        super().__init__()
        check_heads(heads, backbone, plan.backbone)
        self.normalise = normalisation(plan, mean=backbone.mean, std=backbone.std)
        self.backbone = backbone
        self.heads = nn.ModuleDict({
            head.name: MaskAnswer(backbone.fine_features, backbone.fine_step) if head.role == "mask"
            else DenseAnswer(backbone.features, plan, head)
            for head in heads
        })  # fmt: skip
        self.masks = frozenset(head.name for head in heads if head.role == "mask")
        self.auxiliaries = nn.ModuleDict({
            head.name: AuxiliaryAnswer(backbone.early_features, len(head.labels))
            for head in heads if backbone.early_features
        })  # fmt: skip
        self.hidden_l2 = plan.hidden_l2
        self.mirrors: tuple[tuple[int, ...], ...] = (ACROSS,) if plan.mirrored else ()

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What `forward` returns, in order."""
        own = [Output(name, name) for name in self.heads]
        beside = [Output(f"{name}.auxiliary", name, AUXILIARY_WEIGHT, True) for name in self.auxiliaries]
        return (*own, *beside)

    @property
    def cam_layers(self) -> tuple[str, ...]:
        """Modules whose maps show where the network looked, from shallow to deep, for `get_submodule`."""
        return tuple(f"backbone.{name}" for name in self.backbone.cam_layers)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        check_size(pixels, self.backbone)
        logits = self._answers(pixels)
        if self.training:
            return logits
        for axes in self.mirrors:
            beside = self._answers(pixels.flip(axes))
            back = tuple(axis + 1 for axis in axes)  # (N, H, W, 3) came in, (N, 1, H, W) comes out
            logits |= {name: logits[name] + beside[name].flip(back) for name in self.masks}
        return logits | {name: logits[name] / (1 + len(self.mirrors)) for name in self.masks if self.mirrors}

    def look_all_ways(self) -> None:
        """For a fitted network: a mirrored one looks at the mirror image upside down and at both in one as well.

        Not before, because every epoch is validated. On 77 validation pictures of polyps the mean Dice was 0.844 of the
        picture alone, 0.842 with the mirror image across, and 0.859 with all four.
        """
        if self.mirrors:
            self.mirrors = (ACROSS, DOWN, ACROSS + DOWN)

    def _answers(self, pixels: Tensor) -> dict[str, Tensor]:
        found = self.backbone(self.normalise(pixels))
        logits: dict[str, Tensor] = {
            name: head(found.fine if name in self.masks else found.pooled)
            for name, head in self.heads.items()
        }
        if found.early is not None:
            logits |= {
                f"{name}.auxiliary": auxiliary(found.early) for name, auxiliary in self.auxiliaries.items()
            }
        return logits

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """For an optimiser: see `parameter_groups`."""
        return parameter_groups(self, self.heads.values(), weight_decay, self.hidden_l2)


def parameter_groups(
    network: nn.Module, answers: Iterable[nn.Module], weight_decay: float, hidden_l2: float
) -> list[ParameterGroup]:
    """Filters decay by `weight_decay`, biases and batch norms not at all, dense layers before answers by their own L2.

    A term l2 * w^2 in the loss has the gradient 2 l2 w: in SGD and Adam, which add decay * w to the gradient, it is a
    decay of 2 l2. AdamW scales decay by the rate instead and there the figure has another meaning.
    """
    dense: list[Tensor] = [
        answer.hidden.weight
        for answer in answers
        if isinstance(answer, DenseAnswer) and answer.hidden is not None and hidden_l2 > 0
    ]
    apart = {id(each) for each in dense}
    rest = [each for each in network.parameters() if id(each) not in apart]
    groups: list[ParameterGroup] = [
        {"params": [each for each in rest if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in rest if each.ndim <= 1], "weight_decay": 0.0},
    ]
    if dense:
        groups.append({"params": dense, "weight_decay": 2 * hidden_l2})
    return groups


def check_heads(heads: Sequence[HeadPlan], backbone: Backbone, name: str) -> None:
    """Refuses heads that have no name of their own, too few labels, or no pixels to answer for.

    Raises:
        ConfigError: says which and why.
    """
    names = [head.name for head in heads]
    if not heads or len(set(names)) != len(names) or any("." in each for each in names):
        raise ConfigError(
            f"heads: wanted at least one, each with a name of its own without a dot, got {names}"
        )
    for head in heads:
        is_mask = head.role == "mask"
        if is_mask and not backbone.fine_features:
            raise ConfigError(
                f"head {head.name!r}: a mask needs a backbone that answers per pixel (a name that starts with 'unet'), "
                f"got {name!r}"
            )
        if is_mask != (head.loss in ("bce", "bce_dice")):
            raise ConfigError(
                f"head {head.name!r}: losses 'bce' and 'bce_dice' are for masks and masks take no other, got role "
                f"{head.role!r} with loss {head.loss!r}"
            )
        if not is_mask and len(head.labels) < 2:
            raise ConfigError(f"head {head.name!r}: wanted two or more labels, got {list(head.labels)}")


def check_size(pixels: Tensor, backbone: Backbone) -> None:
    """Refuses pictures that a U-Net cannot halve often enough.

    Raises:
        ValueError: says what would do.
    """
    height, width = pixels.shape[1:3]
    if height % backbone.multiple or width % backbone.multiple:
        raise ValueError(
            f"this network takes heights and widths that are multiples of {backbone.multiple}, got {height}x{width}"
        )


def _answer(features: int, head: HeadPlan) -> nn.Module:
    if head.loss == "corn":
        return ContinuationAnswer(features, len(head.labels))
    if head.loss == "regression":
        return ScoreAnswer(features, len(head.labels))
    return nn.Linear(features, len(head.labels))
