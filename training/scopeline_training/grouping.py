"""Grouping: which pictures may never face each other across a split.

Patients, where the data set names them. Where it does not, clusters of look-alikes stand in: 64-bit perceptual hashes
(imagehash's pHash) within a Hamming distance of 8, joined by union-find, across labels and file names.

The hash is of the whole file, not of the view: of 968 polyp pictures it joins the 90 that are there twice in two
sizes; the hash of the view, whose crop differs between the sizes, finds 22 of them. Two patients whom the data set
tells apart are joined only by an identical hash: all retinal scans look alike, and distance 8 would lump 240 of them,
of 80 patients, into 10 groups with 207 in one.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue, file_sha256
from scopeline_training.look_alikes import NEAR_BITS, group_look_alikes


def group_numbers(catalogue: Catalogue, hamming: int = NEAR_BITS) -> NDArray[np.int64]:
    """(N,) group numbers from 0: same patient, same picture, or look-alikes where a patient is unknown.

    Args:
        hamming: Largest distance of look-alikes, of 64 bits. Study S3 had 0 and kept near duplicates apart.

    Raises:
        ConfigError: a picture cannot be decoded.
    """
    hashes = [picture_hash(sample.path) for sample in catalogue.samples]
    keys = [
        f"patient {sample.group}" if sample.group is not None else f"picture {number}"
        for number, sample in enumerate(catalogue.samples)
    ]
    groups = group_look_alikes(hashes, keys, near_bits=0)
    unknown = np.array([sample.group is None for sample in catalogue.samples])
    if not unknown.any():
        return groups
    return _joined(groups, np.array(hashes, np.uint64), unknown, hamming)


def without_look_alikes(catalogue: Catalogue, hamming: int = NEAR_BITS) -> Catalogue:
    """The catalogue without the clear pictures that look like one with a mask.

    Whether nothing is to be marked in them is doubtful, and they would join groups that know nothing of each other:
    then the pictures with masks would be split otherwise than without the clear ones.
    """
    clear = np.array([sample.is_clear for sample in catalogue.samples])
    if not clear.any() or clear.all():
        return catalogue
    hashes = np.array([picture_hash(sample.path) for sample in catalogue.samples], np.uint64)
    far = [bool((np.bitwise_count(hashes[~clear] ^ each) > hamming).all()) for each in hashes[clear]]
    return catalogue.take(np.concatenate([np.flatnonzero(~clear), np.flatnonzero(clear)[far]]))


def picture_hash(path: Path) -> int:
    """The 64-bit pHash of an image file's pixels (Zauner 2010, as imagehash computes it).

    Raises:
        ConfigError: the file cannot be decoded.
    """
    return _hash(file_sha256(path), path)


@lru_cache(maxsize=200_000)
def _hash(_sha256: str, path: Path) -> int:
    import imagehash
    from PIL import Image

    try:
        with Image.open(path) as image:
            return int(str(imagehash.phash(image.convert("RGB"))), 16)
    except OSError as error:
        raise ConfigError(f"{path}: wanted an image file, could not decode it ({error})") from error


def _joined(
    groups: NDArray[np.int64], hashes: NDArray[np.uint64], unknown: NDArray[np.bool_], hamming: int
) -> NDArray[np.int64]:
    """Groups joined wherever a picture of an unknown patient is near to any other."""
    parent = np.arange(int(groups.max()) + 1)

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = int(parent[number])
        return number

    for number in np.flatnonzero(unknown):
        near = np.flatnonzero(np.bitwise_count(hashes ^ hashes[number]) <= hamming)
        for other in set(groups[near].tolist()):
            parent[root(other)] = root(int(groups[number]))
    roots = np.array([root(int(group)) for group in groups], np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)
