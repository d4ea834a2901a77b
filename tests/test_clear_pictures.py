"""Clear pictures: those in which there is nothing to mark teach a mask head to keep still, and are judged apart."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from generated_sets import scene, write_image

pytest.importorskip("torch", reason="training needs scopeline[training]")
pytest.importorskip("imagehash", reason="training needs scopeline[training]")

from scopeline.errors import ConfigError
from scopeline_training.answering import CLEAR, Said, mask_answers_of
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.data_sets import read_catalogue
from scopeline_training.experiment import SplitPlan
from scopeline_training.grouping import group_numbers, without_look_alikes
from scopeline_training.layouts.plans import MaskPairs
from scopeline_training.mask_evaluation import mask_answers, read_masked
from scopeline_training.mask_scores import MaskAnswers, mask_scores
from scopeline_training.material import material_of
from scopeline_training.network_plan import HeadPlan
from scopeline_training.picture_set import PictureSet
from scopeline_training.pictures import PicturePlan
from scopeline_training.run_parts import parted

SHIPPED = Path(__file__).parents[1] / "pipelines" / "bundles" / "polyp-seg"
DISC = HeadPlan(name="disc", role="mask", labels=("background", "disc"), loss="bce_dice")
SHARES = SplitPlan(kind="three_way", shares=(0.6, 0.2, 0.2))


def pairs_in(root: Path, *, pairs: int, clear: int) -> MaskPairs:
    """Scenes with a disc and its mask in `images` and `masks`, other scenes without one in `none`."""
    disc = np.zeros((64, 64), np.uint8)
    cv2.circle(disc, (30, 34), 12, 255, -1)
    for number in range(pairs):
        write_image(root / "images" / f"{number}.png", scene(number, 64))
        write_image(root / "masks" / f"{number}.png", np.repeat(disc[..., None], 3, axis=2))
    for number in range(clear):
        write_image(root / "none" / f"{number}.png", scene(1000 + number, 64))
    return MaskPairs(root=str(root), head="disc", clear=("none",) if clear else ())


def test_clear_pictures_come_after_the_pairs_and_are_part_of_the_hash(tmp_path: Path) -> None:
    plan = pairs_in(tmp_path, pairs=2, clear=1)
    catalogue = read_catalogue(plan)
    assert [(sample.path.parent.name, sample.is_clear) for sample in catalogue.samples] == [
        ("images", False), ("images", False), ("none", True),
    ]  # fmt: skip
    unsaid = Catalogue((*catalogue.samples[:2], Sample(catalogue.samples[2].path)), {}, "", catalogue.root)
    assert unsaid.sha256 != catalogue.sha256


def test_a_picture_with_a_mask_cannot_be_clear(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got both"):
        Sample(tmp_path / "a.png", mask=tmp_path / "b.png", is_clear=True)


def test_the_mask_of_a_clear_picture_is_empty_and_that_of_an_unlabelled_one_unknown(tmp_path: Path) -> None:
    plan = pairs_in(tmp_path, pairs=1, clear=1)
    samples = read_catalogue(plan).samples
    unknown = Sample(write_image(tmp_path / "more.png", scene(5, 64)))
    catalogue = Catalogue((*samples, unknown), {}, "three kinds", tmp_path)
    shown = PicturePlan(size=32, crop="none")
    material = material_of(catalogue, np.arange(3), shown, [DISC], dual=False)
    pictures = PictureSet(material, [DISC], "none", training=False, spoil=None, seed=0)
    found = [set(np.unique(np.asarray(pictures[-1, number].targets["disc"])).tolist()) for number in range(3)]
    assert found == [{0, 1}, {0}, {-1}]


def test_pictures_with_masks_are_split_as_if_there_were_no_clear_ones(tmp_path: Path) -> None:
    with_clear = pairs_in(tmp_path, pairs=30, clear=12)
    # Looks like two pictures that know nothing of each other would be worse; one is enough to be left out.
    write_image(tmp_path / "none" / "again.png", scene(3, 64))
    seen: dict[str, set[str]] = {}
    for plan in (with_clear, MaskPairs(root=str(tmp_path), head="disc")):
        catalogue = without_look_alikes(read_catalogue(plan))
        groups = group_numbers(catalogue)
        (run,) = parted(catalogue, groups, SHARES, seed=5)
        for name, numbers in run.parts.named().items():
            sides = {catalogue.names[number] for number in numbers if not catalogue.samples[number].is_clear}
            assert seen.setdefault(name, sides) == sides
        parts = list(run.parts.named().values())
        assert not set(groups[parts[0]]) & set(groups[parts[2]])
        if plan.clear:
            clear = [sum(catalogue.samples[number].is_clear for number in part) for part in parts]
            assert sum(clear) == 12, "the one that looks like a picture with a mask is left out"
            assert min(clear) >= 1


def test_dice_is_of_pictures_with_something_to_mark_and_clear_ones_come_apart(tmp_path: Path) -> None:
    catalogue = read_catalogue(pairs_in(tmp_path, pairs=2, clear=2))
    material = material_of(catalogue, np.arange(4), PicturePlan(size=8, crop="none"), [DISC], dual=False)
    pictures = PictureSet(material, [DISC], "none", training=False, spoil=None, seed=0)
    truth = np.zeros((4, 8, 8), np.int64)
    truth[:2, 2:4, 2:4] = 1
    areas = truth == 1
    areas[3, 0, :4] = True
    marked, clear = mask_answers_of(Said({}, {"disc": areas}, {"disc": truth}), pictures, split="test")
    assert (marked.split, clear.split) == ("test", "test" + CLEAR)
    assert mask_scores(marked)[0].value == 1
    assert {figure.name: figure.value for figure in mask_scores(clear)} == {
        "pictures marked": 0.5, "area marked": 4 / 64 / 2,
    }  # fmt: skip


def test_the_interval_of_false_marks_is_over_groups(tmp_path: Path) -> None:
    said = np.zeros((40, 4, 4), bool)
    said[:20] = True
    nothing = np.zeros_like(said)
    names = tuple(map(str, range(40)))
    alone = mask_scores(MaskAnswers(names, np.arange(40), nothing, said, "disc", "test" + CLEAR))[0]
    grouped = mask_scores(MaskAnswers(names, np.arange(40) // 20, nothing, said, "disc", "test" + CLEAR))[0]
    assert alone.value == grouped.value == 0.5
    assert (grouped.low, grouped.high) == (0, 1), "two groups, one all marked and one not at all"
    assert 0.3 < alone.low < alone.high < 0.7


def test_a_finished_bundle_is_judged_on_pairs_and_on_clear_pictures_unlike_those_it_was_taught(
    tmp_path: Path,
) -> None:
    pairs_in(tmp_path, pairs=2, clear=3)
    write_image(tmp_path / "taught" / "same.png", scene(1000, 64))
    catalogue = read_masked(tmp_path, [tmp_path / "none"], unlike=[tmp_path / "taught"])
    assert sum(sample.is_clear for sample in catalogue.samples) == 2
    for threshold, share in ((0.0, 1.0), (1.1, 0.0)):
        marked, clear = mask_answers(SHIPPED, catalogue, threshold=threshold)
        assert (len(marked), len(clear)) == (2, 2)
        assert marked.truth.any(axis=(1, 2)).all()
        assert [figure.value for figure in mask_scores(clear)] == [share, share]
    with pytest.raises(ConfigError, match="none is unlike"):
        read_masked(None, [tmp_path / "taught"], unlike=[tmp_path / "taught"])
