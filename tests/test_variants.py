"""Variants: the eight versions of study S5 differ in what their numbers say and in nothing else."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generated_sets import scene, write_image

pytest.importorskip("torch", reason="training needs scopeline[training]")

from scopeline.errors import ConfigError
from scopeline.picture import picture_from_file, rgb_pixels
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.run_record import lacking, split_rows
from scopeline_training.splitting import Parts, three_way
from scopeline_training.variants import VERSIONS, VariantPlan, Varied, balance, vary_parts, with_noise


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPELINE_CACHE", str(tmp_path / "cache"))


def organs(folder: Path, *, with_quality: bool) -> Catalogue:
    """90 small pictures: 60 ear, 30 nose, every fifth bad."""
    samples = []
    for number in range(90):
        quality = ("bad" if number % 5 == 0 else "good") if with_quality else None
        path = write_image(folder / f"{number:02d}.png", scene(number, 24))
        samples.append(Sample(path, {"organ": "nose" if number % 3 == 0 else "ear"}, quality=quality))
    return Catalogue(tuple(samples), {"organ": ("ear", "nose")}, "organs", folder)


def version(catalogue: Catalogue, name: str) -> dict[str, Varied]:
    labels = catalogue.labels_of("organ")
    parts = three_way(labels, np.arange(len(labels)), seed=1)
    return vary_parts(catalogue, parts, VERSIONS[name], head="organ", crop="inscribed", seed=1)


def bad_share(varied: Varied) -> float:
    return float(np.mean([sample.quality == "bad" for sample in varied.catalogue.samples]))


def test_there_are_eight_versions_and_no_two_are_alike() -> None:
    assert list(VERSIONS) == [str(number) for number in range(8)]
    assert len({str(plan) for plan in VERSIONS.values()}) == 8


def test_crops_are_as_the_study_numbered_them(tmp_path: Path) -> None:
    catalogue = organs(tmp_path, with_quality=True)
    crops = {name: [version(catalogue, name)[part].crop for part in ("train", "test")] for name in VERSIONS}
    assert crops["0"] == ["none", "none"]
    assert crops["1"] == ["box", "none"]
    assert crops["2"] == ["box", "box"]
    assert all(crops[name] == ["disc2square", "disc2square"] for name in "34567")


@pytest.mark.parametrize(
    ("name", "balanced", "train_bad", "test_bad"),
    [
        ("3", False, True, True),
        ("4", True, True, True),
        ("5", True, False, False),
        ("6", True, False, True),
        ("7", True, True, False),
    ],
)
@pytest.mark.parametrize("with_quality", [True, False])
def test_balance_and_noise_are_as_the_study_numbered_them(
    tmp_path: Path, name: str, balanced: bool, train_bad: bool, test_bad: bool, with_quality: bool
) -> None:
    parts = version(organs(tmp_path, with_quality=with_quality), name)
    counts = parts["train"].catalogue.counts("organ")
    assert (counts["ear"] == counts["nose"]) is balanced
    assert (bad_share(parts["train"]) > 0) is train_bad
    assert (bad_share(parts["test"]) > 0) is test_bad


def test_all_versions_share_one_split(tmp_path: Path) -> None:
    catalogue = organs(tmp_path, with_quality=True)
    tests = [set(version(catalogue, name)["test"].catalogue.names) for name in VERSIONS]
    for name, seen in zip(VERSIONS, tests, strict=True):
        train = set(version(catalogue, name)["train"].catalogue.names)
        assert not train & set().union(*tests)
        assert seen <= tests[0]


def test_without_quality_labels_a_fifth_is_really_spoilt_and_the_same_again(tmp_path: Path) -> None:
    clean = organs(tmp_path, with_quality=False)
    noisy, again = (with_noise(clean, True, seed=3) for _ in range(2))
    assert noisy.samples == again.samples
    spoilt = [(a, b) for a, b in zip(clean.samples, noisy.samples, strict=True) if a.path != b.path]
    assert len(spoilt) == 18
    differences = []
    for before, after in spoilt:
        assert after.labels == before.labels
        first, second = (rgb_pixels(picture_from_file(each.path)).astype(int) for each in (before, after))
        differences.append(np.abs(first - second).mean())
    assert np.median(differences) > 5


def test_no_switch_set_leaves_the_data_set_as_it_is(tmp_path: Path) -> None:
    catalogue = organs(tmp_path, with_quality=True)
    numbers = Parts(np.arange(50), np.arange(50, 60), np.arange(60, 90))
    varied = vary_parts(catalogue, numbers, VariantPlan(), head="organ", crop="masked", seed=0)
    assert [len(varied[part].catalogue) for part in varied] == [50, 10, 30]
    assert {each.crop for each in varied.values()} == {"masked"}


def test_balancing_draws_from_all_over_and_refuses_a_single_label(tmp_path: Path) -> None:
    catalogue = organs(tmp_path, with_quality=True)
    even = balance(catalogue, "organ", seed=2)
    assert Counter(sample.labels["organ"] for sample in even.samples) == {"ear": 30, "nose": 30}
    ears = [
        int(name[:2]) for name, s in zip(even.names, even.samples, strict=True) if s.labels["organ"] == "ear"
    ]
    assert max(ears) > 75, "not simply the first ones"
    with pytest.raises(ConfigError, match="cannot balance organ"):
        balance(catalogue.filtered(lambda sample: sample.labels["organ"] == "ear"), "organ", seed=0)


def test_balancing_passes_over_a_label_whose_groups_all_lie_elsewhere(tmp_path: Path) -> None:
    catalogue = organs(tmp_path, with_quality=True)
    wider = Catalogue(catalogue.samples, {"organ": ("ear", "larynx", "nose")}, "organs", tmp_path)
    even = balance(wider, "organ", seed=2)
    assert Counter(sample.labels["organ"] for sample in even.samples) == {"ear": 30, "nose": 30}


def test_all_eight_versions_stand_though_one_label_is_a_single_recording(tmp_path: Path) -> None:
    catalogue = organs(tmp_path, with_quality=True)
    labels = catalogue.labels_of("organ")
    labels[30:60] = 2
    classes = {"organ": ("ear", "nose", "larynx")}
    samples = tuple(
        replace(sample, labels={"organ": classes["organ"][label]})
        for sample, label in zip(catalogue.samples, labels, strict=True)
    )
    groups = np.where(labels == 1, 1000, np.arange(90))  # the nose is one patient
    parts = three_way(labels, groups, seed=1)
    rows = split_rows(parts.named(), labels, groups, classes["organ"])
    assert lacking(rows) == "nose in val and test"
    for plan in VERSIONS.values():
        whole = Catalogue(samples, classes, "organs", tmp_path)
        varied = vary_parts(whole, parts, plan, head="organ", crop="inscribed", seed=1)
        counts = {part: each.catalogue.counts("organ") for part, each in varied.items()}
        assert list(counts) == ["train", "val", "test"]
        assert counts["val"]["nose"] == 0
        assert counts["train"]["nose"] > 0
        if plan.balanced:
            assert len(set(counts["train"].values())) == 1
            assert counts["val"]["ear"] == counts["val"]["larynx"]
