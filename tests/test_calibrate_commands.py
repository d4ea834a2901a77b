"""The commands end to end on a small bundle with planted truth: what they find, write and leave alone."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from scipy.special import softmax

import colour_bundle
from scopeline.bundle import load_bundle
from scopeline.config import load_pipeline
from scopeline.errors import ConfigError
from scopeline_calibration.labelled import Labelled, from_sheet, seen_in_training, with_spoilt_copies
from scopeline_calibration.probability_commands import calibrate_probabilities, calibrate_thresholds
from scopeline_training.examples import UNKNOWN, Examples
from scopeline_training.fold_answers import write_fold_answers
from scopeline_training.recipe import HeadPlan

_PICTURES = 300
_ORGANS = ("outside", "sigmoid", "rectum")
_PLANTED = 5.0
"""The network of colours is that much surer than it may be: labels are drawn from its logits divided by this."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain colours with a little noise, and a sheet of organs drawn from the planted probabilities."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    with (folder / "sheet.csv").open("w", newline="") as file:
        sheet = csv.writer(file)
        sheet.writerow(["path", "group", "organ"])
        for number in range(_PICTURES):
            colour = np.array([(170, 120, 90), (90, 120, 170), (100, 190, 100)])[number % 3]
            colour = colour + rng.normal(0, 25, 3)
            pixels = np.clip(colour + rng.normal(0, 4, (32, 32, 3)), 40, 255).astype(np.uint8)
            mean = pixels.mean(axis=(0, 1)) / 10
            logits = mean @ np.array([(-1, 2, -2), (2, 0, 0), (-1, -2, 2)]) + np.array([-8, 0, 0])
            cv2.imwrite(str(folder / f"{number:03}.png"), pixels[..., ::-1])
            organ = _ORGANS[rng.choice(3, p=softmax(logits / _PLANTED))]
            sheet.writerow([f"{number:03}.png", f"patient {number // 2}", organ])
    return folder


def _bundle(tmp_path: Path) -> Path:
    return colour_bundle.write_pipeline(tmp_path).parent / "colour"


def test_pictures_of_a_sheet_come_in_the_size_of_the_network_with_label_and_patient(
    tmp_path: Path, pictures: Path
) -> None:
    bundle = load_bundle(_bundle(tmp_path))
    labelled = from_sheet(pictures / "sheet.csv", bundle.heads, bundle, report=lambda done, wanted: None)
    assert labelled.pixels.shape == (_PICTURES, 32, 32, 3)
    assert set(labelled.truths) == {"organ"}
    assert len(np.unique(labelled.groups)) == _PICTURES // 2
    spoilt = with_spoilt_copies(labelled, bundle.heads)
    assert spoilt.truths["quality"].tolist() == [1] * _PICTURES + [0] * _PICTURES
    assert (spoilt.truths["organ"][_PICTURES:] == -1).all()
    assert np.array_equal(spoilt.groups[:_PICTURES], spoilt.groups[_PICTURES:])


def test_an_overconfident_head_is_calibrated_in_the_bundle_and_the_rest_stays(
    tmp_path: Path, pictures: Path
) -> None:
    folder = _bundle(tmp_path)
    before = load_bundle(folder)
    calibrate_probabilities(folder, sheet=pictures / "sheet.csv", out=tmp_path / "out")
    after = load_bundle(folder)
    [organ] = json.loads((tmp_path / "out" / "probabilities-colour.json").read_text())["heads"]
    assert organ["outcome"] == "calibrated"
    assert organ["measured_after"]["error"]["value"] <= 0.05 < organ["measured_before"]["error"]["value"]
    assert after.heads[1].temperature == pytest.approx(organ["after"]["temperature"], abs=1e-4)
    assert after.heads[1].temperature == pytest.approx(_PLANTED, rel=0.25)
    assert (after.heads[0], after.heads[2]) == (before.heads[0], before.heads[2])
    assert after.network == before.network


def test_the_card_says_what_was_found_and_says_it_once(tmp_path: Path, pictures: Path) -> None:
    folder = _bundle(tmp_path)
    card = folder / "card.md"
    card.write_text("# Model card\n\nProse.\n\n## Provenance\n\n- made by hand\n")
    for _ in range(2):
        calibrate_probabilities(folder, sheet=pictures / "sheet.csv", out=tmp_path / "out")
    text = card.read_text()
    assert text.count("## Probabilities, after training\n") == 1
    assert "| organ | 300 (150) |" in text
    assert text.startswith("# Model card\n\nProse.\n\n## Probabilities")
    assert text.endswith("\n\n## Provenance\n\n- made by hand\n")


def test_a_dry_run_leaves_bundle_and_card_alone(tmp_path: Path, pictures: Path) -> None:
    folder = _bundle(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    calibrate_probabilities(folder, sheet=pictures / "sheet.csv", dry_run=True, out=tmp_path / "out")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_pictures_that_were_trained_on_change_nothing_in_the_bundle(tmp_path: Path, pictures: Path) -> None:
    folder = _bundle(tmp_path)
    trained = (folder / "bundle.toml").read_text()
    (folder / "bundle.toml").write_text(re.sub(r'(?m)^data = ".*"$', 'data = "HyperKvasir: stills"', trained))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rows = [f"{number:03}.png,HyperKvasir\n" for number in range(_PICTURES)]
    (pictures / "manifest.csv").write_text("path,dataset\n" + "".join(rows))
    try:
        calibrate_probabilities(folder, sheet=pictures / "sheet.csv", out=tmp_path / "out")
    finally:
        (pictures / "manifest.csv").unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_sheet_elsewhere_is_relative_to_the_data_folder(tmp_path: Path, pictures: Path) -> None:
    bundle = load_bundle(_bundle(tmp_path))
    (tmp_path / "sheet.csv").write_text("path,organ\n000.png,sigmoid\n")
    found = from_sheet(
        tmp_path / "sheet.csv", bundle.heads, bundle, below=pictures, report=lambda done, wanted: None
    )
    assert found.paths == (pictures / "000.png",)


def test_uninformative_labels_leave_the_bundle_as_it_was(tmp_path: Path, pictures: Path) -> None:
    rows = list(csv.DictReader((pictures / "sheet.csv").read_text().splitlines()))
    organs = np.random.default_rng(1).permutation([row["organ"] for row in rows])
    shuffled = pictures / "shuffled.csv"
    with shuffled.open("w", newline="") as file:
        sheet = csv.writer(file)
        sheet.writerow(["path", "group", "organ"])
        sheet.writerows([row["path"], row["group"], organ] for row, organ in zip(rows, organs, strict=True))
    folder = _bundle(tmp_path)
    before = (folder / "bundle.toml").read_bytes()
    calibrate_probabilities(folder, sheet=shuffled, out=tmp_path / "out")
    [organ] = json.loads((tmp_path / "out" / "probabilities-colour.json").read_text())["heads"]
    assert organ["outcome"] == "uninformative"
    assert (folder / "bundle.toml").read_bytes() == before
    assert (tmp_path / "out" / "probabilities-colour.png").read_bytes()[:4] == b"\x89PNG"


def test_thresholds_go_where_the_engine_reads_them(tmp_path: Path, pictures: Path) -> None:
    folder = _bundle(tmp_path)
    pipeline = tmp_path / "colour.toml"
    calibrate_thresholds(
        folder, risk=0.05, sheet=pictures / "sheet.csv", pipeline=pipeline, out=tmp_path / "out"
    )
    [organ] = json.loads((tmp_path / "out" / "thresholds-colour.json").read_text())["heads"]
    bound = load_bundle(folder).heads[1].abstain_below
    assert bound == pytest.approx(organ["point"]["bound"], abs=1e-3)
    assert 0.3 < bound <= 1.0
    assert organ["point"]["risk"] == pytest.approx(0.05, abs=0.04)
    assert load_pipeline(pipeline).quality.usable_at == 0.5  # no quality labels, so it is left alone


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("path,organ\nnone.png,rectum\n", "1 files are not there"),
        ("path,organ\n000.png,liver\n", "line 2: organ is 'liver'; its labels are outside, sigmoid, rectum"),
        ("path,colour\n000.png,red\n", "wanted rows with the columns path"),
        ("", "got no rows"),
    ],
)
def test_a_sheet_that_cannot_be_used_is_refused_with_its_place(
    content: str, says: str, tmp_path: Path, pictures: Path
) -> None:
    bundle = load_bundle(_bundle(tmp_path))
    sheet = pictures / "bad.csv"
    sheet.write_text(content)
    with pytest.raises(ConfigError, match=says):
        from_sheet(sheet, bundle.heads, bundle, report=lambda done, wanted: None)


def test_pictures_of_a_data_set_that_was_trained_on_are_called_not_held_out(tmp_path: Path) -> None:
    bundle = load_bundle(_bundle(tmp_path))
    trained = msgspec.structs.replace(
        bundle, training=msgspec.structs.replace(bundle.training, data="HyperKvasir: 412 stills")
    )
    (tmp_path / "manifest.csv").write_text("path,dataset\nimages/1.jpg,HyperKvasir\n")
    seen = Labelled(
        np.zeros((1, 32, 32, 3), np.uint8), {}, np.zeros(1, np.int64), (tmp_path / "images/1.jpg",), ""
    )
    assert "was trained on HyperKvasir" in (seen_in_training(seen, trained) or "")
    assert seen_in_training(seen, bundle) is None


def test_pictures_from_no_place_or_two_are_refused(tmp_path: Path) -> None:
    folder = _bundle(tmp_path)
    with pytest.raises(ConfigError, match="from one place"):
        calibrate_probabilities(folder, out=tmp_path)
    with pytest.raises(ConfigError, match="from one place"):
        calibrate_probabilities(folder, simulated=2, data=tmp_path, out=tmp_path)


def _answers(path: Path, count: int = 400) -> Path:
    """What networks of folds said of the organ, surer than they may be, as a recipe writes it."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (count, 3))
    truth = np.array([rng.choice(3, p=softmax(row)) for row in logits])
    examples = Examples(
        np.zeros((count, 1, 1, 3), np.uint8),
        {"organ": np.where(np.arange(count) % 40 == 0, UNKNOWN, truth)},
        np.arange(count) // 2,
        tuple(f"{number}.png" for number in range(count)),
    )
    head = HeadPlan(name="organ", role="location", labels=_ORGANS)
    write_fold_answers(path, head, (_PLANTED * logits).astype(np.float32), examples)
    return path


def test_answers_of_folds_calibrate_the_one_head_that_they_are_of(tmp_path: Path) -> None:
    folder = _bundle(tmp_path)
    before = load_bundle(folder)
    table = _answers(tmp_path / "organ-folds.csv")
    for _ in range(2):
        calibrate_probabilities(folder, answers=table, head="organ", held_out=True, out=tmp_path / "out")
    after = load_bundle(folder)
    report = json.loads((tmp_path / "out" / "probabilities-colour-organ.json").read_text())
    assert [(each["head"], each["pictures"]) for each in report["heads"]] == [("organ", 390)]
    assert after.heads[1].temperature == pytest.approx(_PLANTED, rel=0.15)
    assert (after.heads[0], after.heads[2]) == (before.heads[0], before.heads[2])
    assert (folder / "card.md").read_text().count("## Probabilities, after training: organ\n") == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("logit(rectum)", "rectum", "logit(rectum) missing"),
        (",rectum,", ",caecum,", "true is 'caecum', wanted one of outside, sigmoid, rectum"),
        ("1.png,0,", "1.png,0,outside,nan,0,0\nx,", "line 2: wanted a finite number"),
        ("\n1.png,0,", "\n\n1.png,0,outside,1e39,0,0\nx,", "line 3: wanted a finite number"),
        ("1.png,0,", "1.png,,", "line 2: wanted a group"),
    ],
)
def test_answers_that_cannot_be_used_are_refused_with_their_place(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    table = _answers(tmp_path / "organ-folds.csv")
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=re.escape(said)):
        calibrate_probabilities(_bundle(tmp_path), answers=table, head="organ", out=tmp_path)


def test_answers_want_a_head_and_no_other_place(tmp_path: Path, pictures: Path) -> None:
    table = _answers(tmp_path / "organ-folds.csv")
    with pytest.raises(ConfigError, match="--answers wants --head, one of quality, organ, mes; got none"):
        calibrate_probabilities(_bundle(tmp_path), answers=table, out=tmp_path)
    with pytest.raises(ConfigError, match="from one place"):
        calibrate_probabilities(_bundle(tmp_path), answers=table, sheet=pictures / "sheet.csv", out=tmp_path)


def test_answers_change_nothing_until_somebody_vouches_for_them(tmp_path: Path) -> None:
    folder = _bundle(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    calibrate_probabilities(
        folder, answers=_answers(tmp_path / "organ.csv"), head="organ", out=tmp_path / "out"
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    report = json.loads((tmp_path / "out" / "probabilities-colour-organ.json").read_text())
    assert "--held-out" in report["warning"]
    assert report["network"] is None
