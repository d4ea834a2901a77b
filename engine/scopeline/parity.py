"""Parity: does a runtime in some precision give the answers of the FP32 reference? Measured, with a verdict.

Every runtime and precision that is not the reference has to pass before it judges frames: FP16 builds that score
nothing where FP32 scores well have been reported, and nobody sees it in the latency. The reference is ONNX Runtime in
FP32. What is compared is what a user gets: calibrated probabilities, the label said, the mask drawn, the tag held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Bundle, Head
from scopeline.hostile_frames import hostile_frames
from scopeline.ports import Backend
from scopeline.smoothing import GRADE_SMOOTHING, LOCATION_SMOOTHING, make_smoother

__all__ = [
    "FP32_BARS",
    "REDUCED_BARS",
    "SURE_MARGIN",
    "ParityBars",
    "ParityRow",
    "ParityVerdict",
    "Stretch",
    "bars_of",
    "check_parity",
    "hostile_frames",
]

SURE_MARGIN = 0.02
"""Frames whose best label leads by at least this in FP32 may not change their label."""
USABLE_AT = 0.5
"""Frames with a lower quality probability do not speak to the smoother, as in a pipeline."""
_BINS = 100_000
"""Differences are counted in steps of 1e-5, so that millions of mask pixels need no memory."""

Check = Literal[
    "not_a_number", "max_difference", "p999_difference", "same_label", "same_sure_label", "mask_dice", "same_tags",
    "qwk_change", "auroc_change", "ece_change", "dice_change",
]  # fmt: skip
Logits = Mapping[str, NDArray[np.float32]]


class ParityBars(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to hold."""

    max_difference: float
    """Largest difference of any probability of any frame."""
    p999_difference: float
    """99.9th percentile of the same."""
    same_label: float = 0.999
    """Share of frames with the same most probable label."""
    same_sure_label: float = 1.0
    """The same among frames whose label leads by `SURE_MARGIN` in the reference."""
    mask_dice: float = 0.995
    """Mean Dice of the masks, over frames where either marks something."""
    same_tags: float = 1.0
    """Share of stretches whose tags, smoothed, are the same, with boundaries within one frame."""
    qwk_change: float = 0.002
    """Of a grade head's quadratic kappa, on pictures whose truth is known. This and what follows is measured only where
    there are such pictures (`scopeline calibrate precision --sheet`)."""
    auroc_change: float = 0.002
    """Of a head's mean area under the curve."""
    ece_change: float = 0.003
    """Of a head's expected calibration error."""
    dice_change: float = 0.002
    """Of the masks' mean Dice with the truth."""


REDUCED_BARS = ParityBars(max_difference=0.02, p999_difference=0.005)
"""FP16, BF16, INT8, TF32 and whatever else is not FP32."""
FP32_BARS = ParityBars(max_difference=1e-4, p999_difference=5e-5, mask_dice=0.999)
"""Another runtime in FP32: only the order of additions may differ."""


class ParityRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One check of one head, at the batch size where it was worst."""

    check: Check
    head: str
    figure: float
    bar: float
    batch: int
    passed: bool


class ParityVerdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the comparison found."""

    bundle: str
    network_sha256: str
    reference: str
    """`runtime/precision`."""
    candidate: str
    frames: int
    stretches: int
    """How many sequences were followed in time; without any, the row `same_tags` is absent."""
    batches: tuple[int, ...]
    rows: tuple[ParityRow, ...]

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)

    @property
    def failures(self) -> tuple[ParityRow, ...]:
        return tuple(row for row in self.rows if not row.passed)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames of a check that follow each other in time: from number `first` on, at these stream times in seconds."""

    first: int
    times_s: tuple[float, ...]


def bars_of(precision: str) -> ParityBars:
    """The bars for a candidate's precision."""
    return FP32_BARS if precision == "fp32" else REDUCED_BARS


def check_parity(
    bundle: Bundle,
    reference: Backend,
    candidate: Backend,
    frames: NDArray[np.uint8],
    *,
    batches: Sequence[int],
    stretches: Sequence[Stretch] = (),
    bars: ParityBars | None = None,
) -> ParityVerdict:
    """Show the same frames to both runtimes and compare what they say.

    Args:
        bundle: Whose network both have loaded.
        reference: FP32 ONNX Runtime, unless a test has another truth.
        candidate: What is to be trusted.
        frames: (N, H, W, 3) uint8 RGB in the bundle's input size; real ones, then hostile ones.
        batches: Every batch size that will be used. The last group of each may be smaller.
        stretches: Which frames are sequences; their tags after smoothing are compared too.
        bars: What has to hold; by the candidate's precision when left out.

    Raises:
        ValueError: there are no frames or no batch sizes, or the frames have another size than the bundle's input.
    """
    _check_input(bundle, frames, batches)
    bars = bars or bars_of(candidate.precision)
    answers = _answers(reference, frames, max(batches))
    by_batch = {}
    for batch in batches:
        comparisons = [_Comparison(head, len(frames)) for head in bundle.heads]
        for start in range(0, len(frames), batch):
            group = frames[start : start + batch]
            found = candidate.infer(group)
            for each in comparisons:
                name = each.head.name
                each.take(start, answers[name][start : start + len(group)], found[name])
        by_batch[batch] = _rows(comparisons, stretches, bars, batch)
    return ParityVerdict(
        bundle=bundle.name,
        network_sha256=bundle.network.sha256,
        reference=f"{reference.name}/{reference.precision}",
        candidate=f"{candidate.name}/{candidate.precision}",
        frames=len(frames),
        stretches=len(stretches),
        batches=tuple(batches),
        rows=tuple(_worst(same) for same in zip(*by_batch.values(), strict=True)),
    )


def _answers(reference: Backend, frames: NDArray[np.uint8], batch: int) -> dict[str, NDArray[np.float32]]:
    """The reference's answer to every frame, once: beside a fast candidate it is most of the time that a check takes.
    (Masks of 1700 frames at 96x96 are 63 MB.)"""
    parts = [reference.infer(frames[start : start + batch]) for start in range(0, len(frames), batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_input(bundle: Bundle, frames: NDArray[np.uint8], batches: Sequence[int]) -> None:
    wanted = (bundle.input.height, bundle.input.width, 3)
    if not len(frames) or frames.shape[1:] != wanted or frames.dtype != np.uint8:
        raise ValueError(
            f"frames of {bundle.name} must be (N, {wanted[0]}, {wanted[1]}, 3) uint8 with N at least 1, "
            f"got {frames.shape} {frames.dtype}"
        )
    if not batches or min(batches) < 1:
        raise ValueError(f"wanted at least one batch size from 1 on, got {list(batches)}")


@dataclass(slots=True)
class _Comparison:
    """Both runtimes' answers of one head, counted as they come."""

    head: Head
    frames: int
    wrong_numbers: int = 0
    largest: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS + 1, np.int64))
    dice: list[float] = field(default_factory=list)
    wanted: NDArray[np.float32] = field(init=False)
    """(N, K) probabilities of the reference; of masks none are kept."""
    found: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        labels = 0 if self.head.role == "mask" else len(self.head.labels)
        self.wanted = np.zeros((self.frames, labels), np.float32)
        self.found = np.zeros((self.frames, labels), np.float32)

    def take(self, start: int, wanted: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        """Compare logits of frames from number `start` on. A NaN or Inf of either runtime is a wrong number."""
        self.wrong_numbers += int((~np.isfinite(wanted)).sum() + (~np.isfinite(found)).sum())
        with np.errstate(all="ignore"):  # of what is no number, which is counted
            expected = np.stack([_answer(self.head, each) for each in wanted])
            said = np.stack([_answer(self.head, each) for each in found])
            # What cannot be compared differs by all there is.
            apart = np.nan_to_num(np.abs(expected - said), nan=1.0, posinf=1.0)
        self.largest = max(self.largest, float(apart.max()))
        np.add.at(self.counts, np.ceil(apart.ravel() * _BINS).astype(np.int64).clip(0, _BINS), 1)
        if self.head.role == "mask":
            for one, other in zip(expected, said, strict=True):
                self._take_mask(one, other)
        else:
            self.wanted[start : start + len(wanted)] = expected
            self.found[start : start + len(found)] = said

    def _take_mask(self, expected: NDArray[np.float32], said: NDArray[np.float32]) -> None:
        threshold = 0.5 if self.head.threshold is None else self.head.threshold
        one, other = expected >= threshold, said >= threshold
        marked = int(one.sum() + other.sum())
        if marked:
            self.dice.append(2 * int((one & other).sum()) / marked)

    @property
    def p999(self) -> float:
        """99.9th percentile of the differences, rounded up to 1e-5 and no more than the largest."""
        upto = np.cumsum(self.counts)
        return min(self.largest, float(np.searchsorted(upto, 0.999 * upto[-1])) / _BINS)


def _answer(head: Head, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return head.mask(logits) if head.role == "mask" else head.probabilities(logits)


def _rows(
    comparisons: Sequence[_Comparison], stretches: Sequence[Stretch], bars: ParityBars, batch: int
) -> list[ParityRow]:
    quality = next((each for each in comparisons if each.head.role == "quality"), None)
    rows = []
    for each in comparisons:
        figures: dict[Check, float] = {
            "not_a_number": each.wrong_numbers,
            "max_difference": each.largest,
            "p999_difference": each.p999,
        }
        if each.head.role == "mask":
            figures["mask_dice"] = float(np.mean(each.dice)) if each.dice else 1.0
        else:
            figures |= _label_figures(each)
        if stretches and each.head.role not in ("mask", "quality"):
            figures["same_tags"] = float(
                np.mean([_has_same_tags(each, quality, stretch) for stretch in stretches])
            )
        rows += [_row(each.head.name, check, figure, bars, batch) for check, figure in figures.items()]
    return rows


def _row(head: str, check: Check, figure: float, bars: ParityBars, batch: int) -> ParityRow:
    bar = 0.0 if check == "not_a_number" else float(getattr(bars, check))
    passed = figure <= bar if check in _AT_MOST else figure >= bar
    return ParityRow(check=check, head=head, figure=float(figure), bar=bar, batch=batch, passed=passed)


_AT_MOST = ("not_a_number", "max_difference", "p999_difference")


def _worst(rows: Sequence[ParityRow]) -> ParityRow:
    """Of one check at every batch size, where it was worst."""
    side = 1 if rows[0].check in _AT_MOST else -1
    return max(rows, key=lambda row: side * row.figure)


def _label_figures(each: _Comparison) -> dict[Check, float]:
    wanted, found = np.nan_to_num(each.wanted), np.nan_to_num(each.found)
    same = wanted.argmax(axis=1) == found.argmax(axis=1)
    ranked = np.sort(wanted, axis=1)
    sure = ranked[:, -1] - ranked[:, -2] >= SURE_MARGIN
    return {
        "same_label": float(same.mean()),
        "same_sure_label": float(same[sure].mean()) if sure.any() else 1.0,
    }


def _has_same_tags(each: _Comparison, quality: _Comparison | None, stretch: Stretch) -> bool:
    """Whether a stretch gets the same tags in the same order, each change within one frame."""
    place = quality.head.labels.index("good") if quality else 0
    one = _changes(each.head, stretch, each.wanted, quality.wanted[:, place] if quality else None)
    other = _changes(each.head, stretch, each.found, quality.found[:, place] if quality else None)
    return [tag for _, tag in one] == [tag for _, tag in other] and all(
        abs(a - b) <= 1 for (a, _), (b, _) in zip(one, other, strict=True)
    )


def _changes(
    head: Head, stretch: Stretch, said: NDArray[np.float32], good: NDArray[np.float32] | None
) -> list[tuple[int, int | None]]:
    """(frame, new tag) at every change of the smoothed tag, by the default settings of the head's role."""
    smoother = make_smoother(
        GRADE_SMOOTHING if head.role == "grade" else LOCATION_SMOOTHING, len(head.labels)
    )
    changes: list[tuple[int, int | None]] = []
    held: int | None = None
    for step, time_s in enumerate(stretch.times_s):
        row = np.nan_to_num(said[stretch.first + step])
        weight = 1.0 if good is None else float(np.nan_to_num(good[stretch.first + step]))
        is_usable = weight >= USABLE_AT
        tag = (smoother.update(time_s, row, weight) if is_usable else smoother.hold(time_s)).tag
        if tag != held:
            changes.append((step, tag))
            held = tag
    return changes
