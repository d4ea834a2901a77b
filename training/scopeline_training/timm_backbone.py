"""Classifying backbones from timm, without their last layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scopeline_training.backbone import Backbone, Features
from scopeline_training.shim import make_torchvision_importable

make_torchvision_importable()
import timm  # noqa: E402

LAST_MAPS = {
    "efficientnet_b0": "bn2",
    "mobilenetv1_100": "bn2",
    "mobilenetv2_100": "bn2",
    "vgg16": "features.29",
}
"""The last module with a map worth looking at, where timm's own list ends before it or behind it."""


class TimmBackbone(Backbone):
    """Any convolutional classifier of timm.

    Args:
        model: timm's name.
        weights: File of weights, with or without a last layer; random if None.
    """

    def __init__(self, model: str, weights: Path | None) -> None:
        super().__init__()
        net = create(model, weights)
        self.features = int(net.num_features if model.startswith("vgg") else net.head_hidden_size)
        self.trunk = net
        self.mean, self.std = net.pretrained_cfg["mean"], net.pretrained_cfg["std"]
        self.cam_layers = _maps(net, model)

    def forward(self, x: Tensor) -> Features:
        deep = self.trunk.forward_features(x)  # type: ignore[operator]  # timm's models have both
        return Features(self.trunk.forward_head(deep, pre_logits=True))  # type: ignore[operator]


def create(model: str, weights: Path | None) -> Any:
    """timm's model without its last layer. VGG loses its two dense layers of 4096 too, as in source study S1: its
    pooled map feeds the answers, 14.7 of 134.3 million parameters stay."""
    options: dict[str, Any] = {"num_classes": 0}
    if weights is not None:
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    elif model.startswith("vgg"):
        options["mlp_ratio"] = 1 / 4096  # of the dense layers that go; filling them takes seconds
    net = timm.create_model(model, **options)
    if model.startswith("vgg"):
        net.pre_logits = nn.Identity()
    return net


def _maps(net: Any, model: str) -> tuple[str, ...]:
    last = LAST_MAPS.get(model)
    taps = getattr(net.feature_info, "info", net.feature_info)
    names = [f"trunk.{tap['module']}" for tap in taps if tap["module"] != "features.30"]
    if last is not None and names[-1] != f"trunk.{last}":
        names.append(f"trunk.{last}")
    return tuple(names)
