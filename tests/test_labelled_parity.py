"""Scores of a build against the reference's, on pictures whose truth is planted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from fakes import MES, ORGAN, POLYP, QUALITY, FakeBackend, fake_bundle
from scopeline.bundle import Bundle
from scopeline.errors import ConfigError
from scopeline.parity import FP32_BARS, REDUCED_BARS, ParityRow
from scopeline_calibration.labelled import UNKNOWN
from scopeline_calibration.labelled_parity import KnownTruth, auroc, changes, known_masks

_SIZE = 32
_COUNT = 200
_RNG = np.random.default_rng(11)
_PIXELS = _RNG.integers(0, 256, (_COUNT, _SIZE, _SIZE, 3)).astype(np.uint8)


def _answer(picture: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
    noise = np.random.default_rng(int(picture[0, 0, 0]) * 256 + int(picture[0, 0, 1])).normal(size=7)
    return {
        "quality": np.array([0, 2], np.float32),
        "organ": noise[:3].astype(np.float32) * 2,
        "mes": noise[3:].astype(np.float32) * 2,
        "polyp": ((picture[None, ..., 0].astype(np.float32) - 127) / 20).astype(np.float32),
    }


def _bundle() -> Bundle:
    return fake_bundle(QUALITY, ORGAN, MES, POLYP)


def _known() -> KnownTruth:
    """Grades and organs are what the reference says, but for a third that is drawn; masks are its own."""
    said = [_answer(picture) for picture in _PIXELS]
    truths = {}
    for name, labels in (("organ", 3), ("mes", 4)):
        right = np.array([each[name].argmax() for each in said])
        truths[name] = np.where(_RNG.uniform(size=_COUNT) < 0.33, _RNG.integers(0, labels, _COUNT), right)
    truths["organ"][:20] = UNKNOWN
    return KnownTruth(_PIXELS, truths, {"polyp": _PIXELS[..., 0] >= 127}, "planted")


def _rows(candidate: FakeBackend) -> dict[tuple[str, str], ParityRow]:
    rows = changes(_bundle(), FakeBackend(_answer), candidate, _known(), batches=[1, 4], bars=REDUCED_BARS)
    return {(row.head, row.check): row for row in rows}


def test_a_build_that_answers_alike_scores_alike() -> None:
    rows = _rows(FakeBackend(_answer))
    assert set(rows) == {
        ("organ", "auroc_change"),
        ("organ", "ece_change"),
        ("mes", "auroc_change"),
        ("mes", "ece_change"),
        ("mes", "qwk_change"),
        ("polyp", "dice_change"),
    }
    assert all(row.passed and row.figure == 0 for row in rows.values())


def test_a_build_that_is_only_less_sure_is_refused_for_its_calibration() -> None:
    rows = _rows(
        FakeBackend(
            lambda picture: {
                name: logits * 0.6 if name == "mes" else logits for name, logits in _answer(picture).items()
            }
        )
    )
    assert rows["mes", "qwk_change"].passed
    assert not rows["mes", "ece_change"].passed
    assert rows["organ", "ece_change"].passed


def test_a_smaller_mask_costs_as_much_dice_as_it_is_smaller() -> None:
    def shrunk(picture: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        answer = dict(_answer(picture))
        answer["polyp"] = answer["polyp"].copy()
        answer["polyp"][:, : _SIZE // 2] = -9
        return answer

    row = _rows(FakeBackend(shrunk))["polyp", "dice_change"]
    whole = (_PIXELS[..., 0] >= 127).sum(axis=(1, 2))
    half = (_PIXELS[:, _SIZE // 2 :, :, 0] >= 127).sum(axis=(1, 2))
    assert row.figure == pytest.approx(1 - float((2 * half / (whole + half)).mean()))
    assert not row.passed


def test_what_is_no_number_differs_by_all_there_is() -> None:
    rows = _rows(
        FakeBackend(
            lambda picture: {name: np.full_like(each, np.nan) for name, each in _answer(picture).items()}
        )
    )
    assert {row.figure for row in rows.values()} == {1.0}


def test_the_area_under_the_curve_is_that_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 300)
    said = np.round(rng.dirichlet((1, 1, 1), 300) + 0.2 * np.eye(3)[truth], 1)
    expected = np.mean([roc_auc_score(truth == label, said[:, label]) for label in range(3)])
    assert auroc(said, truth) == pytest.approx(expected)


def test_both_kinds_of_precision_have_the_same_bars_for_scores() -> None:
    for name in ("qwk_change", "auroc_change", "ece_change", "dice_change"):
        assert getattr(FP32_BARS, name) == getattr(REDUCED_BARS, name) > 0


def test_a_mask_lies_where_the_network_is_shown_its_picture(tmp_path: Path) -> None:
    picture = np.full((120, 160, 3), 90, np.uint8)
    picture[20:60, 40:120] = (40, 60, 220)
    mask = np.zeros((240, 320), np.uint8)  # twice the picture's size
    mask[40:120, 80:240] = 255
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    cv2.imwrite(str(tmp_path / "a_mask.png"), mask)
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("path,group,aspect,polyp\na.png,1,,a_mask.png\na.png,1,,\n")
    bundle = fake_bundle(POLYP)
    head = bundle.heads[0]
    known = known_masks(sheet, head, bundle, below=None, report=lambda done, wanted: None)
    red = known.pixels[0, ..., 0] > 150
    assert len(known.pixels) == 1
    assert red.any()
    both = np.logical_and(red, known.masks["polyp"][0]).sum()
    assert both / np.logical_or(red, known.masks["polyp"][0]).sum() > 0.9


def test_a_sheet_without_masks_is_refused(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("path,polyp\na.png,\n")
    bundle = fake_bundle(POLYP)
    with pytest.raises(ConfigError, match="wanted paths of masks"):
        known_masks(sheet, bundle.heads[0], bundle, below=None, report=lambda done, wanted: None)
