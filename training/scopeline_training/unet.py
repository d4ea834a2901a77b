"""U-Net of source study S4 (after Ronneberger et al. 2015): four steps down, a bridge, four up, no batch norms."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from scopeline_training.backbone import Backbone, Features
from scopeline_training.normalisation import Colour

CHANNELS = (16, 32, 64, 128, 256)
DROPOUTS = (0.1, 0.1, 0.2, 0.2, 0.3)
"""Per depth, on the way down and up."""


class UNet(Backbone):
    """1 941 105 parameters with a one-channel answer. Starts from scratch: nobody has ImageNet weights of it."""

    multiple: ClassVar[int] = 16
    mean: Colour = (0.0, 0.0, 0.0)
    std: Colour = (1.0, 1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.features, self.fine_features = CHANNELS[-1], CHANNELS[0]
        self.trunk = nn.ModuleList(
            _pair(channels_in, channels, share)
            for channels_in, channels, share in zip((3, *CHANNELS[:-1]), CHANNELS, DROPOUTS, strict=True)
        )
        steps = list(zip(CHANNELS[1:], CHANNELS[:-1], DROPOUTS[:-1], strict=True))[::-1]
        self.ups = nn.ModuleList(nn.ConvTranspose2d(deep, fine, 2, 2) for deep, fine, _ in steps)
        self.joins = nn.ModuleList(_pair(2 * fine, fine, share) for _, fine, share in steps)
        self.pool = nn.MaxPool2d(2)
        self.cam_layers = ("trunk.2", "trunk.3", "trunk.4", f"joins.{len(steps) - 1}")

    def forward(self, x: Tensor) -> Features:
        skips: list[Tensor] = []
        for number, down in enumerate(self.trunk.children()):
            x = down(self.pool(x) if number else x)
            skips.append(x)
        deep = skips.pop()
        for up, join in zip(self.ups, self.joins, strict=True):
            x = join(torch.cat([up(x), skips.pop()], dim=1))
        return Features(deep.mean(dim=(2, 3)), fine=x)


def _pair(channels_in: int, channels: int, dropout: float) -> nn.Sequential:
    first, second = nn.Conv2d(channels_in, channels, 3, 1, 1), nn.Conv2d(channels, channels, 3, 1, 1)
    for each in (first, second):
        nn.init.kaiming_normal_(each.weight, nonlinearity="relu")
        if each.bias is not None:
            nn.init.zeros_(each.bias)
    return nn.Sequential(first, nn.ReLU(inplace=True), nn.Dropout(dropout), second, nn.ReLU(inplace=True))
