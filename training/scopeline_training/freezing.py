"""Freezing: which part of a network learns.

Batch norms: one whose weights are frozen also keeps its running mean and variance, in training mode too; one that
learns uses the statistics of its batch, as usual. Frozen features are thus the same in training and afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from scopeline.errors import ConfigError
from scopeline_training.backbone import Backbone


class Freezable(nn.Module):
    """A network with a backbone whose trunk can be frozen, whole or in part."""

    backbone: Backbone

    def freeze_backbone(self) -> None:
        """Nothing in the trunk learns; heads, and the decoder of a U-Net, do."""
        for parameter in self.backbone.trunk.parameters():
            parameter.requires_grad_(False)
        self.train(self.training)

    def unfreeze(self, from_layer: int | str | None) -> None:
        """The trunk learns from a layer on; what lies before it is frozen.

        Args:
            from_layer: Number of the first parameter tensor that learns, counted from 1 as in source study S2 (130 of
                ResNet50 is the first of layer4), or the name of a module of the trunk, or None for all.

        Raises:
            ConfigError: the trunk has no such layer.
        """
        named = list(self.backbone.trunk.named_parameters())
        first = 1 if from_layer is None else self._number_of(from_layer)
        for number, (_, parameter) in enumerate(named, start=1):
            parameter.requires_grad_(number >= first)
        self.train(self.training)

    def unfreeze_only(self, *layers: str) -> None:
        """Some modules of the trunk learn and nothing else in it (Inception v3 in source study S2: Mixed_6e, Mixed_7b,
        Mixed_7c).

        Raises:
            ConfigError: the trunk has no such layer.
        """
        for layer in layers:
            self._number_of(layer)
        for name, parameter in self.backbone.trunk.named_parameters():
            parameter.requires_grad_(any(_inside(name, layer) for layer in layers))
        self.train(self.training)

    def train(self, mode: bool = True) -> Freezable:
        super().train(mode)
        for norm in _frozen_norms(self):
            norm.eval()
        return self

    def _number_of(self, layer: int | str) -> int:
        named = [name for name, _ in self.backbone.trunk.named_parameters()]
        if isinstance(layer, int):
            if 1 <= layer <= len(named):
                return layer
            raise ConfigError(
                f"freezing: the backbone has parameter tensors 1 to {len(named)}, got number {layer}"
            )
        for number, name in enumerate(named, start=1):
            if _inside(name, layer):
                return number
        known = list(dict.fromkeys(name.split(".")[0] for name in named))
        raise ConfigError(
            f"freezing: the backbone has no layer {layer!r} with weights; it has {', '.join(known)} and what is in them"
        )


def _inside(parameter: str, layer: str) -> bool:
    return parameter == layer or parameter.startswith(f"{layer}.")


def _frozen_norms(network: nn.Module) -> Iterator[nn.Module]:
    for module in network.modules():
        if isinstance(module, BatchNorm) and module.affine and not module.weight.requires_grad:
            yield module
