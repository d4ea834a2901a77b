"""Look-alikes: pictures that are the same scene again, found by perceptual hashes.

Public endoscopy images come without patient numbers, and the same view returns under other names and in other
sizes. Where the patient is unknown, a cluster of look-alikes is the smallest honest group.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels

NEAR_BITS = 8
"""Hashes this close (of 64 bits) count as the same scene."""


def perceptual_hash(pixels: Pixels) -> int:
    """A 64-bit hash that survives scaling and compression.

    The signs, against their median, of the 8x8 lowest cosine frequencies of the 32x32 grey picture (pHash; Zauner
    2010, "Implementation and benchmarking of perceptual image hash functions").
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8]
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def group_look_alikes(
    hashes: Iterable[int], known: Iterable[str], near_bits: int = NEAR_BITS
) -> NDArray[np.int64]:
    """Group numbers from 0, so that look-alikes and what is known to belong together share one.

    Args:
        hashes: 64-bit hashes, one per picture.
        known: One key per picture; equal keys (a clip, a patient, a file name) belong together.
        near_bits: Largest Hamming distance of look-alikes.
    """
    codes = np.fromiter(hashes, np.uint64)
    parent = np.arange(len(codes))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = int(parent[number])
        return number

    for number, code in enumerate(codes):
        near = np.flatnonzero(np.bitwise_count(codes[number + 1 :] ^ code) <= near_bits)
        for other in near + number + 1:
            parent[root(int(other))] = root(number)
    first: dict[str, int] = {}
    for number, key in enumerate(known):
        parent[root(number)] = root(first.setdefault(key, number))
    roots = np.array([root(number) for number in range(len(codes))], np.int64)
    groups: NDArray[np.int64] = np.unique(roots, return_inverse=True)[1].astype(np.int64)
    return groups
