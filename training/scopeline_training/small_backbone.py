"""Small backbones of our own: the network of `scopeline_training.network`, and a U-Net on it, for one CPU core."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from scopeline_training.backbone import Backbone, Features
from scopeline_training.network import STAGES, Block, Network


class SmallBackbone(Backbone):
    """The depthwise-separable residual network that the `colon` bundle rests on, 0.24 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Network({}).backbone
        self.features = STAGES[-1][0]
        blocks = range(3, 2 + len(STAGES))
        self.cam_layers = tuple(f"trunk.{number}" for number in (blocks[2], blocks[5], blocks[-1]))

    def forward(self, x: Tensor) -> Features:
        return Features(self.trunk(x).mean(dim=(2, 3)))


class SmallUNet(Backbone):
    """The small backbone with a decoder of the same blocks; half as fine as the picture."""

    multiple: ClassVar[int] = 32
    SKIPS: ClassVar[tuple[int, ...]] = (2, 3, 5, 8)
    """Modules of the trunk (stem of three, then blocks) whose maps are the last at 1/2, 1/4, 1/8 and 1/16."""
    DECODER: ClassVar[tuple[int, ...]] = (128, 80, 48, 32)
    """Channels at 1/16, 1/8, 1/4 and 1/2."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Network({}).backbone
        self.features = STAGES[-1][0]
        self.fine_features, self.fine_step = self.DECODER[-1], 2
        skips = [STAGES[max(0, number - 2)][0] for number in self.SKIPS][::-1]
        deep = (self.features, *self.DECODER[:-1])
        self.joins = nn.ModuleList(
            nn.Sequential(Block(below + skip, channels, 1), Block(channels, channels, 1))
            for below, skip, channels in zip(deep, skips, self.DECODER, strict=True)
        )
        self.cam_layers = (f"trunk.{1 + len(STAGES)}", "joins.1", "joins.3")

    def forward(self, x: Tensor) -> Features:
        skips: list[Tensor] = []
        for number, module in enumerate(self.trunk.children()):
            x = module(x)
            if number in self.SKIPS:
                skips.append(x)
        pooled = x.mean(dim=(2, 3))
        for join in self.joins:
            x = join(torch.cat([interpolate(x, scale_factor=2.0), skips.pop()], dim=1))
        return Features(pooled, fine=x)
