"""Statistics: fixed numbers about a whole picture, computed inside the network's graph.

A gate must notice that a picture is unlike every good one, also in a way it was never shown. Learned filters see
what they were taught; these numbers do not depend on what was taught: colour and its spread, agreement of the
channels' edges, differences along and across at several distances (natural scene statistics, Mittal et al. 2012,
BRISQUE; differences at two distances tell a comb), clipped and dark shares, and how all this varies over the picture.

They ride along with every frame, so they are laid out for ONNX Runtime: one convolution makes every linear map at
every fourth place, and few, large operations follow. 0.19 ms at 128x128 on one core, where a first version, with maps
of their own at half the resolution and averages over 7x7 tiles, took 0.70 ms and told untaught faults less well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EVERY = 4
"""Pixels from one place that is looked at to the next, down and across."""
LAGS = (1, 2, 3, 5)
"""Distances in pixels over which brightness is compared."""
COLOURS, EDGES, BENDS, STEPS = 0, 3, 6, 8
"""Where in the maps each kind begins: 3 colours, 3 edges, 2 bends, 8 steps."""
MAPS = STEPS + 2 * len(LAGS)
LOOKS = 13
"""What is noted of each place; the last of them is whiteness."""
COUNT = 88
"""How many numbers there are."""

_ALL = (0, 1, 2)
_LEVELS = (
    (_ALL, 1, (0.75, 0.85, 0.95)), ((1,), 1, (0.6, 0.75, 0.9)), ((2,), 1, (0.6, 0.75, 0.9)),
    (_ALL, -1, (0.05, 0.12, 0.25)),
)  # fmt: skip
"""(colours, above or below, levels) of the shares of bright, white and dark places."""
_PAIRS = ((0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3))
"""Maps whose agreement is asked: each two colours, each two colours' edges."""
_PICKED = [(MAPS + 1) * number for number in range(STEPS)] + [MAPS * one + two for one, two in _PAIRS]
"""Of the 16x16 second moments: the variances, then the covariances of the pairs."""


class Statistics(nn.Module):
    """(N, 3, H, W) float RGB of 0..255 -> (N, `COUNT`) float32 of a few units. Has no weights to be learned."""

    def __init__(self) -> None:
        super().__init__()
        floor = torch.full((1, MAPS, 1, 1), 3e-3)  # keeps logarithms finite
        floor[:, :EDGES] = 0.02  # 5 of 255 levels
        levels, offsets = _levels()
        constants = {
            "bank": _bank(), "floor": floor, "looks": _looks(), "levels": levels, "offsets": offsets,
        }  # fmt: skip
        for name, constant in constants.items():
            self.register_buffer(name, constant, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = nn.functional.conv2d(pixels, self.get_buffer("bank"), stride=EVERY)
        sizes = maps.abs()
        return torch.cat([*self._whole(maps, sizes), *self._places(sizes)], dim=1)

    def _whole(self, maps: Tensor, sizes: Tensor) -> list[Tensor]:
        """Means and spreads of the colours, their and their edges' agreement, sizes of steps, clipped shares."""
        flat = _flat(maps)
        centred = flat - flat.mean(dim=2, keepdim=True)
        moments = (centred @ centred.transpose(1, 2)).reshape(-1, MAPS * MAPS)
        moments = moments.index_select(1, torch.tensor(_PICKED)) * (1 / int(flat.shape[2]))
        variance = moments[:, :STEPS] + 1e-6
        root = torch.sqrt(variance[:, :BENDS])
        others = torch.cat(
            [root[:, 1:3], root[:, :1], root[:, 4:], root[:, 3:4]], dim=1
        )  # the second of each pair
        agreement = moments[:, STEPS:] / (root * others)
        shares = nn.functional.conv2d(maps, self.get_buffer("levels"), self.get_buffer("offsets")).clamp(
            0.0, 1.0
        )
        size = _mean(sizes)
        logs = torch.log(torch.cat([variance, _mean(shares) + 0.02, size[:, BENDS:] + 1e-3], dim=1))
        bends = STEPS + shares.shape[1]
        kurtosis = logs[:, BENDS:STEPS] - 2 * logs[:, bends : bends + 2]  # large: a few hard edges
        return [size[:, :EDGES], logs[:, :EDGES], logs[:, STEPS:], kurtosis, agreement]

    def _places(self, sizes: Tensor) -> list[Tensor]:
        """Mean, spread, largest and smallest of each look over the picture."""
        log = torch.log(sizes + self.get_buffer("floor"))
        white = log[:, :EDGES].amin(dim=1, keepdim=True)
        looks = _flat(torch.cat([nn.functional.conv2d(log, self.get_buffer("looks")), white], dim=1))
        mean = looks.mean(dim=2, keepdim=True)
        away = looks - mean
        spread = torch.sqrt((away * away).mean(dim=2) + 1e-6)
        return [mean[:, :, 0], spread, looks.amax(dim=2), looks.amin(dim=2)]


def _flat(x: Tensor) -> Tensor:
    """(N, C, places); with plain numbers as lengths, so that the export needs no arithmetic of shapes."""
    return x.reshape(-1, int(x.shape[1]), int(x.shape[2]) * int(x.shape[3]))


def _mean(x: Tensor) -> Tensor:
    """(N, C) means; pooling is several times as fast in ONNX Runtime as a mean over two axes."""
    return nn.functional.adaptive_avg_pool2d(x, 1).reshape(-1, int(x.shape[1]))


def _bank() -> Tensor:
    """(16, 3, 6, 6): colours as 4x4 means; per colour the difference of 2x2 means across the diagonal; of the mean
    of the colours the bend across and down, and the differences at each distance, across then down."""  # fmt: skip
    bank = torch.zeros(MAPS, 3, max(LAGS) + 1, max(LAGS) + 1)
    for colour in _ALL:
        bank[COLOURS + colour, colour, 1:5, 1:5] = 1 / 16
        bank[EDGES + colour, colour, :2, :2] = -1 / 4
        bank[EDGES + colour, colour, 4:, 4:] = 1 / 4
    bank[BENDS, :, 2, :3] = bank[BENDS + 1, :, :3, 2] = torch.tensor([1.0, -2.0, 1.0]) / 3
    for number, lag in enumerate(LAGS):
        across, down = bank[STEPS + 2 * number], bank[STEPS + 2 * number + 1]
        across[:, 0, [0, lag]] = down[:, [0, lag], 0] = torch.tensor([-1.0, 1.0]) / 3
    return bank / 255.0


def _levels() -> tuple[Tensor, Tensor]:
    """Weights and offsets from the maps to 0..1: 0 well on the wrong side of a level, 1 well on the right one."""
    rows = [(colours, side, level) for colours, side, levels in _LEVELS for level in levels]
    weights, offsets = torch.zeros(len(rows), MAPS, 1, 1), torch.zeros(len(rows))
    for row, (colours, side, level) in enumerate(rows):
        weights[row, list(colours)] = 10.0 * side / len(colours)
        offsets[row] = 0.5 - 10.0 * side * level
    return weights, offsets


def _looks() -> Tensor:
    """From logs of the maps to looks: brightness, hues, detail, direction, and sharpness, whatever the contrast.

    Sharpness is bends and near steps against far steps; direction is steps across against down.
    """
    near, next_, far = STEPS, STEPS + 2, MAPS - 2  # each across; down is the next
    rows: list[dict[int, float]] = [{0: 1 / 3, 1: 1 / 3, 2: 1 / 3}, {0: 1, 1: -1}, {2: 1, 1: -1}]
    rows += [{near: 1}, {near + 1: 1}, {near: 1, near + 1: -1}]
    for fine in (near, BENDS, next_):
        rows += [{fine + way: 1, far + way: -1} for way in (0, 1)]
    looks = torch.zeros(LOOKS - 1, MAPS, 1, 1)
    for row, weights in enumerate(rows):
        for number, weight in weights.items():
            looks[row, number] = weight
    return looks
