"""Shortcut probes: a planted shortcut is found where it was planted, S1's set is refused, an honest one passes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from generated_sets import scene, write_image

pytest.importorskip("torch", reason="training needs scopeline[training]")
pytest.importorskip("imagehash", reason="training needs scopeline[training]")

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.data_sets import read_catalogue
from scopeline_training.layouts.plans import Manifest, StandIn
from scopeline_training.pair_stand_in import PairStandIn, make_pairs
from scopeline_training.pictures import CropName
from scopeline_training.shortcut_probes import ProbeVerdict, need_pass, probe


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPELINE_CACHE", str(tmp_path / "cache"))


def planted(folder: Path, shortcut: str) -> Catalogue:
    """60 pictures with a label that a coin chose, and one thing that gives it away."""
    rng = np.random.default_rng(8)
    samples = []
    for number in range(60):
        label = int(rng.integers(2))
        pixels, quality = scene(number, 192), 95
        if shortcut == "border":
            pixels[:, :4] = 40 + 60 * label
        if shortcut == "file":
            quality = 95 - 15 * label
        if shortcut == "overlay" and label:
            cv2.rectangle(pixels, (10, 126), (66, 180), (40, 170, 130), -1)
        if shortcut == "geometry" and label:
            pixels = pixels[:150]
        path = write_image(folder / f"{number}.jpg", pixels, quality)
        samples.append(Sample(path, {"mes": str(label)}, group=f"p{number}"))
    return Catalogue(tuple(samples), {"mes": ("0", "1")}, f"planted {shortcut}", folder)


def test_labels_that_a_coin_chose_pass(tmp_path: Path) -> None:
    verdict = probe(planted(tmp_path, "nothing"), "none")
    assert not verdict.refused, verdict
    assert verdict.reasons == ()
    assert set(verdict.aurocs) == {"border", "file", "thumbnail", "overlay", "geometry"}
    need_pass(verdict, force=False)


@pytest.mark.parametrize("shortcut", ["border", "file", "overlay", "geometry"])
def test_a_planted_shortcut_is_found_where_it_was_planted(tmp_path: Path, shortcut: str) -> None:
    verdict = probe(planted(tmp_path, shortcut), "none")
    assert verdict.refused
    assert verdict.aurocs[shortcut] > 0.9
    assert any(shortcut in reason for reason in verdict.reasons)


def test_a_crop_that_shows_no_overlay_is_not_blamed_for_it_and_has_no_geometry(tmp_path: Path) -> None:
    verdict = probe(planted(tmp_path, "overlay"), "inscribed")
    assert verdict.aurocs["overlay"] < 0.65
    assert "geometry" not in verdict.aurocs


def test_a_refused_set_stops_the_run_unless_forced_and_then_stamps_it(tmp_path: Path) -> None:
    verdict = probe(planted(tmp_path, "file"), "none")
    with pytest.raises(ConfigError, match="The file alone tells a label"):
        need_pass(verdict, force=False)
    need_pass(verdict, force=True)
    assert ": REFUSED." in str(verdict)
    assert "thumbnail" in str(verdict)


def test_a_label_with_few_patients_is_refused_whatever_the_probes_say(tmp_path: Path) -> None:
    honest = planted(tmp_path, "nothing")
    one_patient = tuple(
        Sample(s.path, s.labels, group="one" if s.labels["mes"] == "0" else s.group) for s in honest.samples
    )
    verdict = probe(Catalogue(one_patient, honest.classes, "one patient", tmp_path), "none")
    assert verdict.refused
    assert "fewer of '0' (1)" in verdict.reasons[0]
    assert not verdict.grouped
    assert "random folds" in str(verdict)


@pytest.mark.parametrize("crop", ["none", "inscribed"])
def test_the_external_set_of_study_1_is_refused_with_and_without_its_groups(
    data_dir: Path, crop: CropName
) -> None:
    for known in ((), ("0",)):
        plan = Manifest(root=str(data_dir), task="mes_fullres", head="mes", one_recording=known)
        verdict = probe(read_catalogue(plan), crop)
        assert verdict.refused
        assert verdict.aurocs["file"] > 0.95
        if crop == "none":
            assert verdict.aurocs["border"] > 0.99, "science note 4.9: 1.000"
    assert verdict.groups["0"] == 1


def test_the_generated_retinal_set_passes_and_its_thumbnail_is_the_bar(tmp_path: Path) -> None:
    verdict = probe(read_catalogue(StandIn(set="oct")), "none")
    assert not verdict.refused, verdict
    assert verdict.aurocs["thumbnail"] > verdict.aurocs["border"]


@pytest.mark.parametrize("plan", [StandIn(set="kvasir"), PairStandIn(patients=30)], ids=["kvasir", "pairs"])
def test_a_generated_set_in_which_there_is_no_shortcut_passes(
    plan: StandIn | PairStandIn, tmp_path: Path
) -> None:
    drawn = make_pairs(plan, tmp_path) if isinstance(plan, PairStandIn) else read_catalogue(plan)
    verdict = probe(drawn, "inscribed")
    assert not verdict.refused, verdict


def test_a_set_of_masks_alone_has_no_label_to_tell(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", scene(1))
    assert probe(Catalogue((Sample(path, mask=path),), {}, "masks"), "box") == ProbeVerdict(
        False, (), {}, crop="box"
    )
