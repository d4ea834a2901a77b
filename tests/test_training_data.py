"""Training data: look-alikes stay together, folds keep groups whole, recipes and labels mean what they say."""

import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from scopeline.errors import ConfigError
from scopeline.picture import Pixels

pytest.importorskip("torch", reason="training needs scopeline[training]")

from scopeline.shipped import shipped_pipelines
from scopeline.simulation.procedure import ORGANS, simulate_procedure
from scopeline_training.colon import colon_examples, split_apart, strata
from scopeline_training.examples import UNKNOWN, Examples, join
from scopeline_training.experiment import read_any
from scopeline_training.folds import grouped_folds
from scopeline_training.look_alikes import group_look_alikes, perceptual_hash
from scopeline_training.outside import outside_picture
from scopeline_training.probes import border_ring, probe, thumbnail
from scopeline_training.recipe import ColonData, HeadPlan, InputPlan, Recipe, SyntheticData, read_recipe
from scopeline_training.synthetic import DEMO_SEED, held_out_examples, training_examples

RECIPES = Path(__file__).parents[1] / "training" / "recipes"


def scene(seed: int, size: int = 128) -> Pixels:
    """A picture of random smooth shade."""
    coarse = np.random.default_rng(seed).random((6, 6, 3)).astype(np.float32)
    return np.asarray(
        cv2.resize(coarse * 255, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 255), np.uint8
    )


def test_a_scaled_and_compressed_copy_is_a_look_alike_and_another_scene_is_not() -> None:
    original = scene(1)
    _, code = cv2.imencode(".jpg", cv2.resize(original, (90, 90)), [cv2.IMWRITE_JPEG_QUALITY, 30])
    copy = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    groups = group_look_alikes(
        map(perceptual_hash, [original, scene(2), copy, scene(3)]), ["a", "b", "c", "d"]
    )
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 3


def test_likeness_is_passed_on_and_known_keys_join_what_looks_different() -> None:
    chain = [0, (1 << 8) - 1, (1 << 16) - 1]  # neighbours differ in 8 bits, the ends in 16
    assert len(set(group_look_alikes(chain, ["a", "b", "c"]).tolist())) == 1
    far = [0, (1 << 40) - 1, (1 << 63) - 1]
    assert group_look_alikes(far, ["clip", "other", "clip"]).tolist() == [0, 1, 0]


def test_a_hash_has_as_many_ones_as_zeros() -> None:
    # Half of 64 coefficients lie above their median, whatever the picture.
    assert {perceptual_hash(scene(seed)).bit_count() for seed in range(10)} == {32}


def test_folds_keep_groups_whole_and_test_everything_once() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 3)
    classes = np.repeat(rng.integers(0, 3, 40), 3)
    tested = []
    for train, test in grouped_folds(classes, groups, folds=4, seed=7):
        assert not set(groups[train]) & set(groups[test])
        assert set(classes[test]) == {0, 1, 2}
        tested += test.tolist()
    assert sorted(tested) == list(range(120))


def examples(count: int, group: int, head: str = "quality") -> Examples:
    pixels = np.zeros((count, 8, 8, 3), np.uint8)
    targets = {head: np.ones(count, np.int64)}
    return Examples(pixels, targets, np.full(count, group), tuple(f"{head} {n}" for n in range(count)))


def test_joined_parts_keep_their_groups_apart_and_miss_what_they_were_not_asked() -> None:
    both = join([examples(2, 5), examples(3, 5, "organ")])
    assert len(set(both.groups.tolist())) == 2
    assert both.targets["organ"].tolist() == [UNKNOWN, UNKNOWN, 1, 1, 1]
    assert both.targets["quality"].tolist() == [1, 1, UNKNOWN, UNKNOWN, UNKNOWN]
    assert both.take(both.groups == both.groups[4]).names == ("organ 0", "organ 1", "organ 2")


def test_targets_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        Examples(
            np.zeros((2, 8, 8, 3), np.uint8), {"a": np.zeros(3, np.int64)}, np.zeros(2, np.int64), ("", "")
        )


def test_the_border_probe_finds_a_planted_border_and_the_thumbnail_a_planted_shade() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(90, 110, (80, 64, 64, 3), dtype=np.uint8)
    classes, groups = np.arange(80) % 2, np.arange(80)
    pixels[classes == 1, :3] = 0
    border = probe(border_ring(pixels), classes, groups, folds=4, seed=0)
    assert ((border.argmax(axis=1) == classes).mean()) > 0.95
    pixels[:, :3] = 100
    pixels[classes == 1, 20:40, 20:40] += 40
    middle = probe(border_ring(pixels), classes, groups, folds=4, seed=0)
    shade = probe(thumbnail(pixels), classes, groups, folds=4, seed=0)
    assert (middle.argmax(axis=1) == classes).mean() < 0.75
    assert (shade.argmax(axis=1) == classes).mean() > 0.95


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_reads_and_has_a_card(path: Path) -> None:
    recipe = read_any(path)
    if isinstance(recipe, Recipe):
        assert recipe.name == path.stem
        assert {head.role for head in recipe.heads} == {"quality", "location", "grade"}
    if isinstance(recipe, Recipe) or (shipped_pipelines() / "bundles" / recipe.name).is_dir():
        assert "cannot do" in path.with_suffix(".card.md").read_text(
            "utf-8"
        )  # what ships has prose of its own


def test_the_demos_own_seed_is_never_trained_on() -> None:
    data = read_recipe(RECIPES / "demo.toml").data
    assert isinstance(data, SyntheticData)
    assert DEMO_SEED not in range(
        data.first_seed, data.first_seed + data.procedures + data.held_out_procedures
    )


def test_an_unknown_key_of_a_recipe_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text((RECIPES / "demo.toml").read_text("utf-8").replace("epochs =", "epoch ="), "utf-8")
    with pytest.raises(ConfigError, match="epoch"):
        read_recipe(wrong)


def synthetic_plan(*, scenes: int = 0, held_out: int = 0) -> SyntheticData:
    return SyntheticData(
        procedures=0, frames_per_procedure=3, scenes=scenes, encoded_procedures=0,
        held_out_procedures=held_out, first_seed=500,
    )  # fmt: skip


def test_synthetic_scenes_carry_the_planted_truth_and_grow_from_one_seed() -> None:
    first = training_examples(synthetic_plan(scenes=3), InputPlan(size=64), 9, lambda: None)
    again = training_examples(synthetic_plan(scenes=1), InputPlan(size=64), 9, lambda: None)
    np.testing.assert_array_equal(first.pixels[: len(again)], again.pixels)
    assert first.pixels.shape[1:] == (64, 64, 3)
    assert len(set(first.groups.tolist())) == 3
    outside = first.targets["organ"] == 0
    assert (first.targets["mes"][outside] == UNKNOWN).all()
    assert (first.targets["mes"][~outside] != UNKNOWN).all()


def test_frames_of_a_procedure_carry_its_truth() -> None:
    frames = held_out_examples(synthetic_plan(held_out=1), InputPlan(size=64), lambda: None)
    procedure = simulate_procedure(seed=500)
    assert len(frames) >= 1
    for name, quality, organ in zip(
        frames.names, frames.targets["quality"], frames.targets["organ"], strict=True
    ):
        truth = procedure.truth_at(int(name.split()[-1]))
        assert quality == truth.usable
        assert organ == (ORGANS.index(truth.organ) if truth.usable else UNKNOWN)


def test_the_seed_of_the_demo_is_refused() -> None:
    data = SyntheticData(
        procedures=1, frames_per_procedure=1, scenes=0, encoded_procedures=0, held_out_procedures=0,
        first_seed=DEMO_SEED,
    )  # fmt: skip
    with pytest.raises(ValueError, match="never trained on"):
        training_examples(data, InputPlan(), 0, lambda: None)


def test_outside_pictures_are_seeded_and_of_many_kinds() -> None:
    pictures = [outside_picture(np.random.default_rng(seed), 48) for seed in range(12)]
    np.testing.assert_array_equal(pictures[0], outside_picture(np.random.default_rng(0), 48))
    assert len({picture.tobytes() for picture in pictures}) == 12


def small_collection(folder: Path) -> Recipe:
    """Some stills per class, one of them with a closed licence."""
    rows = []
    for task, label, count in (
        ("mes", "0", 3),
        ("mes", "1", 7),
        ("mes", "1-2", 6),
        ("mes", "2", 7),
        ("mes", "3", 7),
    ):
        for number in range(count):
            path = folder / "images" / task / label / f"{label}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.maximum(scene(hash_of(label, number), 96), 40))
            licence = "closed" if (label, number) == ("3", 5) else "CC BY 4.0"
            rows.append({"path": str(path.relative_to(folder)), "task": task, "label": label, "dataset": "HyperKvasir",
                         "licence": licence, "sha256": "0"})  # fmt: skip
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Recipe(
        name="small", version="1", licence="Apache-2.0", notice="", seed=1, input=InputPlan(size=32),
        heads=(HeadPlan(name="quality", role="quality", labels=("bad", "good")),),
        data=ColonData(licences=("CC BY 4.0",), outside_pictures=12, every_nth_frame=1, folds=2, fold_epochs=1),
        fit=read_recipe(RECIPES / "colon.toml").fit,
    )  # fmt: skip


def hash_of(label: str, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{label} {number}".encode()).digest()[:4], "big")


def test_only_files_with_a_named_licence_are_read(tmp_path: Path) -> None:
    read = colon_examples(tmp_path, small_collection(tmp_path))
    assert not any("3_5" in name for name in read.names)
    assert np.bincount(strata(read)).tolist() == [3, 7, 7, 6, 6, 12]


def test_grade_0_is_one_group_and_never_kept_apart(tmp_path: Path) -> None:
    read = colon_examples(tmp_path, small_collection(tmp_path))
    assert len(set(read.groups[strata(read) == 0].tolist())) == 1
    train, apart = split_apart(read, seed=1)
    assert not set(read.groups[train].tolist()) & set(read.groups[apart].tolist())
    assert (strata(read)[apart] != 0).all()
    assert sorted([*train, *apart]) == list(range(len(read)))


def test_the_real_collection_reads_without_a_closed_licence(data_dir: Path) -> None:
    recipe = read_recipe(RECIPES / "colon.toml")
    assert isinstance(recipe.data, ColonData)
    with (data_dir / "manifest.csv").open(newline="") as file:
        licences = {row["path"]: row["licence"] for row in csv.DictReader(file)}
    closed = {each for each in licences.values() if "NC" in each or "GPL" in each or "research" in each}
    assert len(closed) >= 4
    assert not closed & set(recipe.data.licences)
