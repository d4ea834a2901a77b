"""Inception v3 (Szegedy et al. 2016) with its auxiliary answer, which exists while training only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from scopeline_training.backbone import Backbone, Features
from scopeline_training.timm_backbone import create

SIZE = 299
"""Width and height in pixels it was made for."""
AUXILIARY_WEIGHT = 0.3
"""Of the auxiliary answer in the loss; source study S2."""
_EARLY = 768
_SMALLEST = 17
"""Of the early map, for the auxiliary answer: a picture of 299 gives exactly this."""


class InceptionBackbone(Backbone):
    """Inception v3 of timm that also hands out the map the auxiliary answer rests on."""

    def __init__(self, weights: Path | None) -> None:
        super().__init__()
        net: Any = create("inception_v3", weights)
        self.features = int(net.num_features)
        self.early_features = _EARLY
        self.trunk = net
        self.mean, self.std = net.pretrained_cfg["mean"], net.pretrained_cfg["std"]
        self.cam_layers = tuple(f"trunk.{tap['module']}" for tap in net.feature_info)

    def forward(self, x: Tensor) -> Features:
        early = self.trunk.forward_preaux(x)  # type: ignore[operator]  # timm's model has them
        deep = self.trunk.forward_postaux(early)  # type: ignore[operator]
        pooled = self.trunk.forward_head(deep, pre_logits=True)  # type: ignore[operator]
        return Features(pooled, early=early if self.training else None)


class AuxiliaryAnswer(nn.Module):
    """(N, 768, h, w) of the early map, h and w at least 17 -> (N, K) logits."""

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(inplace=True),
            nn.Conv2d(128, 768, 5, bias=False), nn.BatchNorm2d(768), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.answer = nn.Linear(768, labels)

    def forward(self, early: Tensor) -> Tensor:
        if min(early.shape[2:]) < _SMALLEST:
            raise ValueError(
                f"Inception v3 learns from pictures of {SIZE} pixels or more (its auxiliary answer needs a map of "
                f"{_SMALLEST}x{_SMALLEST}), got a map of {tuple(early.shape[2:])}; set the input size to {SIZE}"
            )
        x = self.body(avg_pool2d(early, 5, 3))
        logits: Tensor = self.answer(adaptive_avg_pool2d(x, 1).flatten(1))
        return logits
