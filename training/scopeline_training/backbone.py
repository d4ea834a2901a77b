"""Backbone: the part of a network that the questions share: normalised picture in, features out."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from scopeline_training.normalisation import IMAGENET_MEAN, IMAGENET_STD, Colour


class Features(NamedTuple):
    """What a backbone found in (N, 3, H, W)."""

    pooled: Tensor
    """(N, `Backbone.features`), over the whole picture."""
    fine: Tensor | None = None
    """(N, `Backbone.fine_features`, H / step, W / step) with `Backbone.fine_step`, of backbones that can answer per
    pixel."""
    early: Tensor | None = None
    """(N, `Backbone.early_features`, h, w) for the auxiliary answer of Inception v3, while training."""


class Backbone(nn.Module):
    """(N, 3, H, W) float32 -> `Features`."""

    features: int
    """Width of the pooled features."""
    fine_features: int = 0
    """Channels per pixel, 0 of a backbone that cannot answer per pixel."""
    fine_step: int = 1
    """Pixels of the picture per pixel of the fine features, each way."""
    early_features: int = 0
    """Channels of the early features, 0 where there are none."""
    trunk: nn.Module
    """The part that ImageNet weights fill and that freezing freezes; of a U-Net the encoder."""
    cam_layers: tuple[str, ...]
    """Modules inside this one whose maps show where it looked, from shallow to deep."""
    multiple: ClassVar[int] = 1
    """Heights and widths must be multiples of this."""
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD
    """What its ImageNet weights were trained with."""

    @abstractmethod
    def forward(self, x: Tensor) -> Features: ...
