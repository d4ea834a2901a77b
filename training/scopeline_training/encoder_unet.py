"""U-Net on an encoder of timm, from segmentation-models-pytorch; narrow enough for a CPU and a small bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from scopeline_training.backbone import Backbone, Features
from scopeline_training.shim import make_torchvision_importable

make_torchvision_importable()
import segmentation_models_pytorch as smp  # type: ignore[import-untyped]  # noqa: E402
import timm  # noqa: E402

DECODER = (96, 64, 32, 24, 16)
"""Channels from deep to fine: a quarter to a half of the library's own."""


class EncoderUNet(Backbone):
    """Encoder with skips from timm's model, decoder of plain convolutions with batch norms.

    Args:
        model: timm's name of the encoder.
        weights: File of its ImageNet weights; random if None.
    """

    multiple: ClassVar[int] = 32

    def __init__(self, model: str, weights: Path | None) -> None:
        super().__init__()
        net: Any = smp.Unet(f"tu-{model}", encoder_weights=None, decoder_channels=DECODER)
        if weights is not None:
            filled: Any = timm.create_model(
                model, features_only=True, pretrained=True, pretrained_cfg_overlay={"file": str(weights)}
            )
            net.encoder.model.load_state_dict(filled.state_dict())
        self.trunk = net.encoder
        self.decoder = net.decoder
        self.features, self.fine_features = int(net.encoder.out_channels[-1]), DECODER[-1]
        config = timm.get_pretrained_cfg(model)
        assert config is not None
        self.mean, self.std = config.mean, config.std
        deepest = net.encoder.model.feature_info.module_name()[-1]
        self.cam_layers = (f"trunk.model.{deepest}", "decoder.blocks.2", "decoder.blocks.4")

    def forward(self, x: Tensor) -> Features:
        maps: list[Tensor] = self.trunk(x)
        return Features(maps[-1].mean(dim=(2, 3)), fine=self.decoder(maps))
