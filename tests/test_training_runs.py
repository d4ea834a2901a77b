"""Training runs: from folders of pictures to bundles that the engine runs, split without leaks, the same every time."""

import csv
import io
from collections import defaultdict
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from scopeline.backends import open_backend
from scopeline.bundle import load_bundle
from scopeline.config import load_pipeline
from scopeline.errors import ConfigError

pytest.importorskip("torch", reason="training needs scopeline[training]")

import torch
from rich.console import Console

from scopeline_training.ablation import versions_of
from scopeline_training.experiment import (
    AugmentPlan,
    Experiment,
    FittingPlan,
    ProbePlan,
    SplitPlan,
    SpoilPlan,
    experiment_of,
    read_experiment,
)
from scopeline_training.fitted_fold import representative
from scopeline_training.layouts.plans import ClassFolders, MaskPairs
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.pair_stand_in import PairStandIn
from scopeline_training.pictures import PicturePlan
from scopeline_training.run_notes import told
from scopeline_training.run_options import RunOptions
from scopeline_training.running import RunResult, run_experiment
from scopeline_training.series import run_series
from scopeline_training.sweep import sweep
from scopeline_training.train_any import TrainOptions, train_folder, train_recipe

torch.set_num_threads(1)

RECIPES = Path(__file__).parents[1] / "training" / "recipes"
SMALL = NetworkPlan(backbone="small", normalise="unit")
SHORT = FittingPlan(epochs=1, batch=8)
SHOWN = PicturePlan(size=32, crop="none")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPELINE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labels of six patients with three pictures each; discs against bars, light and colour differ by patient."""
    root = tmp_path_factory.mktemp("data") / "My pictures"
    for label in ("bars", "discs"):
        for patient in range(6):
            place = root / label / f"{label[0]}{patient}"
            place.mkdir(parents=True)
            for number in range(3):
                _paint(
                    place / f"{number}.png",
                    label,
                    np.random.default_rng((len(label), patient, number)),
                    patient,
                )
    return root


def _paint(path: Path, label: str, rng: np.random.Generator, patient: int) -> None:
    colour = np.random.default_rng(patient).uniform(90, 180, 3)
    pixels = (colour + rng.normal(0, 12, (64, 64, 3))).clip(0, 255).astype(np.uint8)
    x, y = (int(each) for each in rng.integers(20, 44, 2))
    if label == "discs":
        cv2.circle(pixels, (x, y), 12, (230, 230, 230), -1)
    else:
        cv2.rectangle(pixels, (x - 18, y - 5), (x + 18, y + 5), (230, 230, 230), -1)
    cv2.imwrite(str(path), pixels)


def experiment(folder: Path, **changes: object) -> Experiment:
    plain = Experiment(
        name="shapes", data=ClassFolders(root=str(folder)), input=SHOWN, network=SMALL, fit=SHORT,
        probe=ProbePlan(force=True),
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def run(plan: Experiment, out: Path, options: RunOptions | None = None) -> RunResult:
    quiet = Console(file=io.StringIO())
    result = run_experiment(
        plan, out, recipe="text", command="scopeline train x", options=options, console=quiet
    )
    assert result is not None
    return result


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def of_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """One run of `scopeline train --data FOLDER`."""
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCOPELINE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        result = train_folder(folder, out, TrainOptions(epochs=2), Console(file=io.StringIO()))
    assert result is not None
    return result


def test_a_folder_of_two_labels_becomes_a_bundle_that_the_engine_runs(of_folder: RunResult) -> None:
    bundle = load_bundle(of_folder.bundle)
    assert bundle.name == "my-pictures"
    assert [(head.name, head.labels) for head in bundle.heads] == [("class", ("bars", "discs"))]
    backend = open_backend("onnxruntime", bundle, threads=1, precision="fp32")
    try:
        answer = backend.infer(np.zeros((2, bundle.input.height, bundle.input.width, 3), np.uint8))
    finally:
        backend.close()
    assert answer["class"].shape == (2, 2)
    pipeline = load_pipeline(of_folder.folder / "pipeline.toml")
    assert load_bundle(pipeline.bundle_path(pipeline.bundles[0])).name == "my-pictures"


def test_a_run_leaves_a_report_a_card_and_a_recipe_to_edit(of_folder: RunResult, folder: Path) -> None:
    for name in ("report.html", "report.pdf", "tables.xlsx"):
        assert (of_folder.folder / "report" / name).stat().st_size > 0
    card = (of_folder.bundle / "card.md").read_text("utf-8")
    assert of_folder.record.data_sha256 in card
    assert of_folder.record.code_sha256 in card
    assert "scopeline train --data" in card
    again = read_experiment(of_folder.folder / "recipe.toml")
    assert again.fit.epochs == 2
    assert isinstance(again.data, ClassFolders)
    assert again.data.root == str(folder)


def test_the_terminal_says_the_figure_that_the_report_says(of_folder: RunResult) -> None:
    (said, *_refused) = told(of_folder.record, of_folder.answers, of_folder.masks)
    (row,) = [
        row for row in rows_of(of_folder.folder / "report" / "overall_class-test.csv")
        if row["figure"] == "balanced accuracy"
    ]  # fmt: skip
    figure = f"{float(row['value']):.3f} ({float(row['value low']):.3f} to {float(row['value high']):.3f})"
    assert f"balanced accuracy {figure}, by guessing 0.500" in said


def test_no_group_is_in_two_parts(of_folder: RunResult) -> None:
    parts = defaultdict(set)
    for row in rows_of(of_folder.folder / "split.csv"):
        parts[row["group"]].add(row["part"])
    assert len(parts) == 12
    assert all(len(each) == 1 for each in parts.values())
    assert {part for each in parts.values() for part in each} == {"train", "val", "test"}


def test_two_runs_with_one_seed_agree_in_folds_figures_and_bundle(folder: Path, tmp_path: Path) -> None:
    plan = experiment(
        folder, split=SplitPlan(kind="folds", k=2), augment=AugmentPlan(preset="endoscopy"), spoil=SpoilPlan()
    )
    first, second = (run(plan, tmp_path / name) for name in "ab")
    for name in ("split.csv", "folds.csv"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()
    for one, other in zip(first.answers, second.answers, strict=True):
        assert one.names == other.names
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert first.bundle_sha256 == second.bundle_sha256


def test_in_cross_validation_everybody_is_tested_once_and_the_median_fold_is_kept(
    folder: Path, tmp_path: Path
) -> None:
    result = run(experiment(folder, split=SplitPlan(kind="folds", k=3)), tmp_path)
    (answers,) = result.answers
    assert len(answers) == len(set(answers.names)) == 36
    rows = rows_of(tmp_path / "folds.csv")
    losses = [float(row["test loss"]) for row in rows]
    kept = [row[""] for row in rows].index("kept")
    assert losses[kept] == sorted(losses)[1]
    assert any("representative" in note for note in result.record.notes)
    by_fold = [{row["group"]: row[f"fold {n}"] for row in rows_of(tmp_path / "split.csv")} for n in (1, 2, 3)]
    tested = [{group for group, part in each.items() if part == "test"} for each in by_fold]
    assert set.union(*tested) == set(by_fold[0])
    assert sum(map(len, tested)) == 12


def test_the_representative_of_an_even_number_of_folds_is_the_upper_of_the_two_in_the_middle() -> None:
    assert representative([0.9, 0.1, 0.4, 0.5]) == 3
    assert representative([0.7]) == 0


def test_a_data_set_with_a_shortcut_is_refused_and_stamped_if_forced(tmp_path: Path) -> None:
    root = tmp_path / "framed"
    for label, frame in (("dark", 0), ("light", 255)):
        for patient in range(6):
            (root / label / f"{label}{patient}").mkdir(parents=True)
            for number in range(2):
                path = root / label / f"{label}{patient}" / f"{number}.png"
                _paint(path, "discs", np.random.default_rng((frame, patient, number)), patient)
                pixels = cv2.imread(str(path))
                assert pixels is not None
                pixels[:6], pixels[-6:] = frame, frame
                cv2.imwrite(str(path), pixels)
    plan = experiment(root, probe=ProbePlan())
    with pytest.raises(ConfigError, match="shortcut"):
        run(plan, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    forced = run(plan, tmp_path / "forced", RunOptions(force=True))
    assert forced.record.refused
    assert "REFUSED" in (forced.bundle / "card.md").read_text("utf-8")
    assert "REFUSED" in (tmp_path / "forced" / "report" / "report.html").read_text("utf-8")


def test_the_external_set_of_study_s1_is_refused(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCOPELINE_DATA", str(data_dir))
    with pytest.raises(ConfigError, match="shortcut"):
        train_recipe(
            RECIPES / "mes01_s1_external.toml", tmp_path, TrainOptions(), Console(file=io.StringIO())
        )


def test_quality_comes_first_in_the_pipeline_of_a_run_with_spoilt_copies(
    folder: Path, tmp_path: Path
) -> None:
    heads = (HeadPlan(name="quality", role="quality", labels=("bad", "good")), HeadPlan(name="class"))
    plan = experiment(folder, heads=heads, spoil=SpoilPlan(families="seed"), split=SplitPlan(head="class"))
    result = run(plan, tmp_path)
    assert [answers.head for answers in result.answers] == ["quality", "class"]
    assert result.answers[0].counts.tolist() == [len(result.answers[1])] * 2
    gate = load_pipeline(tmp_path / "pipeline.toml").heads["class"].when
    assert gate is not None
    assert (gate.head, gate.label) == ("quality", "good")


def test_two_pictures_of_a_patient_give_three_answers_and_a_bundle_for_one(tmp_path: Path) -> None:
    plan = Experiment(
        name="pairs", data=PairStandIn(patients=12, size=64), input=SHOWN, fit=SHORT, probe=ProbePlan(force=True),
        network=msgspec.structs.replace(SMALL, inputs=("colon", "rectum")), heads=(HeadPlan(name="mes", role="grade"),),
    )  # fmt: skip
    result = run(plan, tmp_path)
    assert [answers.head for answers in result.answers] == ["mes (fused)", "mes (rectum)", "mes (colon)"]
    history = rows_of(tmp_path / "fits" / "fold-00" / "1-all" / "metrics.csv")[0]
    assert {f"train_loss of {name}" for name in ("colon", "rectum", "fused")} <= history.keys()
    assert (result.bundle / "pair.onnx").is_file()
    assert [head.name for head in load_bundle(result.bundle).heads] == ["mes"]


def test_masks_are_fitted_reported_and_exported(tmp_path: Path) -> None:
    for number in range(8):
        rng = np.random.default_rng(number)
        mask = np.zeros((64, 64), np.uint8)
        cv2.circle(mask, tuple(int(each) for each in rng.integers(20, 44, 2)), 12, 255, -1)
        pixels = (rng.uniform(60, 120, 3) + rng.normal(0, 10, (64, 64, 3)) + mask[..., None] * 0.4).clip(
            0, 255
        )
        for kind, image in (("images", pixels.astype(np.uint8)), ("masks", mask)):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "data" / kind / f"{number}.png"), image)
    plan = Experiment(
        name="areas", data=MaskPairs(root=str(tmp_path / "data"), head="disc"), input=SHOWN,
        network=NetworkPlan(backbone="unet_small", normalise="unit"), fit=SHORT, split=SplitPlan(hamming=0),
    )  # fmt: skip
    result = run(plan, tmp_path / "run")
    (masks,) = result.masks
    assert masks.head == "disc"
    assert masks.truth.shape[1:] == (32, 32)
    assert f"disc, test, {len(masks)} pictures: Dice 0." in next(told(result.record, (), result.masks))
    assert [(head.role, head.labels) for head in load_bundle(result.bundle).heads] == [("mask", ("disc",))]


def test_a_sweep_gives_one_table_and_does_not_run_twice_what_is_done(folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'name = "swept"\n[data]\nkind = "class_folders"\nroot = "{folder.as_posix()}"\n'
        '[input]\nsize = 32\ncrop = "none"\n[network]\nbackbone = "small"\nnormalise = "unit"\n'
        "[fit]\nepochs = 1\nbatch = 8\n[probe]\nforce = true\n",
        "utf-8",
    )
    quiet = Console(file=io.StringIO())
    settings = ["fit.rate=1e-3,1e-4"]
    rows = sweep(recipe, settings, tmp_path / "out", TrainOptions(), quiet)
    assert [row.settings for row in rows] == [{"fit.rate": "1e-3"}, {"fit.rate": "1e-4"}]
    table = rows_of(tmp_path / "out" / "table.csv")
    assert [row["fit.rate"] for row in table] == ["1e-3", "1e-4"]
    assert table[0]["class: balanced accuracy"]
    written = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").rglob("model.onnx"))]
    again = sweep(recipe, settings, tmp_path / "out", TrainOptions(), quiet)
    assert again == rows
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").rglob("model.onnx"))] == written
    with pytest.raises(ConfigError, match="another recipe"):
        sweep(recipe, settings, tmp_path / "out", TrainOptions(epochs=2), quiet)


def test_the_ablation_has_the_eight_versions_of_study_s5_over_one_split(folder: Path, tmp_path: Path) -> None:
    members = versions_of(experiment(folder, input=PicturePlan(size=32)))
    assert [member.settings["version"] for member in members] == list("01234567")
    assert [member.settings["train"] for member in members] == ["noisy"] * 5 + ["clean", "clean", "noisy"]
    rows = run_series(
        [members[0], members[5]], tmp_path, command="x", beside=None, options=RunOptions(),
        console=Console(file=io.StringIO()),
    )  # fmt: skip
    groups = [
        {row["group"] for row in rows_of(tmp_path / name / "split.csv") if row["part"] == "test"}
        for name in ("version-0", "version-5")
    ]
    assert groups[0] == groups[1]
    assert [row.settings["test crop"] for row in rows] == ["none", "disc2square"]
    assert len(rows_of(tmp_path / "table.csv")) == 2


def test_a_question_that_the_data_cannot_answer_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'organ' is asked"):
        run(experiment(folder, heads=(HeadPlan(name="organ"),)), tmp_path)


def test_a_recipe_names_the_place_of_an_unknown_key() -> None:
    with pytest.raises(ConfigError, match=r"\$\.split"):
        experiment_of({"name": "x", "data": {"kind": "class_folders"}, "split": {"folds": 3}}, "here")
