"""Examples: pictures as the network will see them, what is known of each, and who belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels

UNKNOWN = -1
"""Target of a picture that nobody labelled for a head."""


@dataclass(frozen=True, slots=True)
class Examples:
    """N pictures with their targets."""

    pixels: Pixels
    """(N, H, W, 3) uint8 RGB, cropped and scaled by the engine's own code."""
    targets: dict[str, NDArray[np.int64]]
    """Per head (N,) label numbers, UNKNOWN where there is none."""
    groups: NDArray[np.int64]
    """(N,) pictures with the same number may share a patient and never face each other across a split."""
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.pixels)
        sizes = {len(self.groups), len(self.names), *(len(each) for each in self.targets.values())}
        if sizes != {count}:
            raise ValueError(
                f"pixels, targets, groups and names must have one length, got {count} and {sizes}"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Examples:
        """Some of the examples, by number or by mask."""
        numbers = np.arange(len(self))[index]
        return Examples(
            self.pixels[numbers],
            {head: each[numbers] for head, each in self.targets.items()},
            self.groups[numbers],
            tuple(self.names[number] for number in numbers),
        )


def join(parts: Sequence[Examples]) -> Examples:
    """The examples of all parts; groups of different parts are taken to be different."""
    heads = sorted({head for part in parts for head in part.targets})
    groups, offset = [], 0
    for part in parts:
        groups.append(part.groups - part.groups.min() + offset)
        offset = int(groups[-1].max()) + 1
    return Examples(
        np.concatenate([part.pixels for part in parts]),
        {
            head: np.concatenate([part.targets.get(head, np.full(len(part), UNKNOWN)) for part in parts])
            for head in heads
        },
        np.concatenate(groups),
        tuple(name for part in parts for name in part.names),
    )
