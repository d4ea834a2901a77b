"""A runtime is trusted only where its answers are the reference's; planted differences are found and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import MES, ORGAN, POLYP, QUALITY, FakeBackend, fake_bundle
from scopeline.hostile_frames import HOSTILE_COUNT
from scopeline.parity import ParityRow, ParityVerdict, Stretch, check_parity, hostile_frames

_SIZE = 32
_FRAMES = np.random.default_rng(3).integers(0, 256, (60, _SIZE, _SIZE, 3)).astype(np.uint8)
_STRETCH = Stretch(0, tuple(number / 5 for number in range(60)))
Change = Callable[[str, NDArray[np.float32]], NDArray[np.float32]]


def _answer(picture: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
    """Anything that differs from frame to frame; good, and in the rectum."""
    grey = picture.astype(np.float32).mean(axis=(0, 1)) - 127
    return {
        "quality": np.array([0, 4], np.float32),
        "organ": np.array([grey[0], 3 + grey[1], grey[2]], np.float32),
        "mes": np.array([grey[0], grey[1], grey[2], 0.1], np.float32),
        "polyp": ((picture[None, ..., 0].astype(np.float32) - 127) / 20).astype(np.float32),
    }


def _changed(change: Change, precision: str = "fp16") -> FakeBackend:
    backend = FakeBackend(
        lambda picture: {name: change(name, logits) for name, logits in _answer(picture).items()}
    )
    backend.precision = precision
    return backend


def _verdict(change: Change, precision: str = "fp16") -> ParityVerdict:
    return check_parity(
        fake_bundle(QUALITY, ORGAN, MES, POLYP),
        FakeBackend(_answer),
        _changed(change, precision),
        _FRAMES,
        batches=[1, 4],
        stretches=[_STRETCH],
    )


def _row(verdict: ParityVerdict, head: str, check: str) -> ParityRow:
    return next(row for row in verdict.rows if row.head == head and row.check == check)


def test_a_runtime_that_answers_alike_passes_every_check() -> None:
    verdict = _verdict(lambda name, logits: logits, "fp32")
    assert verdict.passed
    assert verdict.candidate == "fake/fp32"
    assert {row.check for row in verdict.rows} == {
        "not_a_number", "max_difference", "p999_difference", "same_label", "same_sure_label", "mask_dice", "same_tags"
    }  # fmt: skip


def test_a_planted_difference_is_measured_as_large_as_it_is() -> None:
    shift = np.array([0.0, 0.2, 0.0, 0.0], np.float32)
    verdict = _verdict(lambda name, logits: logits + shift if name == "mes" else logits)
    rows = np.stack([_answer(picture)["mes"] for picture in _FRAMES]).astype(np.float64)
    both = [np.exp(each) / np.exp(each).sum(axis=1, keepdims=True) for each in (rows, rows + shift)]
    apart = np.abs(both[0] - both[1])
    assert _row(verdict, "mes", "max_difference").figure == pytest.approx(apart.max(), abs=1e-6)
    assert _row(verdict, "mes", "p999_difference").figure == pytest.approx(
        np.quantile(apart, 0.999, method="inverted_cdf"), abs=1.1e-5
    )
    assert {row.head for row in verdict.failures} == {"mes"}


def test_one_value_that_is_no_number_refuses_a_runtime() -> None:
    def spoil(name: str, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(logits == _answer(_FRAMES[7])["organ"][2], np.float32(np.nan), logits)

    verdict = _verdict(spoil)
    assert not verdict.passed
    assert _row(verdict, "organ", "not_a_number").figure == 1
    assert _row(verdict, "organ", "max_difference").figure == 1.0


def test_a_reference_that_gives_infinities_is_no_reference() -> None:
    infinite = FakeBackend(lambda picture: {"quality": np.array([np.inf, 0], np.float32)})
    verdict = check_parity(fake_bundle(QUALITY), infinite, infinite, _FRAMES[:4], batches=[2])
    assert _row(verdict, "quality", "not_a_number").figure == 8
    assert not verdict.passed


def test_a_fault_at_one_batch_size_only_is_found_there() -> None:
    class Batched(FakeBackend):
        def infer(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
            logits = super().infer(pixels)
            return {name: rows + (np.arange(rows.shape[-1]) if len(pixels) == 4 else 0) for name, rows in logits.items()}  # fmt: skip # noqa: E501

    verdict = check_parity(
        fake_bundle(QUALITY, ORGAN, MES, POLYP), FakeBackend(_answer), Batched(_answer), _FRAMES, batches=[1, 4]
    )  # fmt: skip
    assert {row.batch for row in verdict.failures} == {4}


def test_labels_may_change_only_where_the_reference_hesitates() -> None:
    hesitates = {"quality": np.array([0, 0.01], np.float32)}
    nudged = FakeBackend(lambda picture: {"quality": np.array([0.01, 0], np.float32)})
    verdict = check_parity(
        fake_bundle(QUALITY), FakeBackend(lambda picture: hesitates), nudged, _FRAMES, batches=[1]
    )
    assert _row(verdict, "quality", "same_label").figure == 0
    assert _row(verdict, "quality", "same_sure_label").passed


def test_the_dice_of_a_shifted_mask_is_that_of_the_definition() -> None:
    verdict = _verdict(lambda name, logits: np.roll(logits, 3, axis=-1) if name == "polyp" else logits)
    one = _FRAMES[..., 0] >= 127
    other = np.roll(one, 3, axis=-1)
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(one, other, strict=True)]
    assert _row(verdict, "polyp", "mask_dice").figure == pytest.approx(np.mean(dice), abs=1e-9)
    assert not verdict.passed


def test_a_tag_that_changes_too_late_is_another_tag() -> None:
    def scene(step: int, late: int) -> list[float]:
        return [0.0, 5.0, 0.0] if step < 30 + late else [0.0, 0.0, 5.0]

    def played(late: int) -> FakeBackend:
        steps = iter(range(60))
        return FakeBackend(lambda picture: {"organ": scene(next(steps), late)})

    for late, is_same in ((0, 1.0), (1, 1.0), (5, 0.0)):
        verdict = check_parity(
            fake_bundle(ORGAN), played(0), played(late), _FRAMES, batches=[1], stretches=[_STRETCH]
        )
        assert _row(verdict, "organ", "same_tags").figure == is_same, late


def test_hostile_frames_are_two_hundred_and_the_same_for_a_seed() -> None:
    frames = hostile_frames((48, 32), 7)
    assert frames.shape == (HOSTILE_COUNT, 32, 48, 3)
    assert frames.dtype == np.uint8
    assert (frames[0] == 0).all()
    assert (frames[1] == 255).all()
    assert np.array_equal(frames, hostile_frames((48, 32), 7))
    assert not np.array_equal(frames, hostile_frames((48, 32), 8))
    assert len(np.unique(frames.reshape(HOSTILE_COUNT, -1), axis=0)) > 190


def test_a_verdict_survives_being_written() -> None:
    verdict = _verdict(lambda name, logits: logits)
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=ParityVerdict) == verdict


def test_frames_of_another_size_are_refused_with_what_was_wanted() -> None:
    backend = FakeBackend(_answer)
    with pytest.raises(ValueError, match=r"must be \(N, 32, 32, 3\) uint8"):
        check_parity(fake_bundle(QUALITY), backend, backend, _FRAMES[:, :16], batches=[1])
    with pytest.raises(ValueError, match="at least one batch size"):
        check_parity(fake_bundle(QUALITY), backend, backend, _FRAMES, batches=[])
