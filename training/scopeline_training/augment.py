"""Augmentation: the variation that says nothing about the answer, and the pictures that are spoilt on purpose."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scopeline.degrade import FAMILIES, degrade, harmless
from scopeline.picture import Pixels
from scopeline_training.examples import UNKNOWN
from scopeline_training.outliers import outlier


def spoil_some(
    pixels: Pixels,
    targets: dict[str, Tensor],
    rng: np.random.Generator,
    *,
    share: float,
    families: tuple[str, ...] = FAMILIES,
    outlier_share: float = 0.0,
) -> None:
    """Degrades some of the good pictures of a batch in place; they become bad and lose their other labels.

    `outlier_share` of them are made generic outliers, the others get one of the families. The rest gets harmless
    blur and gain instead, so that "bad" is not simply "touched".
    """
    for number in range(len(pixels)):
        if targets["quality"][number] != 1:
            continue
        if rng.random() < share:
            severity = float(rng.uniform())
            if rng.random() < outlier_share:
                pixels[number] = outlier(pixels[number], rng, severity)
            else:
                pixels[number] = degrade(str(rng.choice(families)), pixels[number], rng, severity)
            for head in targets:
                targets[head][number] = 0 if head == "quality" else UNKNOWN
        elif rng.random() < 0.5:
            pixels[number] = harmless(pixels[number], rng)


def vary(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirrored, turned by quarter turns, moved, and slightly recoloured copies, (N, H, W, 3) uint8.

    A scope has no up and no left. Colours and brightness move by a few per cent: further would be another grade.
    """
    turns = torch.from_numpy(rng.integers(0, 4, len(pixels)))
    parts = []
    for turn in range(4):
        parts.append((torch.nonzero(turns == turn).ravel(), turn))
    varied = torch.empty_like(pixels)
    for numbers, turn in parts:
        varied[numbers] = torch.rot90(pixels[numbers], turn, dims=(1, 2))
    mirrored = torch.from_numpy(rng.random(len(pixels)) < 0.5)
    varied[mirrored] = varied[mirrored].flip(2)
    reach = pixels.shape[1] // 16
    down, right = (int(each) for each in rng.integers(-reach, reach + 1, 2))
    varied = _moved(varied, down, right, reach)
    gain = torch.from_numpy(rng.normal(1.0, (0.04, 0.05, 0.06), (len(pixels), 3)).astype(np.float32))
    return (varied.float() * gain[:, None, None, :]).clamp(0, 255).round().to(torch.uint8)


def _moved(pixels: Tensor, down: int, right: int, reach: int) -> Tensor:
    padded = torch.nn.functional.pad(
        pixels.permute(0, 3, 1, 2).float(), (reach, reach, reach, reach), mode="reflect"
    )
    height, width = pixels.shape[1:3]
    cut = padded[:, :, reach + down : reach + down + height, reach + right : reach + right + width]
    return cut.permute(0, 2, 3, 1).to(torch.uint8)
