"""Shortcut probes: can a label be told from what is no disease?

Run on every data set and crop before it is trained on (docs: science 4.9). Five linear probes over the same grouped
folds, each one label against the rest:

    a  border     the outer ring of what the network sees
    b  file       size, format, resolution and JPEG tables of the file
    c  thumbnail  the 16x16 grey thumbnail of what the network sees: no shortcut, but the baseline to beat
    d  overlay    position display, blackened boxes and text-coloured pixels in the whole file
    e  geometry   the place, size and aspect of the crop

A set is refused when a label has fewer than 5 groups, or when a, b, d or e tells any label with an AUROC above 0.65,
or above the thumbnail's by more than 0.03. A set that is used all the same is stamped with the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from scopeline.crop import CropKind, View
from scopeline.errors import ConfigError
from scopeline.field_estimator import field_of_still
from scopeline.field_of_view import FieldOfView
from scopeline.overlay import OverlayKind
from scopeline.picture import Pixels, picture_from_file, rgb_pixels
from scopeline_training.catalogue import Catalogue, Sample, file_sha256
from scopeline_training.examples import UNKNOWN
from scopeline_training.grouping import group_numbers
from scopeline_training.pictures import CropName, PicturePlan, load_pixels
from scopeline_training.probes import Features, border_ring, thumbnail
from scopeline_training.probes import probe as out_of_fold
from scopeline_training.seeing import whole_field

LEAST_GROUPS = 5
LIMIT = 0.65
OVER_THUMBNAIL = 0.03
FOLDS = 5
MOST = 3000
"""Pictures that are looked at, drawn with the seed: the probes' figures are settled to 0.02 by then."""
_SIZE = 64
_FORMATS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_GUIDE_LOW, _GUIDE_HIGH = (70, 90, 80), (92, 255, 255)
"""Hue, saturation and value of position displays, as in `scopeline.overlay`."""


@dataclass(frozen=True, slots=True)
class ProbeVerdict:
    """What the probes found in one data set, for one head and crop."""

    refused: bool
    reasons: tuple[str, ...]
    """Why it is refused, one sentence each; empty when it is not."""
    aurocs: Mapping[str, float]
    """Probe -> AUROC of the label that it tells best, against the rest. `thumbnail` is the baseline to beat."""
    head: str = ""
    crop: str = ""
    groups: Mapping[str, int] = field(default_factory=dict)
    """Label -> number of groups."""
    grouped: bool = True
    """False when a label has too few groups for grouped folds: the figures are then of random folds, and too high."""

    def __str__(self) -> str:
        """The stamp for reports and cards."""
        figures = ", ".join(f"{name} {value:.3f}" for name, value in self.aurocs.items())
        said = "REFUSED" if self.refused else "passed"
        folds = "grouped" if self.grouped else "random"
        text = f"Shortcut probes of {self.head!r} with crop {self.crop}: {said}. AUROC in {folds} folds: {figures}."
        return " ".join([text, *self.reasons])


def probe(catalogue: Catalogue, crop: CropName, *, head: str | None = None, seed: int = 0) -> ProbeVerdict:
    """Whether a data set's labels can be told by a shortcut in what a network would be shown.

    Args:
        crop: What the network is shown.
        head: The labels to tell; the first head if None. A data set of masks alone has none and passes.
        seed: Of the folds.

    Raises:
        ConfigError: the data set has no such head, or a picture cannot be read.
    """
    head = head or next(iter(catalogue.classes), None)
    if head is None:
        return ProbeVerdict(False, (), {}, crop=crop)
    catalogue = _labelled(catalogue, head, seed)
    labels, groups = catalogue.labels_of(head), group_numbers(catalogue)
    names = catalogue.classes[head]
    per_label = {name: len(set(groups[labels == number].tolist())) for number, name in enumerate(names)}
    few = [f"{name!r} ({count})" for name, count in per_label.items() if count < LEAST_GROUPS]
    reasons = []
    if few:
        reasons.append(
            f"Wanted {LEAST_GROUPS} groups (patients or look-alike clusters) of every label, "
            f"got fewer of {', '.join(few)}."
        )
        groups = np.arange(len(groups))
    aurocs = {
        name: _told(features, labels, groups, seed) for name, features in _features(catalogue, crop).items()
    }
    reasons += _shortcuts(aurocs, labels)
    return ProbeVerdict(bool(reasons), tuple(reasons), aurocs, head, crop, per_label, not few)


def need_pass(verdict: ProbeVerdict, *, force: bool) -> None:
    """Stops a run on a refused set, unless it is forced; whoever forces stamps the report with `str(verdict)`.

    Raises:
        ConfigError: the set is refused.
    """
    if verdict.refused and not force:
        raise ConfigError(
            f"the data set can be told apart by a shortcut. {verdict} "
            "Choose another crop or data set, or force the run: its report will then bear this verdict"
        )


def _labelled(catalogue: Catalogue, head: str, seed: int) -> Catalogue:
    known = np.flatnonzero(catalogue.labels_of(head) != UNKNOWN)
    if len(known) > MOST:
        known = np.sort(np.random.default_rng((seed, 21)).choice(known, MOST, replace=False))
    return catalogue.take(known)


def _shortcuts(aurocs: Mapping[str, float], labels: NDArray[np.int64]) -> list[str]:
    """Sentences on the probes that tell too much."""
    baseline = aurocs["thumbnail"]
    # A probe that is no better than chance may lie 0.03 above an equally poor thumbnail by chance alone.
    rarest = int(np.bincount(labels).min())
    noise = 2 * np.sqrt(1 / (6 * max(rarest, 1)))
    reasons = []
    for name, value in aurocs.items():
        if name == "thumbnail":
            continue
        if value > LIMIT:
            reasons.append(f"The {name} alone tells a label with AUROC {value:.3f} (limit {LIMIT}).")
        elif value > baseline + OVER_THUMBNAIL and value > 0.5 + noise:
            reasons.append(f"The {name} (AUROC {value:.3f}) tells more than the thumbnail ({baseline:.3f}).")
    return reasons


def _told(features: Features, labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int) -> float:
    """AUROC, out of fold, of the label that is told best against the rest."""
    varying = features[:, features.std(axis=0) > 1e-6]
    if varying.shape[1] == 0:
        return 0.5
    folds = min(FOLDS, len(np.unique(groups)), int(np.bincount(labels).min()))
    if folds < 2:
        return 0.5
    said = out_of_fold(varying, labels, groups, folds=folds, seed=seed)
    told = [roc_auc_score(labels == label, said[:, label]) for label in range(said.shape[1])]
    return float(max(told))


def _features(catalogue: Catalogue, crop: CropName) -> dict[str, Features]:
    plan = PicturePlan(size=_SIZE, crop=crop)
    seen = np.stack([load_pixels(sample, plan) for sample in catalogue.samples])
    fields = [_field(sample) for sample in catalogue.samples]
    features = {
        "border": border_ring(seen),
        "file": _rows(_file_facts, catalogue.samples),
        "thumbnail": thumbnail(seen),
        "overlay": np.array(
            [_overlays(found, crop, pixels) for found, pixels in zip(fields, seen, strict=True)], np.float32
        ),
    }
    if crop != "inscribed":  # its aspect is fixed
        features["geometry"] = np.array([_geometry(found, crop) for found in fields], np.float32)
    return features


def _rows(see: Callable[[Sample], list[float]], samples: tuple[Sample, ...]) -> Features:
    return np.array([see(sample) for sample in samples], np.float32)


def _file_facts(sample: Sample) -> list[float]:
    """Size, format, resolution and quantisation of the file, as numbers."""
    from PIL import Image

    try:
        with Image.open(sample.path) as image:
            width, height, mode = image.width, image.height, image.mode
            tables = getattr(image, "quantization", {}) or {}
            is_progressive = bool(image.info.get("progressive"))
    except OSError as error:
        raise ConfigError(f"{sample.path}: wanted an image file, could not decode it ({error})") from error
    size = sample.path.stat().st_size
    luma, chroma = (list(tables.get(number, [])) for number in (0, 1))
    return [
        np.log(size),
        np.log(size / (width * height)),
        np.log(width),
        np.log(height),
        width / height,
        float(mode == "L"),
        float(is_progressive),
        float(np.mean(luma)) if luma else 0.0,
        float(np.mean(chroma)) if chroma else 0.0,
        *(float(sample.path.suffix.lower() == suffix) for suffix in _FORMATS),
    ]


def _field(sample: Sample) -> FieldOfView:
    return _field_of(file_sha256(sample.path), sample.path)


@lru_cache(maxsize=10_000)
def _field_of(_sha256: str, path: Path) -> FieldOfView:
    """Remembered: several crops of one set are probed one after the other."""
    picture = picture_from_file(path)
    return field_of_still(rgb_pixels(picture)) or whole_field(picture.width, picture.height)


def _overlays(view_of: FieldOfView, crop: CropName, pixels: Pixels) -> list[float]:
    """What of the overlays the crop leaves in sight: presence and area by kind, and the share of their green."""
    source = _source(view_of, crop)
    row = []
    for kind in (OverlayKind.SCOPE_GUIDE, OverlayKind.BLACK_BOX):
        areas = [_common(overlay.box, source) for overlay in view_of.overlays if overlay.kind is kind]
        row += [float(any(area > 0 for area in areas)), sum(areas) / (source[2] * source[3])]
    green = cv2.inRange(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), _GUIDE_LOW, _GUIDE_HIGH)
    return [*row, cv2.countNonZero(green) / green.size]


def _geometry(field: FieldOfView, crop: CropName) -> list[float]:
    """Aspect of what is cut out, which a squashed or letterboxed input shows."""
    _, _, width, height = _source(field, crop)
    return [np.log(width / height)]


def _source(field: FieldOfView, crop: CropName) -> tuple[int, int, int, int]:
    if crop == "none":
        return (0, 0, field.signal_width, field.signal_height)
    return View(CropKind(crop), _SIZE, _SIZE).placement(field).source


def _common(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    across = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    down = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    return float(max(across, 0) * max(down, 0))
