"""Fitting: phases, early stopping, resume and checkpoints of fits on tiny painted pictures."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from scopeline.errors import ConfigError

pytest.importorskip("torch", reason="training needs scopeline[training]")

import msgspec
import torch

from scopeline_training.catalogue import Catalogue, Sample
from scopeline_training.experiment import FittingPlan, FrozenPlan, SpoilPlan, TrackPlan
from scopeline_training.fitting import FitResult, Watchers, fit_network, load_weights
from scopeline_training.learner import AnyNetwork, Identity
from scopeline_training.material import colour_statistics, material_of
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.outliers import outlier
from scopeline_training.picture_set import PictureSet, collate, listed_batches, shuffled_batches
from scopeline_training.pictures import PicturePlan
from scopeline_training.presets import PresetName
from scopeline_training.schedules import Cosine, Plateau
from scopeline_training.zoo import build

torch.set_num_threads(1)

SIZE = 32
COLOUR = HeadPlan(name="colour", labels=("red", "green"))
QUALITY = HeadPlan(name="quality", role="quality", labels=("bad", "good"))
IDENTITY = Identity(data_sha256="d", recipe_sha256="r", code_sha256="c", seed=5)
SMALL = NetworkPlan(backbone="small", normalise="unit", dropout=0.2)


@dataclass(frozen=True)
class Painted:
    """Red and green pictures, and sets made of them."""

    catalogue: Catalogue

    def pictures(
        self, *, training: bool, heads: tuple[HeadPlan, ...] = (COLOUR,), spoil: SpoilPlan | None = None,
        preset: PresetName = "none",
    ) -> PictureSet:  # fmt: skip
        groups = np.arange(len(self.catalogue))
        material = material_of(self.catalogue, groups, PicturePlan(size=SIZE, crop="none"), heads, dual=False)
        return PictureSet(material, heads, preset, training=training, spoil=spoil, seed=5)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Painted:
    """Twelve pictures: red and green in turn, each with grain of its own."""
    folder = tmp_path_factory.mktemp("painted")
    samples = []
    for number in range(12):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 60, (SIZE, SIZE, 3)).astype(np.uint8)
        pixels[..., 2 - number % 2] += 150  # BGR: red, then green
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), pixels)
        samples.append(Sample(path, {"colour": COLOUR.labels[number % 2]}))
    return Painted(Catalogue(tuple(samples), {"colour": COLOUR.labels}, "painted", folder))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPELINE_CACHE", str(tmp_path / "cache"))


def fresh(plan: NetworkPlan = SMALL) -> AnyNetwork:
    torch.manual_seed(0)
    return build(plan, [COLOUR])


def fitted(
    painted: Painted, plan: FittingPlan, folder: Path, *, resume: bool = False, watchers: Watchers | None = None,
    network: AnyNetwork | None = None, identity: Identity = IDENTITY,
) -> FitResult:  # fmt: skip
    return fit_network(
        network or fresh(), painted.pictures(training=True), painted.pictures(training=False), plan, [COLOUR],
        folder=folder, identity=identity, resume=resume, watchers=watchers,
    )  # fmt: skip


def weights(network: AnyNetwork) -> list[torch.Tensor]:
    return [each.clone() for each in network.state_dict().values()]


def alike(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("patience", [1, 3])
def test_a_fit_stops_after_exactly_patience_bad_epochs(
    painted: Painted, tmp_path: Path, patience: int
) -> None:
    # No gain is ever large enough: the first epoch is the best, and every one after it is bad.
    plan = FittingPlan(epochs=9, batch=6, patience=patience, least_gain=1e9)
    assert fitted(painted, plan, tmp_path).phases[0].epochs == 1 + patience


def test_without_patience_all_epochs_are_run(painted: Painted, tmp_path: Path) -> None:
    plan = FittingPlan(epochs=3, batch=6, least_gain=1e9)
    assert fitted(painted, plan, tmp_path).phases[0].epochs == 3


def test_the_weights_of_the_best_epoch_are_kept(painted: Painted, tmp_path: Path) -> None:
    result = fitted(painted, FittingPlan(epochs=4, batch=6, rate=0.3, optimiser="sgd"), tmp_path)
    losses = result.history["val_loss"]
    assert result.phases[0].best_epoch == 1 + int(np.argmin(losses))
    pictures = painted.pictures(training=False)
    batch = collate([pictures[-1, number] for number in range(len(pictures))])
    with torch.inference_mode():
        logits = result.network(*batch.pictures)["colour"]
        loss = torch.nn.functional.cross_entropy(logits, batch.targets["colour"]).item()
    assert loss == pytest.approx(min(losses), rel=1e-4)


def test_a_frozen_phase_changes_nothing_in_the_backbone_and_then_all_learns(
    painted: Painted, tmp_path: Path
) -> None:
    network = fresh()
    before = weights(network)
    said: list[str] = []
    plan = FittingPlan(epochs=1, batch=6, frozen=FrozenPlan(epochs=2))
    result = fitted(painted, plan, tmp_path, network=network, watchers=Watchers(say=said.append))
    first = fresh()
    load_weights(first, tmp_path / "1-frozen" / "best.ckpt")
    unmoved = [name for name in first.state_dict() if name.startswith("backbone.")]
    # Weights, and the statistics of batch norms as well.
    assert all(torch.equal(first.state_dict()[name], old) for name, old in zip(network.state_dict(), before, strict=True) if name in unmoved)  # noqa: E501  # fmt: skip
    assert not alike(weights(result.network), before)
    assert [phase.name for phase in result.phases] == ["frozen", "all"]
    assert result.phases[0].learning < result.phases[1].learning
    assert len(said) == 2
    assert "phase 1 of 2 (frozen)" in said[0]
    assert "batch norms" in said[0]
    assert "phase 2 of 2 (all)" in said[1]
    assert len(result.history["val_loss"]) == 3


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(
    painted: Painted, tmp_path: Path
) -> None:
    plan = FittingPlan(epochs=2, batch=6)
    first, second = (weights(fitted(painted, plan, tmp_path / name).network) for name in "ab")
    assert alike(first, second)
    other = fitted(painted, plan, tmp_path / "c", identity=msgspec.structs.replace(IDENTITY, seed=6))
    assert not alike(first, weights(other.network))


def test_an_interrupted_fit_ends_with_the_weights_it_would_have_had(painted: Painted, tmp_path: Path) -> None:
    whole = FittingPlan(epochs=3, batch=6, schedule=Cosine(floor=1e-5, period=3))
    wanted = fitted(painted, whole, tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def interrupt(_count: int, words: str) -> None:
        if words.startswith("epoch 3"):
            raise Interrupted

    with pytest.raises(Interrupted):
        fitted(painted, whole, tmp_path / "parts", watchers=Watchers(advance=interrupt))
    batches: list[int] = []
    watchers = Watchers(advance=lambda count, _words: batches.append(count))
    found = fitted(painted, whole, tmp_path / "parts", resume=True, watchers=watchers)
    assert batches[0] == 2 * len(batches[1:])  # two epochs were done before, one is done now
    assert found.history["val_loss"] == pytest.approx(wanted.history["val_loss"], rel=1e-6)
    assert alike(weights(found.network), weights(wanted.network))


def test_ctrl_c_ends_a_fit_as_ctrl_c_and_leaves_its_whole_epochs(painted: Painted, tmp_path: Path) -> None:
    plan = FittingPlan(epochs=2, batch=6)

    def interrupt(_count: int, words: str) -> None:
        if words.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(painted, plan, tmp_path, watchers=Watchers(advance=interrupt))
    assert fitted(painted, plan, tmp_path, resume=True).phases[0].epochs == 2


def test_a_finished_phase_is_not_run_again(painted: Painted, tmp_path: Path) -> None:
    plan = FittingPlan(epochs=1, batch=6)
    wanted = weights(fitted(painted, plan, tmp_path).network)
    batches: list[int] = []
    watchers = Watchers(advance=lambda count, _words: batches.append(count))
    assert alike(weights(fitted(painted, plan, tmp_path, resume=True, watchers=watchers).network), wanted)
    assert not batches


def test_another_recipe_cannot_be_resumed(painted: Painted, tmp_path: Path) -> None:
    plan = FittingPlan(epochs=1, batch=6)
    fitted(painted, plan, tmp_path)
    other = msgspec.structs.replace(IDENTITY, recipe_sha256="other")
    with pytest.raises(ConfigError, match="recipe_sha256 differs"):
        fitted(painted, plan, tmp_path, resume=True, identity=other)


def test_a_fit_goes_on_at_another_batch_size_from_a_checkpoint(painted: Painted, tmp_path: Path) -> None:
    first = fitted(painted, FittingPlan(epochs=2, batch=4), tmp_path / "a")
    network = fresh()
    said = load_weights(network, first.checkpoint)
    assert said == IDENTITY
    assert alike(weights(network), weights(first.network))
    second = fitted(painted, FittingPlan(epochs=1, batch=12), tmp_path / "b", network=network)
    assert not alike(weights(second.network), weights(first.network))


def test_weights_of_another_network_are_refused(painted: Painted, tmp_path: Path) -> None:
    result = fitted(painted, FittingPlan(epochs=1, batch=6), tmp_path)
    other = build(NetworkPlan(backbone="small", hidden=8), [COLOUR])
    with pytest.raises(ConfigError, match="another network"):
        load_weights(other, result.checkpoint)


def test_every_checkpoint_carries_the_hashes_of_data_recipe_and_code(
    painted: Painted, tmp_path: Path
) -> None:
    fitted(painted, FittingPlan(epochs=1, batch=6), tmp_path)
    for path in (tmp_path / "1-all" / "best.ckpt", tmp_path / "1-all" / "last.ckpt"):
        content = torch.load(path, weights_only=True)
        assert content["scopeline"] == {
            "data_sha256": "d", "recipe_sha256": "r", "code_sha256": "c", "seed": 5
        }  # fmt: skip


def test_a_schedule_moves_the_rate_after_every_epoch(painted: Painted, tmp_path: Path) -> None:
    plan = FittingPlan(epochs=3, batch=6, rate=1e-3, schedule=Cosine(floor=0.0, period=4))
    rates = fitted(painted, plan, tmp_path).history["rate"]
    wanted = [1e-3 * (1 + np.cos(np.pi * epoch / 4)) / 2 for epoch in range(3)]
    assert rates == pytest.approx(wanted, rel=1e-6)


def test_a_plateau_lowers_the_rate(painted: Painted, tmp_path: Path) -> None:
    # A rate this high makes the loss rise.
    plan = FittingPlan(epochs=6, batch=6, rate=1.0, optimiser="sgd", schedule=Plateau(factor=0.5, patience=0))
    rates = fitted(painted, plan, tmp_path).history["rate"]
    assert rates[-1] < rates[0]


def test_trackers_write_where_they_are_told(painted: Painted, tmp_path: Path) -> None:
    watchers = Watchers(track=TrackPlan(tensorboard=True))
    fitted(painted, FittingPlan(epochs=1, batch=6), tmp_path, watchers=watchers)
    assert (tmp_path / "1-all" / "metrics.csv").read_text().startswith("epoch")
    assert list((tmp_path / "1-all" / "tensorboard").glob("events.*"))


def test_weights_and_biases_stays_offline(painted: Painted, tmp_path: Path) -> None:
    watchers = Watchers(track=TrackPlan(wandb="offline"))
    fitted(painted, FittingPlan(epochs=1, batch=6), tmp_path, watchers=watchers)
    assert len(list(tmp_path.rglob("offline-run-*/*.wandb"))) == 1


def test_mixed_precision_fits_too(painted: Painted, tmp_path: Path) -> None:
    result = fitted(painted, FittingPlan(epochs=1, batch=6, precision="bf16-mixed"), tmp_path)
    assert np.isfinite(result.history["val_loss"]).all()
    assert all(each.dtype != torch.bfloat16 for each in result.network.state_dict().values())


def test_what_is_drawn_follows_from_seed_and_epoch_and_not_from_the_workers(painted: Painted) -> None:
    pictures = painted.pictures(training=True, preset="endoscopy")
    here = list(shuffled_batches(pictures, 4, epoch=lambda: 3, workers=0))
    again = list(shuffled_batches(pictures, 4, epoch=lambda: 3, workers=0))
    later = list(shuffled_batches(pictures, 4, epoch=lambda: 4, workers=0))
    for one, other in zip(here, again, strict=True):
        assert torch.equal(one.pictures[0], other.pictures[0])
    assert not torch.equal(here[0].pictures[0], later[0].pictures[0])
    assert sorted(
        number for _, number in shuffled_batches(pictures, 4, epoch=lambda: 0, workers=0).sampler
    ) == [*range(12)]


def test_outliers_are_shown_while_training_and_never_tested(painted: Painted) -> None:
    heads = (COLOUR, QUALITY)
    always = SpoilPlan(share=1.0, outliers=1.0)
    shown = painted.pictures(training=True, heads=heads, spoil=always)[0, 3].pictures[0]
    rng = np.random.default_rng((5, 1, 3))  # seed, epoch, number: as PictureSet draws
    rng.random(2)  # is it spoilt, is it an outlier
    severity = float(rng.uniform())
    clean = painted.pictures(training=False)[-1, 3].pictures[0]
    assert np.array_equal(shown, outlier(clean, rng, severity))
    tested = painted.pictures(training=False, heads=heads, spoil=always)[-1, 15].pictures[0]
    usual = painted.pictures(training=False, heads=heads, spoil=SpoilPlan(share=1.0))[-1, 15].pictures[0]
    assert np.array_equal(tested, usual)


def test_spoilt_copies_are_bad_and_nothing_else(painted: Painted) -> None:
    heads = (COLOUR, QUALITY)
    pictures = painted.pictures(training=False, heads=heads, spoil=SpoilPlan(families="seed"))
    assert len(pictures) == 24
    assert pictures.target("quality").tolist() == [1] * 12 + [0] * 12
    assert pictures.target("colour").tolist() == [0, 1] * 6 + [-1] * 12
    clean, spoilt = pictures[-1, 0], pictures[-1, 12]
    assert clean.targets == {"colour": 0, "quality": 1}
    assert spoilt.targets == {"colour": -1, "quality": 0}
    assert not np.array_equal(clean.pictures[0], spoilt.pictures[0])
    batches = list(listed_batches(pictures, 24, workers=0))
    assert torch.equal(batches[0].targets["quality"], torch.from_numpy(pictures.target("quality")))


def test_labels_are_counted_as_an_epoch_shows_them(painted: Painted) -> None:
    good = painted.pictures(training=True, heads=(COLOUR, QUALITY), spoil=SpoilPlan(share=0.25))
    drawn = [good[(epoch, number)].targets["quality"] for epoch in range(40) for number in range(len(good))]
    shown = np.bincount(np.array(drawn), minlength=2) / 40
    assert good.expected_counts(QUALITY) == pytest.approx([3.0, 9.0])
    assert good.expected_counts(QUALITY) == pytest.approx(shown, abs=0.8)  # three standard deviations
    assert list(good.expected_counts(COLOUR)) == [6, 6]


def test_colour_statistics_are_numpys(painted: Painted) -> None:
    material = painted.pictures(training=False).material
    pixels = np.stack([material.shown(number)[0][0] for number in range(12)]) / 255.0
    mean, std = colour_statistics(material)
    assert mean == pytest.approx(pixels.mean(axis=(0, 1, 2)), abs=1e-4)
    assert std == pytest.approx(pixels.std(axis=(0, 1, 2)), abs=1e-4)
