"""Normalisation: bytes of a picture to what a network expects, inside the graph, so that no caller can get it wrong."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from scopeline.errors import ConfigError
from scopeline_training.network_plan import NetworkPlan

Colour = tuple[float, float, float]
"""R, G, B in 0..1."""

IMAGENET_MEAN: Final[Colour] = (0.485, 0.456, 0.406)
IMAGENET_STD: Final[Colour] = (0.229, 0.224, 0.225)


class Standard(nn.Module):
    """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32, (x / 255 - mean) / std per channel."""

    def __init__(self, mean: Colour, std: Colour) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return (_channels_first(pixels) - self.get_buffer("mean")) / self.get_buffer("std")


class SampleStd(nn.Module):
    """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32, each picture divided by its own standard deviation.

    The deviation is that of all values of a picture about their mean (divisor: their number); the mean stays in, as
    in Kim et al., Scientific Reports 13 (2023), doi 10.1038/s41598-023-38206-6.
    """

    FLATTEST = 1.0
    """Grey levels. A picture that varies less is divided by this instead: the original divides black by 0."""

    def forward(self, pixels: Tensor) -> Tensor:
        x = _channels_first(pixels)
        centred = x - x.mean(dim=(1, 2, 3), keepdim=True)
        deviation = (centred * centred).mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return x / deviation.clamp(min=self.FLATTEST)


def normalisation(plan: NetworkPlan, *, mean: Colour, std: Colour) -> nn.Module:
    """The module that a plan asks for.

    Args:
        plan: Says which.
        mean: That the backbone's ImageNet weights were trained with, for `imagenet`.
        std: Likewise.

    Raises:
        ConfigError: `data` without the data's mean and std, or these without `data`.
    """
    given = plan.mean is not None and plan.std is not None
    if given != (plan.normalise == "data") or (plan.mean is None) != (plan.std is None):
        raise ConfigError(
            "network: normalise = 'data' needs mean and std, each of R, G and B in 0..1, and no other way takes them; "
            f"got normalise = {plan.normalise!r}, mean = {plan.mean}, std = {plan.std}"
        )
    if plan.normalise == "sample_std":
        return SampleStd()
    if plan.normalise == "unit":
        return Standard((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    if plan.mean is not None and plan.std is not None:
        return Standard(plan.mean, plan.std)
    return Standard(mean, std)


def _channels_first(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).float()
