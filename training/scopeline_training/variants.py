"""Variants: the eight versions of study S5's data set, as switches over any data set.

Study S5 asked what cropping, balance and noise do, and built eight data sets by hand. Here a version is five
switches, applied after the split, so that all versions share one split and no copy of a test picture is trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import msgspec
import numpy as np

from scopeline.degrade import SEED_STYLE, degrade
from scopeline.errors import ConfigError, SinkError
from scopeline.picture import picture_from_file, rgb_pixels
from scopeline_training.catalogue import Catalogue, Sample, file_sha256
from scopeline_training.pictures import CropName, cache_folder
from scopeline_training.splitting import Numbers, Parts

NOISY_SHARE = 0.2
"""Share of the pictures that are spoilt where a data set tells nothing of quality; a fifth, as in study S5's rounds."""
GOOD = ("good", "clean", "1")
"""What sheets write for a good picture."""


class VariantPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[variant]` table of a recipe. What is left out leaves the data set as it is."""

    train_crop: CropName | None = None
    """How training and validation pictures are brought to the input; as in `[input]` if None."""
    test_crop: CropName | None = None
    balanced: bool = False
    """Training and validation pictures thinned out to the rarest label; test pictures stay."""
    train_noise: bool | None = None
    """True: bad pictures are in; False: out; None: as the data set comes."""
    test_noise: bool | None = None


def _version(crops: tuple[CropName, CropName], *, balanced: bool, noise: tuple[bool, bool]) -> VariantPlan:
    return VariantPlan(
        train_crop=crops[0], test_crop=crops[1], balanced=balanced, train_noise=noise[0], test_noise=noise[1]
    )


_UNIFORM: tuple[CropName, CropName] = ("disc2square", "disc2square")

VERSIONS: Mapping[str, VariantPlan] = {
    "0": _version(("none", "none"), balanced=False, noise=(True, True)),
    "1": _version(("box", "none"), balanced=False, noise=(True, True)),
    "2": _version(("box", "box"), balanced=False, noise=(True, True)),
    "3": _version(_UNIFORM, balanced=False, noise=(True, True)),
    "4": _version(_UNIFORM, balanced=True, noise=(True, True)),
    "5": _version(_UNIFORM, balanced=True, noise=(False, False)),
    "6": _version(_UNIFORM, balanced=True, noise=(False, True)),
    "7": _version(_UNIFORM, balanced=True, noise=(True, False)),
}
"""Study S5's data sets by their numbers: 0 no crop, 1 train cropped, 2 both cropped, 3 uniform crop, imbalanced and
noisy, 4 balanced and noisy, 5 balanced and clean, 6 train clean and test noisy, 7 the reverse. "Uniform" is the
study's circle turned into a rectangle."""


@dataclass(frozen=True, slots=True)
class Varied:
    """One part of a split, as a variant has it."""

    catalogue: Catalogue
    crop: CropName


def vary_parts(
    catalogue: Catalogue, parts: Parts, plan: VariantPlan, *, head: str, crop: CropName, seed: int
) -> dict[str, Varied]:
    """Train, val and test as the variant has them; an empty part is left out.

    Pictures are bad where the data set's quality says so. A data set that says nothing of quality gets its noise
    here: a fifth of the pictures become copies that are blurred, too dark or too bright, or both.

    Args:
        head: What balance is reckoned by.
        crop: Of parts for which the variant names none.

    Raises:
        ConfigError: nothing is left of a part, or the data set has no such head.
    """
    varied = {}
    for number, (name, numbers) in enumerate(parts.named().items()):
        if not len(numbers):
            continue
        noise = plan.test_noise if name == "test" else plan.train_noise
        part = with_noise(catalogue.take(numbers), noise, seed=seed + number)
        if plan.balanced and name != "test":
            part = balance(part, head, seed=seed)
        varied[name] = Varied(part, (plan.test_crop if name == "test" else plan.train_crop) or crop)
    return varied


def balance(catalogue: Catalogue, head: str, *, seed: int) -> Catalogue:
    """As many pictures of each label as the rarest has, drawn with the seed; unlabelled ones are left out.

    A label without any picture here is passed over: with few recordings, and none of them on two sides, a part may lack
    it (`scopeline_training.run_record.lacking` says so).

    Raises:
        ConfigError: fewer than two labels have pictures.
    """
    labels = catalogue.labels_of(head)
    counts = catalogue.counts(head)
    there = [number for number, count in enumerate(counts.values()) if count]
    if len(there) < 2:
        raise ConfigError(
            f"{catalogue.description}: cannot balance {head}, wanted pictures of two labels or more, got {counts}"
        )
    least = min(count for count in counts.values() if count)
    rng = np.random.default_rng((seed, 11))
    kept = [rng.choice(np.flatnonzero(labels == label), least, replace=False) for label in there]
    return catalogue.take(np.sort(np.concatenate(kept)).astype(np.int64))


def with_noise(catalogue: Catalogue, noise: bool | None, *, seed: int) -> Catalogue:
    """The data set with its bad pictures (True), without them (False), or as it is (None).

    Raises:
        ConfigError: no good picture is left.
    """
    if noise is None:
        return catalogue
    says = any(sample.quality for sample in catalogue.samples)
    if not noise:
        return catalogue.filtered(lambda sample: sample.quality is None or is_good(sample))
    return catalogue if says else _spoilt_some(catalogue, seed)


def is_good(sample: Sample) -> bool:
    """Whether the data set calls a picture good."""
    return sample.quality is not None and sample.quality.lower() in GOOD


def _spoilt_some(catalogue: Catalogue, seed: int) -> Catalogue:
    rng = np.random.default_rng((seed, 12))
    count = max(1, round(NOISY_SHARE * len(catalogue)))
    chosen: Numbers = np.sort(rng.choice(len(catalogue), count, replace=False))
    samples = list(catalogue.samples)
    for number in chosen:
        # Seeded by content, so that a picture is spoilt in the same way in every version.
        samples[number] = _spoilt(samples[number], seed)
    return replace(catalogue, samples=tuple(samples))


def _spoilt(sample: Sample, seed: int) -> Sample:
    """The sample with a copy that is spoilt as study S5 did it, kept beside the cache of pictures."""
    key = hashlib.sha256(f"{file_sha256(sample.path)} {seed}".encode()).hexdigest()
    path = cache_folder().parent / "spoilt" / f"{key}.png"
    if not path.is_file():
        rng = np.random.default_rng(int(key[:16], 16))
        family = str(rng.choice(SEED_STYLE))
        pixels = degrade(family, rgb_pixels(picture_from_file(sample.path)), rng, float(rng.uniform()))
        _, code = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        _write(path, code.tobytes())
    return replace(sample, path=path, quality="bad")


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise SinkError(f"{path}: cannot keep a spoilt picture ({error.strerror}); make room") from error
