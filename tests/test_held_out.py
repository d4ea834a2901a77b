"""Held out: the pictures that a recipe kept apart, listed again from the recipe alone."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs scopeline[training]")
pytest.importorskip("imagehash", reason="training needs scopeline[training]")

from generated_sets import scene, write_image
from scopeline.errors import ConfigError
from scopeline_training.experiment import Experiment, read_any
from scopeline_training.grouping import group_numbers, without_look_alikes
from scopeline_training.held_out import held_out, write_sheet
from scopeline_training.run_parts import parted
from scopeline_training.running import read_data

SHEETS = Path(__file__).parents[1] / "calibration" / "held_out"
RECIPES = Path(__file__).parents[1] / "training" / "recipes"
_LABELS = """
name = "two"
[data]
kind = "class_folders"
root = "images/two"
head = "finding"
[input]
size = 32
aspect = 1.25
[split]
kind = "{kind}"
k = 3
head = "finding"
"""
_MASKS = """
name = "discs"
[data]
kind = "mask_pairs"
root = "images/discs"
head = "disc"
[input]
size = 32
[[heads]]
name = "disc"
role = "mask"
loss = "bce_dice"
[split]
kind = "three_way"
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two labels, and discs with masks, below a data folder."""
    disc = np.zeros((64, 64), np.uint8)
    cv2.circle(disc, (30, 34), 12, 255, -1)
    for number in range(20):
        write_image(tmp_path / "images/two/a" / f"{number}.png", scene(number, 64))
        write_image(tmp_path / "images/two/b" / f"{number}.png", scene(100 + number, 64))
        write_image(tmp_path / "images/discs/images" / f"{number}.png", scene(200 + number, 64))
        write_image(tmp_path / "images/discs/masks" / f"{number}.png", np.repeat(disc[..., None], 3, axis=2))
    (tmp_path / "manifest.csv").write_text("path\n")
    monkeypatch.setenv("SCOPELINE_DATA", str(tmp_path))
    return tmp_path


def _recipe(folder: Path, text: str) -> Path:
    (folder / "recipe.toml").write_text(text)
    return folder / "recipe.toml"


def test_what_is_listed_is_the_test_part_and_meets_nothing_that_was_trained_on(data: Path) -> None:
    recipe = _recipe(data, _LABELS.format(kind="three_way"))
    listed = {row.path for row in held_out(recipe)}
    plan = read_any(recipe)
    assert isinstance(plan, Experiment)
    catalogue = without_look_alikes(read_data(plan, data), plan.split.hamming)
    groups = group_numbers(catalogue, plan.split.hamming)
    [split] = parted(catalogue, groups, plan.split, seed=plan.seed)
    seen = {f"images/two/{catalogue.names[number]}" for number in [*split.parts.train, *split.parts.val]}
    assert listed
    assert not listed & seen
    assert len(listed) + len(seen) == 40


def test_every_fold_keeps_others_apart(data: Path) -> None:
    recipe = _recipe(data, _LABELS.format(kind="folds"))
    folds = [{row.path for row in held_out(recipe, fold=fold)} for fold in (1, 2, 3)]
    assert len(set.union(*folds)) == sum(map(len, folds)) == 40
    with pytest.raises(ConfigError, match="one of 1 to 3, got 4"):
        held_out(recipe, fold=4)


def test_a_changed_recipe_keeps_other_pictures_apart(data: Path) -> None:
    recipe = _recipe(data, _LABELS.format(kind="three_way"))
    plain, changed = ({row.path for row in held_out(recipe, changes=each)} for each in ([], ["seed=5"]))
    assert plain != changed


def test_the_sheet_has_label_group_and_aspect(data: Path) -> None:
    rows = held_out(_recipe(data, _LABELS.format(kind="three_way")))
    write_sheet(rows, data / "sheet.csv")
    read = list(csv.DictReader((data / "sheet.csv").read_text().splitlines()))
    assert [row["path"] for row in read] == sorted(row.path for row in rows)
    assert all((data / row["path"]).is_file() and row["aspect"] == "1.25" and row["group"] for row in read)
    assert all(row["path"].split("/")[2] == row["finding"] for row in read)


def test_masks_are_listed_as_paths(data: Path) -> None:
    for row in held_out(_recipe(data, _MASKS)):
        assert row.labels["disc"] == f"images/discs/masks/{Path(row.path).name}"
        assert (data / row.labels["disc"]).is_file()


def test_a_recipe_of_simulated_pictures_has_no_files(data: Path) -> None:
    with pytest.raises(ConfigError, match="--simulated"):
        held_out(RECIPES / "demo.toml")


def test_the_sheet_that_colon_was_calibrated_on_is_what_its_recipe_keeps_apart() -> None:
    """As many pictures of each grade as its card counts in the part that was kept apart."""
    rows = list(csv.DictReader((SHEETS / "colon.csv").read_text().splitlines()))
    assert Counter(row["mes"] for row in rows if row["mes"]) == {"1": 16, "2": 37, "3": 11}


@pytest.mark.parametrize("sheet", sorted(SHEETS.glob("*.csv")), ids=lambda sheet: sheet.stem)
def test_listed_pictures_are_in_the_data_folder(sheet: Path, data_dir: Path) -> None:
    rows = list(csv.DictReader(sheet.read_text().splitlines()))
    assert rows
    assert all((data_dir / row["path"]).is_file() for row in rows)
