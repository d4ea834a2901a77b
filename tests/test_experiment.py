"""Experiment: recipes of the general path say where they are wrong, and the command line can change them."""

from pathlib import Path

import pytest

from scopeline.bundle import load_bundle
from scopeline.errors import ConfigError

pytest.importorskip("torch", reason="training needs scopeline[training]")

from scopeline_training.experiment import Experiment, FittingPlan, read_any, read_experiment
from scopeline_training.folder_recipe import folder_experiment
from scopeline_training.layouts.plans import ClassFolders, MaskPairs
from scopeline_training.recipe import ColonData, Recipe, SyntheticData, trial_recipe, with_epochs
from scopeline_training.run_options import RunOptions
from scopeline_training.schedules import Cosine
from scopeline_training.toml_text import toml_text
from scopeline_training.train_any import TrainOptions, train_recipe, with_options

RECIPES = Path(__file__).parents[1] / "training" / "recipes"
LEAST = '[data]\nkind = "class_folders"\nroot = "pictures"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(f'name = "x"\n{text}', "utf-8")
    return path


def test_the_least_recipe_is_a_name_and_a_folder(tmp_path: Path) -> None:
    found = read_experiment(written(tmp_path, LEAST))
    assert isinstance(found.data, ClassFolders)
    assert found.data.root == "pictures"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"{LEAST}[fit]\nepochz = 3\n", "epochz"),
        (f'{LEAST}[fit]\nepochs = "many"\n', "$.fit.epochs"),
        (f"{LEAST}[fit]\nbatch = 0\n", "$.fit.batch"),
        (f'{LEAST}[fit.schedule]\nkind = "zigzag"\n', "$.fit.schedule"),
        ('[data]\nkind = "cloud"\n', "$.data"),
        ("seed = 1\n", "data"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_place(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_experiment(written(tmp_path, text))
    assert place in str(caught.value)
    assert "recipe.toml" in str(caught.value)


def test_a_missing_recipe_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read it"):
        read_any(tmp_path / "none.toml")


def test_the_kind_of_data_decides_which_path_a_recipe_takes() -> None:
    assert isinstance(read_any(RECIPES / "demo.toml"), Recipe)
    assert isinstance(read_any(RECIPES / "kvasir_s3.toml"), Experiment)


def test_changes_of_the_command_line_go_over_the_recipe(tmp_path: Path) -> None:
    path = written(tmp_path, f'{LEAST}[[heads]]\nname = "class"\n')
    changes = ["fit.rate=1e-4", "fit.schedule.kind=cosine", "heads.0.loss=corn", "split.kind=folds"]
    found = read_experiment(path, changes)
    assert found.fit.rate == 1e-4
    assert isinstance(found.fit.schedule, Cosine)
    assert found.heads[0].loss == "corn"
    assert found.split.kind == "folds"


@pytest.mark.parametrize("change", ["fit.rate", "=3", "name.first=x", "heads.7.loss=corn"])
def test_a_change_that_leads_nowhere_is_refused(tmp_path: Path, change: str) -> None:
    with pytest.raises(ConfigError):
        read_experiment(written(tmp_path, f'{LEAST}[[heads]]\nname = "class"\n'), [change])


def test_a_recipe_with_a_run_of_its_own_takes_changes_too() -> None:
    recipe = read_any(RECIPES / "colon.toml", ["fit.epochs=3", "heads.2.ordinal_power=2"])
    assert isinstance(recipe, Recipe)
    assert (recipe.fit.epochs, recipe.heads[2].ordinal_power) == (3, 2.0)
    with pytest.raises(ConfigError, match=r"colon\.toml.*epochz"):
        read_any(RECIPES / "colon.toml", ["fit.epochz=3"])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (TrainOptions(weights="imagenet"), "--weights"),
        (TrainOptions(run=RunOptions(resume=True)), "--resume"),
        (TrainOptions(run=RunOptions(limit=3)), "--limit"),
    ],
)
def test_what_a_run_of_its_own_has_no_use_for_is_refused_by_name(
    tmp_path: Path, options: TrainOptions, word: str
) -> None:
    with pytest.raises(ConfigError, match=f"wanted --set, .* got {word}: "):
        train_recipe(RECIPES / "demo.toml", tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_can_be_read(path: Path) -> None:
    assert read_any(path).name


def test_a_recipe_written_as_toml_reads_back_the_same(tmp_path: Path) -> None:
    import msgspec

    found = read_experiment(RECIPES / "polyps_s4.toml")
    path = tmp_path / "again.toml"
    path.write_text(toml_text(msgspec.to_builtins(found)), "utf-8")
    assert read_experiment(path) == found
    assert isinstance(found.data, MaskPairs)


def test_the_head_of_study_s3_is_in_its_recipe() -> None:
    found = read_experiment(RECIPES / "kvasir_s3.toml")
    network, fit = found.network, found.fit
    assert (network.backbone, network.hidden, network.hidden_l2, network.dropout) == (
        "mobilenetv2",
        256,
        1e-4,
        0.3,
    )
    assert fit.frozen is not None
    assert (fit.frozen.epochs, fit.frozen.rate, fit.frozen.patience) == (10, 1e-3, 3)
    assert (fit.epochs, fit.rate, fit.patience, fit.batch) == (20, 1e-5, 3, 32)


def test_a_small_folder_gets_more_epochs_and_smaller_batches(tmp_path: Path) -> None:
    def plan(count: int) -> FittingPlan:
        folder = tmp_path / str(count)
        for number in range(count):
            place = folder / "ab"[number % 2] / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        return folder_experiment(folder).fit

    few, many = plan(80), plan(600)
    assert (few.batch, many.batch) == (8, 16)
    assert few.epochs * 0.7 * 80 / few.batch == pytest.approx(800, rel=0.01)
    assert many.epochs == 40
    assert few.patience is not None
    assert few.patience * 0.7 * 80 / few.batch > 150, "patience is not over before batch norms have settled"
    assert plan(4).epochs == 160


def test_a_trial_is_small_and_starts_from_scratch() -> None:
    found = with_options(read_experiment(RECIPES / "mes01_s1_dual.toml"), TrainOptions(trial=True))
    assert found.fit.epochs == 2
    assert found.input.size == 64
    assert found.split.k == 2
    assert found.network.weights == "none"


def test_a_trial_of_a_run_of_its_own_is_small_in_every_fit() -> None:
    colon, demo = (read_any(RECIPES / f"{name}.toml") for name in ("colon", "demo"))
    assert isinstance(colon, Recipe)
    assert isinstance(demo, Recipe)
    small = trial_recipe(colon)
    assert isinstance(small.data, ColonData)
    assert (small.fit.epochs, small.data.fold_epochs) == (2, 1)
    assert small.heads == colon.heads
    painted = trial_recipe(demo).data
    assert isinstance(painted, SyntheticData)
    assert painted.procedures + painted.scenes + painted.held_out_procedures < 20


def test_asked_epochs_are_those_of_the_folds_too() -> None:
    colon = read_any(RECIPES / "colon.toml")
    assert isinstance(colon, Recipe)
    longer = with_epochs(colon, 7)
    assert isinstance(longer.data, ColonData)
    assert (longer.fit.epochs, longer.data.fold_epochs) == (7, 7)


def test_a_trial_makes_nothing_larger_than_it_was() -> None:
    demo = read_any(RECIPES / "demo.toml", ["fit.epochs=1", "data.procedures=1", "data.encoded_procedures=0"])
    assert isinstance(demo, Recipe)
    small = trial_recipe(demo)
    assert isinstance(small.data, SyntheticData)
    assert (small.fit.epochs, small.data.procedures, small.data.encoded_procedures) == (1, 1, 0)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("fit.epochs=0", "$.fit.epochs"),
        ("fit.batch=0", "$.fit.batch"),
        ("fit.peak_rate=nan", "$.fit.peak_rate"),
        ("fit.peak_rate=inf", "$.fit.peak_rate"),
        ("fit.ema_decay=1.0", "$.fit.ema_decay"),
        ("heads.2.ordinal_power=-1", "$.heads[2].ordinal_power"),
        ("seed=-1", "$.seed"),
        ("input.size=0", "$.input.size"),
        ("data.held_out_procedures=0", "$.data.held_out_procedures"),
    ],
)
def test_a_change_without_sense_is_refused_before_anything_is_painted(change: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_any(RECIPES / "demo.toml", [change])
    assert f"demo.toml with --set {change}" in str(caught.value)
    assert place in str(caught.value)


def test_a_recipe_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.toml").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ConfigError, match=r"photo\.toml: not a recipe"):
        read_any(tmp_path / "photo.toml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("heads.2.name=grade", r"its data answer mes \(4 labels\), .* got the heads grade \(4 labels\)"),
        ("heads.2.labels=['0','1','2']", r"mes \(4 labels\), .* got the heads mes \(3 labels\)"),
        ("data.first_seed=0", "seed 7 is the demo's own and is never trained on, got seeds 0 to 33"),
    ],
)
def test_what_the_demos_data_cannot_answer_is_refused_before_they_are_painted(
    tmp_path: Path, change: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        train_recipe(RECIPES / "demo.toml", tmp_path / "out", TrainOptions(changes=(change,)))


def test_the_heads_of_colon_are_looked_at_before_its_pictures(tmp_path: Path) -> None:
    renamed = TrainOptions(changes=("heads.2.name=grade",))
    with pytest.raises(ConfigError, match=r"its data answer mes .4 labels.*got the heads grade .4 labels."):
        train_recipe(RECIPES / "colon.toml", tmp_path / "out", renamed)


def test_a_changed_recipe_with_a_run_of_its_own_becomes_a_bundle_that_says_so(tmp_path: Path) -> None:
    small = ("data.procedures=1", "data.encoded_procedures=0", "data.scenes=2", "data.held_out_procedures=2")
    options = TrainOptions(changes=(*small, "input.size=48"), epochs=1, trial=True)
    assert train_recipe(RECIPES / "demo.toml", tmp_path / "out", options) is None
    bundle = load_bundle(tmp_path / "out")
    words = bundle.training.command.split()
    assert words[:2] == ["scopeline", "train"]
    assert words[-3:] == ["--epochs", "1", "--trial"]
    assert "data.procedures=1" in words
    assert (bundle.input.width, bundle.input.height) == (48, 48)
    card = (tmp_path / "out" / "card.md").read_text("utf-8")
    assert card.startswith("> **Not the model that this card was written for:**")
    assert "seed 42, 1 epochs" in card
