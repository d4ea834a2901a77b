"""U-Net on an encoder of timm, from segmentation-models-pytorch; narrow enough for a CPU and a small bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from scopeline_training.backbone import Backbone, Features
from scopeline_training.shim import make_torchvision_importable

make_torchvision_importable()
import segmentation_models_pytorch as smp  # type: ignore[import-untyped]  # noqa: E402
import timm  # noqa: E402

DECODER = (96, 64, 32, 24)
"""Channels from 1/16 to 1/2: a quarter to a half of the library's own. The step to 1/1 is left out, it would add 147
million multiplications at 160x160 to the 235 of the narrowest; masks are doubled instead."""


class EncoderUNet(Backbone):
    """timm's model with skips, then plain convolutions with batch norms; half as fine as the picture.

    Args:
        model: timm's name of the encoder.
        weights: File of its ImageNet weights; random if None.
    """

    multiple: ClassVar[int] = 32

    def __init__(self, model: str, weights: Path | None) -> None:
        super().__init__()
        net: Any = smp.Unet(f"tu-{model}", encoder_weights=None, decoder_channels=(*DECODER, 16))
        if weights is not None:
            filled: Any = timm.create_model(
                model, features_only=True, pretrained=True, pretrained_cfg_overlay={"file": str(weights)}
            )
            net.encoder.model.load_state_dict(filled.state_dict())
        self.trunk = net.encoder
        self.steps = nn.ModuleList(list(net.decoder.blocks)[: len(DECODER)])
        self.features = int(net.encoder.out_channels[-1])
        self.fine_features, self.fine_step = DECODER[-1], 2
        config = timm.get_pretrained_cfg(model)
        assert config is not None
        self.mean, self.std = _three(config.mean), _three(config.std)
        deepest = net.encoder.model.feature_info.module_name()[-1]
        self.cam_layers = (f"trunk.model.{deepest}", "steps.1.conv2", "steps.3.conv2")

    def forward(self, x: Tensor) -> Features:
        maps: list[Tensor] = self.trunk(x)
        x = deep = maps[-1]
        for step, skip in zip(self.steps, maps[-2:0:-1], strict=True):
            # Not the block's own forward, which scales to the skip's size and leaves a graph of unknown sizes.
            x = torch.cat([interpolate(x, scale_factor=2.0), skip], dim=1)
            x = step.conv2(step.conv1(x))  # type: ignore[operator]  # a block of the library has both
        return Features(deep.mean(dim=(2, 3)), fine=x)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue
