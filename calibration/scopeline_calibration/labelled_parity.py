"""Labelled parity: does a build score as the reference does, on pictures whose truth is known.

Differences of probabilities say how far two builds are apart; these say what that is worth. A build may round so that
no label changes and yet be less sure throughout, which only the calibration error shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Bundle, Head
from scopeline.crop import View
from scopeline.errors import ConfigError
from scopeline.field_estimator import field_of_still
from scopeline.parity import Check, ParityBars, ParityRow
from scopeline.picture import Picture, Pixels, Resizer, picture_from_file, picture_from_rgb, rgb_pixels
from scopeline.ports import Backend
from scopeline.seeing import whole_field
from scopeline_calibration.answers import classifying
from scopeline_calibration.labelled import UNKNOWN, Labelled, Report, sheet_rows
from scopeline_calibration.reliability import calibration_error
from scopeline_calibration.smoothing_suite import quadratic_kappa

MARKED = 127
"""Values of a mask file above this are marked; JPEG masks are grey at their edges."""

Score = Callable[[NDArray[np.float64], NDArray[np.int64]], float]


@dataclass(frozen=True, slots=True)
class KnownTruth:
    """Pictures in a network's size, with the truth that they are scored against."""

    pixels: Pixels
    """(N, H, W, 3) uint8 RGB."""
    truths: Mapping[str, NDArray[np.int64]]
    """(N,) label numbers per head; `UNKNOWN` where nothing is known."""
    masks: Mapping[str, NDArray[np.bool_]]
    """(N, H, W) per mask head, where the network is shown the picture."""
    told: str


def known_labels(labelled: Labelled) -> KnownTruth:
    """Pictures with labels."""
    return KnownTruth(labelled.pixels, labelled.truths, {}, labelled.told)


def known_masks(sheet: Path, head: Head, bundle: Bundle, *, below: Path | None, report: Report) -> KnownTruth:
    """Pictures of a sheet whose column of the head's name holds the mask's path; rows without one are left out.

    Raises:
        ConfigError: a column is missing, or a mask cannot be read.
        SourceError: a picture cannot be decoded.
    """
    rows = [row for _, row in sheet_rows(sheet, (head,)) if row.get(head.name)]
    if not rows:
        raise ConfigError(f"{sheet}: wanted paths of masks in the column {head.name}, got none")
    view = View(bundle.input.crop, bundle.input.width, bundle.input.height)
    base = below or sheet.parent
    pixels, masks = [], []
    for number, row in enumerate(rows, 1):
        aspect = float(row["aspect"]) if row.get("aspect") else None
        picture = _stretched(picture_from_file(base / row["path"]), aspect)
        field = field_of_still(rgb_pixels(picture)) or whole_field(picture.width, picture.height)
        pixels.append(view(picture, field))
        drawn = view(_mask_picture(base / row[head.name], picture.width, picture.height), field)
        masks.append(drawn[..., 0] > MARKED)
        report(number, len(rows))
    return KnownTruth(
        np.stack(pixels), {}, {head.name: np.stack(masks)}, f"{len(rows)} pictures of {sheet.name} with masks"
    )


def changes(
    bundle: Bundle,
    reference: Backend,
    candidate: Backend,
    known: KnownTruth,
    *,
    batches: Sequence[int],
    bars: ParityBars,
) -> tuple[ParityRow, ...]:
    """By how much a build's scores differ from the reference's, at the batch size where that is most.

    Quadratic kappa of grades, one-against-the-rest AUROC (mean over labels) and calibration error of every head with
    labels, mean Dice of masks. What gives no numbers differs by all there is.
    """
    wanted = _scores(bundle, reference, known, batch=1)
    worst: dict[tuple[str, Check], tuple[float, int]] = {}
    for batch in batches:
        found = _scores(bundle, candidate, known, batch=batch)
        for key, score in wanted.items():
            change = abs(found[key] - score)
            change = change if np.isfinite(change) else 1.0
            if key not in worst or change > worst[key][0]:
                worst[key] = (float(change), batch)
    return tuple(
        ParityRow(
            check=check,
            head=head,
            figure=change,
            bar=getattr(bars, check),
            batch=batch,
            passed=change <= getattr(bars, check),
        )
        for (head, check), (change, batch) in worst.items()
    )


def auroc(said: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Area under the curve of each label against the rest, 0..1, mean over the labels that occur (Mann-Whitney)."""
    areas = []
    for label in np.unique(truth):
        yes = truth == label
        if yes.all():
            return float("nan")
        # Ties share the mean of their ranks.
        _, place, count = np.unique(said[:, label], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(count) - (count - 1) / 2)[place]
        areas.append((ranks[yes].mean() - (yes.sum() + 1) / 2) / (~yes).sum())
    return float(np.mean(areas))


def _kappa(said: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    return quadratic_kappa(truth.tolist(), said.argmax(axis=1).tolist(), grades=said.shape[1])


def _scores(
    bundle: Bundle, backend: Backend, known: KnownTruth, *, batch: int
) -> dict[tuple[str, Check], float]:
    parts = [
        backend.infer(known.pixels[start : start + batch]) for start in range(0, len(known.pixels), batch)
    ]
    scores: dict[tuple[str, Check], float] = {}
    for head in classifying(bundle):
        truth = known.truths.get(head.name, np.array([UNKNOWN]))
        rows = np.flatnonzero(truth != UNKNOWN)
        if len(np.unique(truth[rows])) < 2:
            continue
        logits = np.concatenate([part[head.name] for part in parts])[rows]
        is_number = bool(np.isfinite(logits).all())
        said = np.stack([head.probabilities(row) for row in np.nan_to_num(logits)]).astype(np.float64)
        asked: dict[Check, Score] = {"auroc_change": auroc, "ece_change": calibration_error}
        if head.role == "grade":
            asked["qwk_change"] = _kappa
        for check, score in asked.items():
            scores[head.name, check] = score(said, truth[rows]) if is_number else float("nan")
    for name, truth_masks in known.masks.items():
        head = next(each for each in bundle.heads if each.name == name)
        logits = np.concatenate([part[name] for part in parts])
        scores[name, "dice_change"] = (
            _dice(head, logits, truth_masks) if np.isfinite(logits).all() else float("nan")
        )
    return scores


def _dice(head: Head, logits: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """Mean over the pictures; 1 where neither marks anything."""
    threshold = 0.5 if head.threshold is None else head.threshold
    found = []
    for row, wanted in zip(logits, truth, strict=True):
        said = head.mask(row) >= threshold
        both = int(said.sum() + wanted.sum())
        found.append(2 * int((said & wanted).sum()) / both if both else 1.0)
    return float(np.mean(found))


def _stretched(picture: Picture, aspect: float | None) -> Picture:
    if aspect is None:
        return picture
    return picture_from_rgb(Resizer(round(picture.height * aspect), picture.height)(picture))


def _mask_picture(path: Path, width: int, height: int) -> Picture:
    values = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if values is None:
        raise ConfigError(f"{path}: wanted a mask image, could not read it")
    marked = (values > MARKED).astype(np.uint8) * 255
    sized = cv2.resize(marked, (width, height), interpolation=cv2.INTER_NEAREST)
    return picture_from_rgb(np.repeat(sized[..., None], 3, axis=2))
