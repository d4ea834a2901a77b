"""External evaluation: a bundle's own answers, an honest refusal, and a stamp for those who insist."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fakes import MES, ORGAN, QUALITY
from scopeline.crop import CropKind, View
from scopeline.errors import ConfigError
from scopeline.picture import picture_from_file
from scopeline_training.external import evaluate_external, read_folder, read_sheet
from scopeline_training.seeing import whole_field
from tiny_bundle import SIZE, expected_logits, write_tiny_bundle

PER_LABEL = 30
SEED = 140_133
"""With these pictures no probe is above its limit by chance."""


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCOPELINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def draw(path: Path, number: int, *, border: bool = False) -> None:
    """A picture of coarse colour noise, bright at the edges so that its field is the whole picture."""
    rng = np.random.default_rng(number + SEED)
    coarse = rng.integers(60, 200, (8, 8, 3), np.uint8)
    pixels = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)
    if border:
        cv2.rectangle(pixels, (0, 0), (63, 63), (250, 250, 250), 6)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def class_folder(
    root: Path, *, border: bool = False, labels: tuple[str, str] = ("rectum", "sigmoid")
) -> Path:
    for place, label in enumerate(labels):
        for number in range(PER_LABEL):
            draw(root / label / f"{number}.png", place * 1000 + number, border=border and place == 0)
    return root


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle", (ORGAN, MES))


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


@pytest.fixture(scope="module")
def forced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set that a border gives away, in `set`, and the report that somebody insisted on, in `out`."""
    folder = tmp_path_factory.mktemp("forced")
    external = read_folder(class_folder(folder / "set", border=True))
    evaluate_external(
        write_tiny_bundle(folder / "bundle", (ORGAN, MES)), external, folder / "out", force=True
    )
    return folder


def test_the_answers_are_those_of_the_bundle_on_what_the_engine_shows_it(forced: Path) -> None:
    row = rows_of(forced / "out" / "predictions_organ-external.csv")[7]
    path = forced / "set" / row["picture"]
    seen = View(CropKind.INSCRIBED, SIZE, SIZE)(picture_from_file(path), whole_field(64, 64))
    logits = expected_logits(seen[None], ORGAN)[0]
    wanted = np.exp(logits) / np.exp(logits).sum()
    assert [float(row[f"P({label})"]) for label in ORGAN.labels] == pytest.approx(wanted, abs=1e-5)
    assert row["true"] == path.parent.name


def test_whoever_insists_gets_a_stamp(forced: Path) -> None:
    page = (forced / "out" / "report.html").read_text("utf-8")
    assert '<div class="stamp"><strong>DATA SET REFUSED, USED ALL THE SAME</strong>' in page


def test_a_set_that_a_border_gives_away_is_refused(bundle: Path, tmp_path: Path) -> None:
    external = read_folder(class_folder(tmp_path / "set", border=True))
    with pytest.raises(ConfigError, match=r"The border alone tells a label with AUROC 1\.000"):
        evaluate_external(bundle, external, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sheet_of_ids_is_read_renamed_and_cut(tmp_path: Path) -> None:
    """The form of study S1's external set: ids without an ending, a label that the model does not know."""
    bundle = write_tiny_bundle(tmp_path / "bundle", (QUALITY, MES))
    lines = ["ID,label"]
    for number in range(2 * PER_LABEL):
        draw(tmp_path / "images" / f"im{number}.png", number)
        lines.append(f"im{number},grade {number % 2}")
    draw(tmp_path / "images" / "im999.png", 999)
    (tmp_path / "set.csv").write_text("\n".join([*lines, "im999,0-1"]) + "\n", "utf-8")
    external = read_sheet(tmp_path / "set.csv", tmp_path / "images")
    rename = {"grade 0": "0", "grade 1": "1", "0-1": ""}
    page = evaluate_external(bundle, external, tmp_path / "out", rename=rename).read_text("utf-8")
    assert "1 of 61 pictures were left out by their label." in page
    assert len(rows_of(tmp_path / "out" / "predictions_mes-external.csv")) == 2 * PER_LABEL
    assert f"The quality head calls {2 * PER_LABEL} of {2 * PER_LABEL} pictures good." in page


@pytest.mark.parametrize("labels", [("cat", "dog"), ("rectum", "dog")])
def test_labels_that_no_head_has_are_refused(bundle: Path, tmp_path: Path, labels: tuple[str, str]) -> None:
    external = read_folder(class_folder(tmp_path / "set", labels=labels))
    with pytest.raises(ConfigError, match=f"wanted one head with the labels .*{labels[1]}"):
        evaluate_external(bundle, external, tmp_path / "out")


def test_a_rename_of_what_is_not_there_is_refused(bundle: Path, tmp_path: Path) -> None:
    external = read_folder(class_folder(tmp_path / "set"))
    with pytest.raises(ConfigError, match="wanted labels of the set, rectum, sigmoid; got colon"):
        evaluate_external(bundle, external, tmp_path / "out", rename={"colon": "rectum"})


def test_the_external_set_of_study_s1_is_refused(bundle: Path, tmp_path: Path, data_dir: Path) -> None:
    external = read_folder(data_dir / "images" / "mes_fullres")
    with pytest.raises(ConfigError, match="The file alone tells a label"):
        evaluate_external(bundle, external, tmp_path / "out")
