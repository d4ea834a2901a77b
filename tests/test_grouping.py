"""Grouping and splitting: what belongs together stays together, whatever the data set looks like."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generated_sets import scene, write_image

pytest.importorskip("torch", reason="training needs scopeline[training]")
pytest.importorskip("imagehash", reason="training needs scopeline[training]")

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.data_sets import read_catalogue
from scopeline_training.experiment import SplitPlan
from scopeline_training.grouping import group_numbers
from scopeline_training.layouts.plans import MaskPairs
from scopeline_training.run_parts import parted
from scopeline_training.splitting import Parts, crossing, folds, given_parts, three_way


def catalogue_of(folder: Path, pictures: dict[str, tuple[int, str | None]]) -> Catalogue:
    """Name -> (scene, patient); odd names are stored small and coarsely compressed."""
    samples = []
    for name, (seed, patient) in pictures.items():
        pixels = scene(seed)
        if name.startswith("small"):
            pixels = np.asarray(cv2.resize(pixels, (70, 70), interpolation=cv2.INTER_AREA), np.uint8)
        path = write_image(folder / f"{name}.jpg", pixels, 40 if name.startswith("small") else 95)
        samples.append(Sample(path, group=patient))
    return Catalogue(tuple(samples), {}, "scenes", folder)


def test_a_small_coarse_copy_joins_its_original_and_other_scenes_stay_apart(tmp_path: Path) -> None:
    groups = group_numbers(
        catalogue_of(
            tmp_path, {"one": (1, None), "two": (2, None), "small_one": (1, None), "three": (3, None)}
        )
    )
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 3


def test_pictures_of_a_patient_share_a_group_however_different_they_look(tmp_path: Path) -> None:
    groups = group_numbers(catalogue_of(tmp_path, {"one": (1, "p"), "two": (2, "q"), "three": (3, "p")}))
    assert groups[0] == groups[2] != groups[1]


def test_a_look_alike_of_unknown_patient_joins_the_patient_it_looks_like(tmp_path: Path) -> None:
    groups = group_numbers(catalogue_of(tmp_path, {"one": (1, "p"), "small_one": (1, None), "two": (2, "p")}))
    assert len(set(groups.tolist())) == 1


def test_a_file_that_is_filed_under_two_patients_joins_them(tmp_path: Path) -> None:
    groups = group_numbers(catalogue_of(tmp_path, {"one": (1, "p"), "again": (1, "q"), "two": (2, "r")}))
    assert groups[0] == groups[1] != groups[2]


def test_real_polyps_that_are_there_twice_in_two_sizes_share_a_group(data_dir: Path) -> None:
    pairs = read_catalogue(MaskPairs(root=str(data_dir / "images" / "polyp_seg")))
    chosen = [n for n, sample in enumerate(pairs.samples) if sample.path.name.startswith("kvseg_")][:12]
    rest = [n for n, sample in enumerate(pairs.samples) if sample.path.name.startswith("kvseg256_")]
    groups = group_numbers(pairs.take([*chosen, *rest]))
    with_twin = [number for number in range(len(chosen)) if (groups[len(chosen) :] == groups[number]).any()]
    assert len(with_twin) >= 10, "the data's README says that the second set is of the same list"


@st.composite
def labelled_groups(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    count = draw(st.integers(12, 80))
    groups = draw(st.lists(st.integers(0, draw(st.integers(3, 30))), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(-1, 3), min_size=count, max_size=count))
    return np.array(labels, np.int64), np.array(groups, np.int64)


@given(labelled_groups(), st.integers(0, 2**31))
@settings(max_examples=150, deadline=None)
def test_no_group_ever_crosses_a_three_way_split_and_nothing_is_lost(
    data: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    labels, groups = data
    if len(np.unique(groups)) < 3:
        return
    parts = three_way(labels, groups, seed)
    every = np.concatenate(list(parts.named().values()))
    assert sorted(every.tolist()) == list(range(len(groups)))
    assert all(len(part) for part in parts.named().values())
    seen = [set(groups[part].tolist()) for part in parts.named().values()]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


@given(labelled_groups(), st.integers(2, 12), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_no_group_ever_crosses_a_fold_and_everything_is_tested_once(
    data: tuple[np.ndarray, np.ndarray], k: int, seed: int
) -> None:
    labels, groups = data
    # StratifiedGroupKFold wants k members of the commonest label; that is no property of ours.
    if len(np.unique(groups)) < k or np.bincount(labels + 1).max() < k:
        return
    tested = []
    for train, test in folds(labels, groups, k, seed % 1000):
        assert not set(groups[train].tolist()) & set(groups[test].tolist())
        tested += test.tolist()
    assert sorted(tested) == list(range(len(labels)))


def test_shares_are_kept_for_every_label_when_groups_are_small() -> None:
    rng = np.random.default_rng(3)
    groups, labels = rng.integers(0, 400, 1200), rng.choice(3, 1200, p=(0.7, 0.2, 0.1))
    for part, share in zip(three_way(labels, groups, 1).named().values(), (0.7, 0.15, 0.15), strict=True):
        per_label = np.bincount(labels[part]) / np.bincount(labels)
        assert np.abs(per_label - share).max() < 0.03


def test_the_same_seed_gives_the_same_split_and_another_another() -> None:
    rng = np.random.default_rng(5)
    groups, labels = rng.integers(0, 60, 300), rng.integers(0, 3, 300)
    one, two, other = (three_way(labels, groups, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.test, two.test)
    assert not np.array_equal(one.test, other.test)
    first, second = (folds(labels, groups, 12, 4) for _ in range(2))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, second, strict=True))


def test_a_split_that_came_with_the_data_is_taken_and_its_leak_is_named(tmp_path: Path) -> None:
    splits = ("train", "train", "val", "test")
    samples = tuple(
        Sample(write_image(tmp_path / f"{n}.png", scene(n)), group=("p", "q", "r", "p")[n], split=split)
        for n, split in enumerate(splits)
    )
    catalogue = Catalogue(samples, {}, "scenes", tmp_path)
    parts = given_parts(catalogue)
    assert parts is not None
    assert [part.tolist() for part in parts.named().values()] == [[0, 1], [2], [3]]
    assert len(crossing(list(parts.named().values()), group_numbers(catalogue))) == 1
    with pytest.raises(ConfigError, match="wanted a split for every picture"):
        given_parts(Catalogue((*samples[:3], Sample(samples[3].path)), {}, "scenes", tmp_path))
    assert given_parts(Catalogue((Sample(samples[0].path),), {}, "scenes", tmp_path)) is None


def test_too_few_groups_and_wrong_shares_are_refused() -> None:
    few = np.zeros(9, np.int64), np.repeat([0, 1], [4, 5])
    with pytest.raises(ConfigError, match="got 2 groups; ask for at most 2"):
        folds(*few, k=12)
    with pytest.raises(ConfigError, match="at least three groups"):
        three_way(*few, seed=0)
    with pytest.raises(ConfigError, match="sum to 1"):
        three_way(np.zeros(4, np.int64), np.arange(4), 0, shares=(0.5, 0.1, 0.1))


def test_crossing_finds_a_planted_leak() -> None:
    parts = Parts(np.array([0, 1]), np.array([2]), np.array([3]))
    groups = np.array([7, 8, 9, 7])
    assert crossing(list(parts.named().values()), groups).tolist() == [7]


def test_a_label_of_one_recording_can_be_trained_on_in_every_fold_and_tested_in_none(tmp_path: Path) -> None:
    labels = ["ear"] * 8 + ["larynx"] * 8 + ["nose"] * 5
    samples = tuple(Sample(tmp_path / f"{n}.png", {"organ": label}) for n, label in enumerate(labels))
    catalogue = Catalogue(samples, {"organ": ("ear", "larynx", "nose")}, "organs", tmp_path)
    groups = np.array([*range(16), *[16] * 5])
    plan = SplitPlan(kind="folds", k=4, only_trained=("nose",))
    fits = list(parted(catalogue, groups, plan, seed=1))
    assert all(set(range(16, 21)) <= set(fit.parts.train.tolist()) for fit in fits)
    assert sorted(n for fit in fits for n in fit.parts.test.tolist()) == list(range(16))
    assert all(not crossing(list(fit.parts.named().values()), groups).size for fit in fits)
    assert all("never tested" in fit.notes[0] for fit in fits)
    with pytest.raises(ConfigError, match="got nostril"):
        next(parted(catalogue, groups, SplitPlan(only_trained=("nostril",)), seed=1))
    with pytest.raises(ConfigError, match="share a group"):
        next(parted(catalogue, np.array([*range(16), *[15] * 5]), plan, seed=1))
