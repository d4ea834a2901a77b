"""Catalogue: what it holds, what it refuses, and a hash that changes with the content and with nothing else."""

from pathlib import Path

import numpy as np
import pytest

from generated_sets import scene, write_image

pytest.importorskip("torch", reason="training needs scopeline[training]")

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.examples import UNKNOWN


def three(folder: Path) -> Catalogue:
    paths = [write_image(folder / f"{number}.png", scene(number)) for number in range(3)]
    samples = (
        Sample(paths[0], {"organ": "ear"}, group="p1", split="train"),
        Sample(paths[1], {"organ": "nose"}, group="p2", split="test"),
        Sample(paths[2], {}, group="p1"),
    )
    return Catalogue(samples, {"organ": ("nose", "ear")}, "three pictures", folder)


def test_labels_are_numbered_in_the_order_of_the_classes_and_unknown_where_absent(tmp_path: Path) -> None:
    assert three(tmp_path).labels_of("organ").tolist() == [1, 0, UNKNOWN]
    assert three(tmp_path).counts("organ") == {"nose": 1, "ear": 1}


def test_samples_are_taken_by_number_by_mask_and_by_what_they_are(tmp_path: Path) -> None:
    catalogue = three(tmp_path)
    assert [each.group for each in catalogue.take([2, 1]).samples] == ["p1", "p2"]
    assert len(catalogue.take(np.array([True, False, True]))) == 2
    assert catalogue.filtered(group="p1", split="train").names == ("0.png",)
    assert catalogue.filtered(lambda sample: not sample.labels).names == ("2.png",)


def test_the_hash_stays_when_the_folder_moves_and_the_order_changes(tmp_path: Path) -> None:
    here, there = three(tmp_path / "a"), three(tmp_path / "b")
    assert here.sha256 == there.sha256 == there.take([2, 0, 1]).sha256


def test_the_hash_changes_with_a_pixel_with_a_label_and_with_a_patient(tmp_path: Path) -> None:
    original = three(tmp_path / "a")
    changed = three(tmp_path / "b")
    write_image(changed.samples[0].path, scene(99))
    relabelled = Catalogue(
        (Sample(original.samples[0].path, {"organ": "nose"}, group="p1", split="train"), *original.samples[1:]),
        original.classes, original.description, original.root,
    )  # fmt: skip
    regrouped = Catalogue(
        (*original.samples[:2], Sample(original.samples[2].path, {}, group="p3")),
        original.classes, original.description, original.root,
    )  # fmt: skip
    assert len({each.sha256 for each in (original, changed, relabelled, regrouped)}) == 4


def test_it_refuses_unknown_labels_repeats_and_nothing_at_all(tmp_path: Path) -> None:
    path = write_image(tmp_path / "0.png", scene(0))
    with pytest.raises(ConfigError, match="among nose, ear, got 'throat'"):
        Catalogue((Sample(path, {"organ": "throat"}),), {"organ": ("nose", "ear")}, "wrong")
    with pytest.raises(ConfigError, match="every picture once, got it 2 times"):
        Catalogue((Sample(path), Sample(path)), {}, "twice")
    with pytest.raises(ConfigError, match="at least one picture"):
        Catalogue((), {}, "empty")
    with pytest.raises(ConfigError, match="got heads organ"):
        three(tmp_path).labels_of("mes")


def test_a_dual_input_never_holds_one_picture_twice(tmp_path: Path) -> None:
    path = write_image(tmp_path / "0.png", scene(0))
    with pytest.raises(ConfigError, match="the same one twice"):
        Sample(path, second=path)


def test_a_split_must_be_one_of_the_three(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="train, val, test"):
        Sample(tmp_path / "0.png", split="holdout")
