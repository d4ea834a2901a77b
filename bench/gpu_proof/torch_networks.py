# mypy: ignore-errors
"""EfficientNet-B0, ResNet50 and a U-Net with reproducible random weights, as ONNX and as PyTorch. Needs torch and timm;
runs in the GPU machine's own Python, not in that of TensorRT.

Random weights, because nothing can be fetched there: for latency they are as good as trained ones. Batch normalisation
is set to what the network really sees and the answers are scaled to the size of trained logits, so that the parity rows
are about numbers of the usual size; they are no statement about a trained network of the name.

    python3 torch_networks.py OUT      writes OUT/<name>.onnx
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

if (
    torch.version.cuda is None
):  # in a rehearsal; timm wants torchvision, which cannot be imported beside such a torch
    from scopeline_training.shim import make_torchvision_importable

    make_torchvision_importable()
import timm

NETWORKS = {"efficientnet_b0": 224, "resnet50": 224, "unet": 256}
"""Name -> side of the square input in pixels."""


class Block(nn.Sequential):
    """Two convolutions of a U-Net (Ronneberger et al. 2015), with batch normalisation."""

    def __init__(self, channels_in: int, channels: int) -> None:
        layers: list[nn.Module] = []
        for source in (channels_in, channels):
            layers += [
                nn.Conv2d(source, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
        super().__init__(*layers)


class UNet(nn.Module):
    """Five levels, 32 to 512 channels; 7.8 million weights."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (32, 64, 128, 256, 512)
        self.down = nn.ModuleList([Block(a, b) for a, b in zip((3, *sizes[:-1]), sizes, strict=True)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, 2) for a, b in itertools.pairwise(sizes)])
        self.join = nn.ModuleList([Block(2 * a, a) for a in sizes[:-1]])
        self.answer = nn.Conv2d(sizes[0], 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for level in reversed(range(len(self.up))):
            x = self.join[level](torch.cat([self.up[level](x), kept[level]], 1))
        return self.answer(x)


class Bundled(nn.Module):
    """As in a bundle: uint8 NHWC in, normalised inside in FP32, logits out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = (pixels.permute(0, 3, 1, 2).float() - 118.0) / 58.0
        weights = next(self.network.parameters())
        return self.network(x.to(weights.dtype)).float() * self.scale


def make(name: str) -> Bundled:
    """The network, in evaluation mode."""
    torch.manual_seed(0)
    network = UNet() if name == "unet" else timm.create_model(name, pretrained=False, num_classes=4)
    bundled = Bundled(network)
    size = NETWORKS[name]
    for module in bundled.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over what follows
    bundled.train()
    with torch.no_grad():
        for _ in range(2):
            bundled(torch.cat([pictures(8, size), extremes(size)]))
        bundled.eval()
        bundled.scale.div_(bundled(pictures(8, size)).std().clamp(min=1e-3) / 2)
    return bundled


def pictures(count: int, size: int) -> torch.Tensor:
    """Soft clouds around the colour of mucosa, (count, size, size, 3) uint8."""
    coarse = torch.randn(count, 3, 8, 8)
    soft = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    shades = (
        torch.tensor([170.0, 100.0, 80.0]).view(1, 3, 1, 1)
        + 40 * soft
        + 4 * torch.randn(count, 3, size, size)
    )
    return shades.clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).contiguous()


def extremes(size: int) -> torch.Tensor:
    """Black, white, noise and stripes, (4, size, size, 3) uint8: without them in its statistics a random network
    answers hostile frames with logits of a hundred thousand."""
    made = torch.zeros(4, size, size, 3, dtype=torch.uint8)
    made[1], made[3, ::2] = 255, 255
    made[2] = torch.randint(0, 256, (size, size, 3), dtype=torch.uint8)
    return made


def export(name: str, path: Path) -> None:
    """Write ONNX of opset 17 with a free batch, through the older exporter (TensorRT 8.6 reads no newer opset)."""
    size = NETWORKS[name]
    axes: dict[str, Any] = {"pixels": {0: "batch"}, "answer": {0: "batch"}}
    torch.onnx.export(
        make(name),
        (pictures(2, size),),
        str(path),
        opset_version=17,
        dynamo=False,
        input_names=["pixels"],
        output_names=["answer"],
        dynamic_axes=axes,
    )


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS:
        export(name, folder / f"{name}.onnx")
        print(name, f"{(folder / f'{name}.onnx').stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
