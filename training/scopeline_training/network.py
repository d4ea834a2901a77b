"""The network: one small backbone, one head per question, normalisation inside.

Depthwise-separable convolutions (Howard et al. 2017, MobileNets) with residual connections: about 0.4 million
parameters and 17 million multiplications at 128x128, about 1 ms on one CPU core in ONNX Runtime.

A head that judges the picture itself (quality) sees fixed statistics of it as well, and how far they lie from those
of good pictures (Mahalanobis distance; Lee et al., NeurIPS 2018): without them a network takes faults that it never
met, such as interlace combs, for good.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from scopeline_training.statistics import COUNT, Statistics

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


class Oddness(nn.Module):
    """Statistics in units of their spread over good pictures, and the log of their distance from them.

    (N, 3, H, W) float RGB of 0..255 -> (N, `COUNT` + 1). Knows nothing before `learn`.
    """

    WIDEST = 6.0
    """Spreads beyond which a statistic counts no more."""
    NARROWEST = 0.03
    """Least spread. A statistic that is the same for all good pictures, such as the smallest step, would otherwise
    make rounding errors look odd: the logits of torch and of ONNX Runtime then differed by 0.0009."""
    RIDGE = 0.05
    """Added to the correlations, which a few hundred pictures do not pin down."""

    def __init__(self) -> None:
        super().__init__()
        self.statistics = Statistics()
        self.register_buffer("mean", torch.zeros(COUNT))
        self.register_buffer("spread", torch.ones(COUNT))
        self.register_buffer("precision", torch.eye(COUNT))

    def learn(self, good: Tensor) -> None:
        """Fits means, spreads and correlations to good pictures, (N, 3, H, W) RGB of 0..255, any dtype."""
        seen = torch.cat([self.statistics(part.float()) for part in torch.split(good, 64)])
        self.get_buffer("mean").copy_(seen.mean(dim=0))
        self.get_buffer("spread").copy_(seen.std(dim=0).clamp(min=self.NARROWEST))
        correlation = self._standard(seen).T.cov() + self.RIDGE * torch.eye(COUNT)
        self.get_buffer("precision").copy_(torch.linalg.inv(correlation))

    def forward(self, pixels: Tensor) -> Tensor:
        z = self._standard(self.statistics(pixels))
        distance = ((z @ self.get_buffer("precision")) * z).mean(dim=1, keepdim=True)
        return torch.cat([z, torch.log(distance + 0.05)], dim=1)

    def _standard(self, seen: Tensor) -> Tensor:
        z = (seen - self.get_buffer("mean")) / self.get_buffer("spread")
        return z.clamp(-self.WIDEST, self.WIDEST)


class Judge(nn.Module):
    """Logits of bad and good, (N, 2), from the mean of three opinions.

    One opinion rests on the learned features, one on the statistics, one on their distance from good pictures
    alone. While training each must also answer alone: otherwise the learned features, which are best at what is
    taught, leave the others nothing to learn, and nobody objects to what was not taught. Asking all of them about
    every picture taught the learned opinion far more than asking a random one did.

    While training the answers are (4N, 2): of the mean for all pictures, then of each opinion for all pictures.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.learned = nn.Linear(features, 1)
        self.measured = nn.Sequential(
            nn.Linear(COUNT + 1, 48), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(48, 1)
        )
        self.distance = nn.Linear(1, 1)

    def forward(self, features: Tensor, odd: Tensor) -> Tensor:
        opinions = torch.cat(
            [self.learned(features), self.measured(odd), self.distance(odd[:, -1:])], dim=1
        )  # (N, 3), each grows with quality
        good = opinions.mean(dim=1, keepdim=True)
        if self.training:
            good = torch.cat([good, opinions.T.reshape(-1, 1)])
        return torch.cat([-0.5 * good, 0.5 * good], dim=1)


class Network(nn.Module):
    """(N, H, W, 3) uint8 RGB -> logits per head, (N, K) float32.

    Args:
        heads: Number of labels per head.
        stages: Channels and stride of the stem and each block.
        dropout: Share of features dropped before the heads while training.
        judging: The heads that see the picture's statistics as well; their labels are bad and good.
    """

    def __init__(
        self,
        heads: Mapping[str, int],
        stages: Sequence[tuple[int, int]] = STAGES,
        dropout: float = 0.2,
        judging: Collection[str] = (),
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
        self.oddness = Oddness() if judging else None
        self.judging = frozenset(judging)
        self.heads = nn.ModuleDict({
            name: Judge(stem) if name in self.judging else nn.Linear(stem, labels)
            for name, labels in heads.items()
        })  # fmt: skip
        # Mean and spread of mucosa in inscribed crops; inside the graph, so that no caller can get them wrong.
        self.register_buffer("mean", torch.tensor([140.0, 85.0, 65.0]).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor([60.0, 50.0, 45.0]).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        rgb = pixels.permute(0, 3, 1, 2).float()
        x = self.backbone((rgb - self.get_buffer("mean")) / self.get_buffer("spread"))
        x = self.dropout(x.mean(dim=(2, 3)))  # (N, C)
        if self.oddness is None:
            return {name: head(x) for name, head in self.heads.items()}
        odd = self.oddness(rgb)
        return {name: head(x, odd) if name in self.judging else head(x) for name, head in self.heads.items()}

    @property
    def parameter_count(self) -> int:
        return sum(each.numel() for each in self.parameters())
