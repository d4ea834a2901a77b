"""Training: figures agree with scikit-learn, losses with their formulas, a fit learns, and what it exports is equal."""

import math
import signal
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scopeline.bundle import load_bundle
from scopeline.degrade import harmless
from scopeline.errors import ConfigError
from scopeline.picture import Pixels

pytest.importorskip("torch", reason="training needs scopeline[training]")

import msgspec
import torch
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scopeline_training import figures
from scopeline_training.augment import spoil_some, vary
from scopeline_training.bundle_writer import Provenance, save_network
from scopeline_training.card import write_card
from scopeline_training.evaluation import calibration_error, report_heads
from scopeline_training.examples import UNKNOWN, Examples
from scopeline_training.export import export_onnx, parity
from scopeline_training.fit import fit, predict
from scopeline_training.losses import distance_loss, head_loss
from scopeline_training.network import Network
from scopeline_training.quality_suite import auroc, run_suite, train_scorer
from scopeline_training.quality_suite import main as quality_suite
from scopeline_training.recipe import FitPlan, HeadPlan, Recipe, read_recipe
from scopeline_training.seeding import seed_everything
from scopeline_training.temperature import fit_temperature, probabilities

torch.set_num_threads(1)  # waiting threads spin: on a busy machine two are forty times slower than one

RECIPES = Path(__file__).parents[1] / "training" / "recipes"
TINY = ((8, 2), (16, 2), (24, 2))
HEADS = (
    HeadPlan(name="quality", role="quality", labels=("bad", "good")),
    HeadPlan(name="mes", role="grade", labels=("0", "1", "2", "3"), ordinal_power=5.0),
)


def mucosa(seed: int, grade: int = 0, size: int = 48) -> Pixels:
    """Reddish shade with grain; every grade is a step redder."""
    rng = np.random.default_rng(seed)
    shade = cv2.resize(rng.random((6, 6)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    colour = np.array([190.0, 130.0 - 25 * grade, 100.0 - 20 * grade])
    picture = colour * (0.7 + 0.4 * shade[..., None]) + rng.normal(0, 9, (size, size, 1))
    return np.asarray(picture.clip(0, 255), np.uint8)


def graded(count: int, first: int = 0) -> Examples:
    grades = np.arange(count) % 4
    return Examples(
        np.stack([mucosa(first + number, int(grade)) for number, grade in enumerate(grades)]),
        {"quality": np.ones(count, np.int64), "mes": np.where(np.arange(count) % 5 == 4, UNKNOWN, grades)},
        np.arange(count),
        tuple(str(number) for number in range(count)),
    )


def test_figures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, 300)
    said = np.where(rng.random(300) < 0.6, truth, rng.integers(0, 4, 300))
    table = figures.confusion(truth, said, 4)
    assert float(figures.accuracy(table)) == pytest.approx(np.mean(truth == said), abs=1e-9)
    assert float(figures.balanced_accuracy(table)) == pytest.approx(
        balanced_accuracy_score(truth, said), abs=1e-9
    )
    assert float(figures.macro_f1(table)) == pytest.approx(f1_score(truth, said, average="macro"), abs=1e-9)
    assert float(figures.kappa(table)) == pytest.approx(cohen_kappa_score(truth, said), abs=1e-9)
    assert float(figures.qwk(table)) == pytest.approx(
        cohen_kappa_score(truth, said, weights="quadratic"), abs=1e-9
    )


def test_copies_of_one_patient_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 60)
    said = np.where(rng.random(60) < 0.8, truth, 1 - truth)
    alone = figures.table_figures(truth, said, np.arange(60), labels=2)[0]
    copied = figures.table_figures(*(np.repeat(each, 20) for each in (truth, said, np.arange(60))), labels=2)[
        0
    ]
    assert copied.value == pytest.approx(alone.value)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, abs=0.02)


def test_the_distance_loss_is_its_formula() -> None:
    logits = torch.tensor([[0.2, -0.4, 1.0, 0.1]])
    p = torch.softmax(logits, 1)[0].tolist()
    wanted = -sum(math.log(1 - p[i]) * (abs(i - 1) / 3) ** 2 for i in range(4))
    assert distance_loss(logits, torch.tensor([1]), 2.0).item() == pytest.approx(wanted, rel=1e-5)


def test_a_far_grade_costs_more_than_a_near_one() -> None:
    sure = torch.eye(4) * 5
    losses = distance_loss(sure, torch.zeros(4, dtype=torch.long), 5.0)
    assert losses.tolist() == sorted(losses.tolist())
    assert losses[3] > 10 * losses[1]


def test_unlabelled_rows_teach_nothing() -> None:
    logits = torch.randn(6, 3, requires_grad=True)
    targets = torch.tensor([0, UNKNOWN, 2, UNKNOWN, UNKNOWN, 1])
    head_loss(logits, targets, class_weights=torch.ones(3), ordinal_power=None).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad[targets == UNKNOWN] == 0).all()
    assert (logits.grad[targets != UNKNOWN] != 0).any()
    nothing = head_loss(logits, torch.full((6,), UNKNOWN), class_weights=torch.ones(3), ordinal_power=None)
    assert nothing.item() == 0


@pytest.mark.parametrize("planted", [0.6, 1.0, 3.0])
def test_a_planted_temperature_is_found(planted: float) -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (4000, 4)).astype(np.float32)
    p = probabilities(logits, 1.0)
    targets = (p.cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1).clip(max=3).astype(np.int64)
    assert fit_temperature(logits * np.float32(planted), targets) == pytest.approx(planted, rel=0.1)


def test_a_calibrated_head_has_a_small_calibration_error_and_a_boaster_a_large_one() -> None:
    rng = np.random.default_rng(5)
    said = np.full((3000, 2), 0.3, np.float32)
    said[:, 1] = 0.7
    truth = (rng.random(3000) < 0.7).astype(np.int64)
    assert calibration_error(said, truth) < 0.05
    boast = np.tile(np.array([[0.01, 0.99]], np.float32), (3000, 1))
    assert calibration_error(boast, truth) == pytest.approx(0.29, abs=0.03)


def test_varied_pictures_are_the_same_pixels_in_another_order_but_for_colour() -> None:
    pixels = np.stack([mucosa(seed) for seed in range(8)])
    varied = vary(torch.from_numpy(pixels), np.random.default_rng(0)).numpy()
    assert varied.shape == pixels.shape
    assert varied.dtype == np.uint8
    assert np.abs(varied.mean(axis=(1, 2)) / pixels.mean(axis=(1, 2)) - 1).max() < 0.3
    assert (varied != pixels).any(axis=(1, 2, 3)).all()


def test_spoilt_pictures_become_bad_and_lose_their_other_labels() -> None:
    pixels = np.stack([mucosa(seed) for seed in range(40)])
    before = pixels.copy()
    targets = {"quality": torch.ones(40, dtype=torch.long), "mes": torch.ones(40, dtype=torch.long)}
    targets["quality"][:5] = UNKNOWN
    spoil_some(pixels, targets, np.random.default_rng(0), share=0.5)
    spoilt = (targets["quality"] == 0).numpy()
    assert 8 <= spoilt.sum() <= 28
    assert (targets["mes"][spoilt] == UNKNOWN).all()
    assert (targets["mes"][~spoilt] == 1).all()
    np.testing.assert_array_equal(pixels[:5], before[:5])


@pytest.fixture(scope="module")
def fitted() -> Network:
    plan = FitPlan(epochs=14, batch=16, peak_rate=1e-2, ema_decay=0.9)
    return fit(graded(96), HEADS, plan, seed=3, stages=TINY)


def test_a_fit_learns_planted_grades_in_spite_of_missing_labels(fitted: Network) -> None:
    fresh = graded(40, first=1000)
    said = predict(fitted, fresh.pixels)["mes"].argmax(axis=1)
    assert (said == np.arange(40) % 4).mean() > 0.8


def test_the_same_seed_fits_the_same_weights() -> None:
    plan = FitPlan(epochs=1, batch=16)
    first, again = (fit(graded(32), HEADS, plan, seed=3, stages=TINY).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_fit_takes_the_steps_that_a_loop_written_out_takes() -> None:
    """To the bit: what a bundle was trained with before Lightning came can be trained again."""
    examples = graded(50)
    plan = FitPlan(
        epochs=3,
        batch=16,
        peak_rate=1e-2,
        weight_decay=0.1,
        spoilt_share=0.4,
        outlier_share=0.3,
        ema_decay=0.8,
    )
    heard: list[tuple[int, float]] = []
    fitted = fit(examples, HEADS, plan, seed=5, stages=TINY, report=lambda *each: heard.append(each))

    seed_everything(5)
    rng = np.random.default_rng(5)
    network = Network({"quality": 2, "mes": 4}, TINY, judging=["quality"])
    varied = [
        vary(torch.from_numpy(np.stack([harmless(each, rng) for each in examples.pixels])), rng)
        for _ in range(2)
    ]
    assert network.oddness is not None
    network.oddness.learn(torch.cat([torch.from_numpy(examples.pixels), *varied]).permute(0, 3, 1, 2))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True)  # type: ignore[no-untyped-call]
    known = examples.targets["mes"][examples.targets["mes"] != UNKNOWN]
    rarity = np.bincount(known, minlength=4) ** -0.5
    weights = {"quality": torch.ones(2), "mes": torch.tensor(rarity / rarity.mean(), dtype=torch.float32)}
    filters = [each for each in network.parameters() if each.ndim > 1]
    others = [each for each in network.parameters() if each.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": filters, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=1e-2
    )
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=9, pct_start=0.2)
    means = []
    for _ in range(3):
        losses = []
        for numbers in np.array_split(rng.permutation(50)[:48], 3):
            pixels = examples.pixels[numbers]
            truth = {name: torch.from_numpy(each[numbers]) for name, each in examples.targets.items()}
            spoil_some(pixels, truth, rng, share=0.4, outlier_share=0.3)
            logits = network(vary(torch.from_numpy(pixels), rng))
            quality = head_loss(
                logits["quality"],
                truth["quality"].repeat(4),
                class_weights=weights["quality"],
                ordinal_power=None,
            )  # the mean of three opinions, and each of them
            mes = head_loss(logits["mes"], truth["mes"], class_weights=weights["mes"], ordinal_power=5.0)
            loss = torch.stack([1.0 * quality, 1.0 * mes]).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rates.step()
            average.update_parameters(network)
            losses.append(loss.item())
        means.append(sum(losses) / 3)

    assert heard == list(enumerate(means, 1))
    wanted = average.module.state_dict()
    assert all(torch.equal(kept, wanted[name]) for name, kept in fitted.state_dict().items())


def test_a_fit_keeps_no_pictures() -> None:
    examples = graded(32)
    pictures = weakref.ref(examples.pixels)
    network = fit(examples, HEADS, FitPlan(epochs=1, batch=16), seed=3, stages=TINY)
    del examples
    assert pictures() is None
    assert all(each.grad is None for each in network.parameters())


def test_a_card_of_a_changed_recipe_says_so_before_anything_else(fitted: Network, tmp_path: Path) -> None:
    prose = tmp_path / "prose.md"
    prose.write_text("# A model\n", "utf-8")
    provenance = Provenance(recipe="r.toml", data="made up", data_sha256="abc", words=("--trial",))
    card = write_card(prose, small_recipe(), fitted, provenance, {})
    assert card.startswith("> **Not the model that this card was written for:**")
    assert "`scopeline train r.toml --trial`. A trial: its figures mean nothing." in card


def test_ctrl_c_ends_a_fit_as_ctrl_c() -> None:
    def interrupt(_epoch: int, _loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(graded(32), HEADS, FitPlan(epochs=2, batch=16), seed=3, stages=TINY, report=interrupt)


def test_a_fit_that_is_told_to_end_does_not_say_that_all_is_done() -> None:
    with pytest.raises(SystemExit) as ended:
        fit(
            graded(32), HEADS, FitPlan(epochs=2, batch=16), seed=3, stages=TINY,
            report=lambda _epoch, _loss: signal.raise_signal(signal.SIGTERM),
        )  # fmt: skip
    assert ended.value.code == 143


def test_a_card_without_prose_says_that_nobody_wrote_it(fitted: Network, tmp_path: Path) -> None:
    provenance = Provenance(recipe="mine.toml", data="made up", data_sha256="abc")
    card = write_card(tmp_path / "mine.card.md", small_recipe(), fitted, provenance, {})
    assert card.startswith("# Model card: demo\n\nNobody wrote what this model cannot do (mine.card.md")
    changed = Provenance(recipe="mine.toml", data="made up", data_sha256="abc", words=("--epochs", "1"))
    card = write_card(tmp_path / "mine.card.md", small_recipe(), fitted, changed, {})
    assert card.startswith(
        "> **A changed recipe:** made with `scopeline train mine.toml --epochs 1`.\n\n# Model card"
    )


def test_kappa_of_a_single_label_is_no_number() -> None:
    assert np.isnan(figures.kappa(np.array([[5.0, 0.0], [0.0, 0.0]])))


def test_the_suite_refuses_a_bundle_whose_recipe_was_changed(fitted: Network, tmp_path: Path) -> None:
    changed = Provenance(
        recipe="training/recipes/colon.toml", data="made up", data_sha256="abc", words=("--set", "seed=7")
    )
    even = {"quality": 1.0, "mes": 1.0}
    save_network(
        tmp_path / "b", fitted, small_recipe(), temperatures=even, provenance=changed, card="# Card\n"
    )
    with pytest.raises(ConfigError, match=r"wanted a bundle of a recipe as it stands, got one of .*seed=7"):
        quality_suite(tmp_path, None, bundle=tmp_path / "b")


def test_an_exported_network_says_what_torch_says(fitted: Network, tmp_path: Path) -> None:
    export_onnx(fitted, tmp_path / "model.onnx", size=48)
    assert parity(fitted, tmp_path / "model.onnx", size=48) <= 1e-4


def test_a_wrong_export_is_noticed(fitted: Network, tmp_path: Path) -> None:
    export_onnx(fitted, tmp_path / "model.onnx", size=48)
    other = Network({head.name: len(head.labels) for head in HEADS}, TINY).eval()
    assert parity(other, tmp_path / "model.onnx", size=48) > 1e-4


def small_recipe() -> Recipe:
    demo = read_recipe(RECIPES / "demo.toml")
    return msgspec.structs.replace(demo, heads=HEADS, input=msgspec.structs.replace(demo.input, size=48))


def test_a_written_bundle_is_one_the_engine_loads(fitted: Network, tmp_path: Path) -> None:
    provenance = Provenance(recipe="training/recipes/demo.toml", data='made "up"', data_sha256="0" * 64)
    bundle = save_network(
        tmp_path / "b", fitted, small_recipe(), temperatures={"quality": 1.25, "mes": 0.8},
        provenance=provenance, card="# Card\n",
    )  # fmt: skip
    assert load_bundle(tmp_path / "b") == bundle
    assert [(head.name, head.temperature) for head in bundle.heads] == [("quality", 1.25), ("mes", 0.8)]
    assert bundle.training.data == 'made "up"'
    assert bundle.training.command == "scopeline train training/recipes/demo.toml"


def test_a_card_tells_figures_with_intervals_prevalence_and_provenance(
    fitted: Network, tmp_path: Path
) -> None:
    held_out = graded(40, first=500)
    logits = predict(fitted, held_out.pixels)
    prose = tmp_path / "prose.md"
    prose.write_text("# A model\n", "utf-8")
    report = report_heads(HEADS[1:], logits, held_out, {"mes": 1.0})
    provenance = Provenance(recipe="r.toml", data="made up", data_sha256="abc")
    card = write_card(prose, small_recipe(), fitted, provenance, {"Figures": report})
    assert card.startswith("# A model\n\n## Figures\n")
    for wanted in ("QWK", " to ", "prevalence 0 25.0%", "commonest class", "`scopeline train r.toml`", "abc"):
        assert wanted in card


def plain(count: int, first: int) -> Examples:
    pixels = np.stack([mucosa(first + number) for number in range(count)])
    quality = {"quality": np.ones(count, np.int64)}
    return Examples(pixels, quality, np.arange(count), tuple(map(str, range(count))))


def test_a_small_quality_suite_tells_blur_from_good_and_notes_what_was_left_out() -> None:
    plan = FitPlan(epochs=20, batch=8, peak_rate=8e-3, spoilt_share=0.5, ema_decay=0.9)
    outcome = run_suite(
        plain(48, 0),
        plain(12, 900).pixels,
        plain(10, 500).pixels,
        plan=plan,
        families=("defocus",),
        console=Console(quiet=True),
    )
    assert outcome.c1_seed_style > 0.8
    assert outcome.c2_worst == outcome.c2_left_out["defocus"] > 0.65
    assert (outcome.train_images, outcome.test_images, outcome.elsewhere_images) == (48, 12, 10)
    assert 0.0 <= outcome.c2_false_alarms_elsewhere["defocus"] < 0.5


def test_a_gate_that_knows_nothing_scores_a_half() -> None:
    def blind(pixels: Pixels) -> NDArray[np.float32]:
        return np.zeros(len(pixels), np.float32)

    assert auroc(blind, plain(4, 0).pixels, ["haze"]) == pytest.approx(0.5)


def test_the_suite_plants_only_the_families_it_was_given() -> None:
    plan = FitPlan(epochs=6, batch=16, peak_rate=8e-3, spoilt_share=0.5, ema_decay=0.9)
    dark_only = train_scorer(plain(48, 0), ("brightness",), plan)
    assert auroc(dark_only, plain(12, 900).pixels, ["brightness"]) > 0.9
