"""Statistics: fixed numbers about a whole picture, computed inside the network's graph.

A gate must notice that a picture is unlike every good one, also in a way it was never shown. Learned filters see
what they were taught; these numbers do not depend on what was taught: colour and its spread, agreement of the
channels' edges, differences along and across at several distances (natural scene statistics, Mittal et al. 2012,
BRISQUE; differences at two distances tell a comb), clipped and dark shares, and how all this varies over the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALL = 0.02
"""Keeps logarithms and quotients finite; 5 of 255 levels."""
TILES = 7
"""Tiles along and down the picture."""
LAGS = (1, 2, 3, 5)
"""Distances in pixels over which brightness is compared."""
COUNT = 72
"""How many numbers there are."""


class Statistics(nn.Module):
    """(N, 3, H, W) float RGB of 0..255 -> (N, `COUNT`) float32 of a few units. Has no weights to be learned.

    Colours are looked at, as in video, at half the resolution; steps of brightness at full resolution, but only
    from every second place down and across, which halves neither comb nor grain and is four times as fast.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", _steps())
        self.register_buffer("grey", torch.full((1, 3, 1, 1), 1 / 3))

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels / 255.0
        grey = nn.functional.conv2d(x, self.get_buffer("grey"))  # faster than a mean over channels
        half = nn.functional.avg_pool2d(x, 2)
        log = torch.log(half + SMALL)
        luma, green = nn.functional.avg_pool2d(grey, 2), log[:, 1:2]
        maps = torch.cat(
            [luma, log[:, :1] - green, log[:, 2:] - green, half.amin(dim=1, keepdim=True)], dim=1
        )
        steps = nn.functional.conv2d(grey, self.get_buffer("steps"), stride=2).abs()
        return torch.cat(
            [*_colour(half, maps), *_detail(steps), *_clipped(maps), *_tiles(maps, steps)], dim=1
        )


def _steps() -> Tensor:
    """(10, 1, 6, 6) differences at each distance, across then down, and the bend across and down."""
    kernels = torch.zeros(2 * len(LAGS) + 2, 1, max(LAGS) + 1, max(LAGS) + 1)
    for number, lag in enumerate(LAGS):
        kernels[2 * number, 0, 0, [0, lag]] = torch.tensor([-1.0, 1.0])
        kernels[2 * number + 1, 0, [0, lag], 0] = torch.tensor([-1.0, 1.0])
    kernels[-2, 0, 0, :3] = kernels[-1, 0, :3, 0] = torch.tensor([1.0, -2.0, 1.0])
    return kernels


def _mean(x: Tensor) -> Tensor:
    """(N, C) means; pooling is several times as fast in ONNX Runtime as a mean over two axes."""
    return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)


def _spread(x: Tensor) -> Tensor:
    mean = _mean(x)
    return torch.sqrt((_mean(x * x) - mean * mean).clamp(min=0.0) + 1e-6)


def _agreement(x: Tensor) -> Tensor:
    """(N, 3) correlation of red and green, green and blue, blue and red, all of mean about zero."""
    other = torch.cat([x[:, 1:], x[:, :1]], dim=1)
    power = _mean(x * x)
    return _mean(x * other) / torch.sqrt(power * torch.cat([power[:, 1:], power[:, :1]], dim=1) + 1e-10)


def _colour(x: Tensor, maps: Tensor) -> list[Tensor]:
    """Means, spreads and agreement of the channels and of their edges; log red and log blue to green."""
    centred, hues = x - nn.functional.adaptive_avg_pool2d(x, 1), maps[:, 1:3]
    across, down = x[..., 2:] - x[..., :-2], x[..., 2:, :] - x[..., :-2, :]
    agreements = [_agreement(centred), _agreement(across), _agreement(down)]
    return [_mean(x), torch.log(_spread(x)), _mean(hues), _spread(hues), *agreements]


def _detail(steps: Tensor) -> list[Tensor]:
    """Sizes of brightness steps, near and far, and of bends; a bend's large kurtosis is a few hard edges."""
    size, bends = _mean(steps) + 1e-3, steps[:, -2:]
    return [torch.log(size), torch.log(_mean(bends * bends) + 1e-6) - 2 * torch.log(size[:, -2:])]


def _clipped(maps: Tensor) -> list[Tensor]:
    """Shares of bright, white and dark places."""
    luma, white = maps[:, :1], maps[:, 3:]
    above = [luma - level for level in (0.75, 0.85, 0.95)] + [white - level for level in (0.6, 0.75, 0.9)]
    below = [level - luma for level in (0.05, 0.12, 0.25)]
    shares = (torch.cat(above + below, dim=1) * 10.0 + 0.5).clamp(0.0, 1.0)
    return [torch.log(_mean(shares) + SMALL)]


def _tiles(maps: Tensor, steps: Tensor) -> list[Tensor]:
    """How brightness, hue, whiteness, detail and sharpness are spread over the picture.

    Sharpness is near steps against far ones, whatever the contrast; its direction is steps across against down.
    """
    size = maps.shape[-1] // TILES
    pooled = torch.log(nn.functional.avg_pool2d(steps[:, : 2 * len(LAGS)], size - 1) + 3e-3)
    near, far = pooled[:, :2], pooled[:, -2:]
    sharpness, direction = near - far, near[:, :1] - near[:, 1:]
    details = torch.cat([near, sharpness, direction], dim=1)
    parts = [_mean(details)]
    for tiles in (nn.functional.avg_pool2d(maps, size), details):
        parts += [_spread(tiles), tiles.amax(dim=(2, 3)), tiles.amin(dim=(2, 3))]
    return parts
