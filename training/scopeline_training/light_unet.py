"""Light U-Net: plain 3x3 convolutions at half of the picture's width and below, for masks learnt on one CPU core."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from scopeline_training.backbone import Backbone, Features
from scopeline_training.network import Block
from scopeline_training.normalisation import Colour


class LightUNet(Backbone):
    """Half a million parameters; half as fine as the picture. Starts from scratch.

    Depthwise convolutions, as `SmallUNet` has, save arithmetic and hardly time: at 96x96 a step of training costs as
    long there with a third of the multiplications. The deepest maps, 3x3 pixels, are depthwise for their weights' sake.
    """

    multiple: ClassVar[int] = 32
    mean: Colour = (0.0, 0.0, 0.0)
    std: Colour = (1.0, 1.0, 1.0)
    ENCODER: ClassVar[tuple[int, ...]] = (24, 40, 64, 80, 128)
    """Channels at 1/2, 1/4, 1/8, 1/16 and 1/32."""
    DECODER: ClassVar[tuple[int, ...]] = (64, 48, 32, 24)
    """Channels at 1/16, 1/8, 1/4 and 1/2."""

    def __init__(self) -> None:
        super().__init__()
        finest, *middle, coarsest = self.ENCODER
        steps = [nn.Sequential(*_convolution(3, finest, 3, 2), *_convolution(finest, finest, 3))]
        for above, channels in zip(self.ENCODER, middle, strict=False):
            steps.append(nn.Sequential(*_convolution(above, channels, 3, 2), Pair(channels)))
        steps.append(nn.Sequential(Block(middle[-1], coarsest, 2), Block(coarsest, coarsest, 1)))
        self.trunk = nn.ModuleList(steps)
        self.joins = nn.ModuleList(
            nn.Sequential(*_convolution(below + skip, channels, 1), Pair(channels))
            for below, skip, channels in zip(
                (coarsest, *self.DECODER), self.ENCODER[-2::-1], self.DECODER, strict=False
            )
        )
        self.features, self.fine_features, self.fine_step = coarsest, self.DECODER[-1], 2
        self.cam_layers = ("trunk.2", "trunk.4", "joins.1", "joins.3")

    def forward(self, x: Tensor) -> Features:
        skips: list[Tensor] = []
        for step in self.trunk.children():
            x = step(x)
            skips.append(x)
        deep = skips.pop()
        for join in self.joins:
            x = join(torch.cat([interpolate(x, scale_factor=2.0), skips.pop()], dim=1))
        return Features(deep.mean(dim=(2, 3)), fine=x)


class Pair(nn.Module):
    """Two 3x3 convolutions that add to what came in (He et al. 2016, ResNet)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, norm, relu = _convolution(channels, channels, 3)
        again, norm_again, self.relu = _convolution(channels, channels, 3)
        self.body = nn.Sequential(first, norm, relu, again, norm_again)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(x + self.body(x))
        return y


def _convolution(channels_in: int, channels: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
