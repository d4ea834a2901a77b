"""The network: one small backbone, one linear head per question, normalisation inside.

Depthwise-separable convolutions (Howard et al. 2017, MobileNets) with residual connections: about 0.4 million
parameters and 17 million multiplications at 128x128, about 1 ms on one CPU core in ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

STAGES = ((24, 2), (48, 2), (96, 2), (96, 1), (192, 2), (192, 1), (192, 1), (256, 2), (256, 1))
"""Channels and stride of the stem and of each block behind it."""


class Block(nn.Module):
    """A 3x3 convolution per channel, then a 1x1 convolution over channels; adds its input where shapes agree."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_in, 3, stride, 1, groups=channels_in, bias=False),
            nn.BatchNorm2d(channels_in),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_in, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return torch.relu(x + y if self.residual else y)


class Network(nn.Module):
    """(N, H, W, 3) uint8 RGB -> logits per head, (N, K) float32.

    Args:
        heads: Number of labels per head.
        stages: Channels and stride of the stem and each block.
        dropout: Share of features dropped before the heads while training.
    """

    def __init__(
        self, heads: Mapping[str, int], stages: Sequence[tuple[int, int]] = STAGES, dropout: float = 0.2
    ) -> None:
        super().__init__()
        (stem, stride), blocks = stages[0], stages[1:]
        layers: list[nn.Module] = [
            nn.Conv2d(3, stem, 3, stride, 1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
        ]
        for channels, stride in blocks:
            layers.append(Block(stem, channels, stride))
            stem = channels
        self.backbone = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(stem, labels) for name, labels in heads.items()})
        # Mean and spread of mucosa in inscribed crops; inside the graph, so that no caller can get them wrong.
        self.register_buffer("mean", torch.tensor([140.0, 85.0, 65.0]).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor([60.0, 50.0, 45.0]).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        x = pixels.permute(0, 3, 1, 2).float()
        x = (x - self.get_buffer("mean")) / self.get_buffer("spread")
        x = self.backbone(x).mean(dim=(2, 3))  # (N, C)
        x = self.dropout(x)
        return {name: head(x) for name, head in self.heads.items()}

    @property
    def parameter_count(self) -> int:
        return sum(each.numel() for each in self.parameters())
