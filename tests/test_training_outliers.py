"""Generic corruptions, the statistics a quality head sees, and the distance from good pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scopeline.degrade import degrade
from scopeline.picture import Pixels
from scopeline_training.augment import spoil_some
from scopeline_training.export import export_onnx
from scopeline_training.network import Judge, Network, Oddness
from scopeline_training.outliers import outlier
from scopeline_training.statistics import COUNT, Statistics


def mucosa(seed: int = 0, size: int = 112) -> Pixels:
    """A reddish picture with folds and fine grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    folds = 1.0 + 0.25 * np.sin(x * rng.uniform(6, 14) + y * rng.uniform(6, 14) + rng.uniform(0, 6))
    picture = folds[..., None] * np.array([170.0, 95.0, 70.0]) + rng.normal(0, 4, (size, size, 1))
    pixels: Pixels = picture.clip(0, 255).astype(np.uint8)
    return pixels


def tensor(*pictures: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()


def change(seed: int, severity: float) -> float:
    odd = outlier(mucosa(), np.random.default_rng(seed), severity)
    return float(np.abs(odd.astype(int) - mucosa()).mean())


def test_an_outlier_follows_from_its_seed() -> None:
    for seed in range(10):
        first, second = (outlier(mucosa(), np.random.default_rng(seed), 0.5) for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_nearly_every_outlier_is_visible_and_a_higher_severity_changes_more() -> None:
    mild, severe = ([change(seed, severity) for seed in range(60)] for severity in (0.0, 1.0))
    assert np.mean(np.array(mild) > 1.0) > 0.9
    assert np.mean(severe) > 1.5 * np.mean(mild)


@pytest.mark.parametrize("size", [64, 112, 224])
def test_outliers_keep_shape_and_type_at_any_size(size: int) -> None:
    for seed in range(20):
        odd = outlier(mucosa(size=size), np.random.default_rng(seed), seed / 19)
        assert odd.shape == (size, size, 3)
        assert odd.dtype == np.uint8


def test_a_wrong_severity_or_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="severity"):
        outlier(mucosa(), np.random.default_rng(0), 1.5)
    with pytest.raises(ValueError, match="uint8"):
        outlier(mucosa()[..., 0], np.random.default_rng(0), 0.5)


def test_outliers_take_their_share_of_what_is_spoilt() -> None:
    pixels = np.stack([mucosa(seed) for seed in range(30)])
    brightness_only = []
    for share in (0.0, 1.0):
        spoilt, targets = pixels.copy(), {"quality": torch.ones(30, dtype=torch.long)}
        spoil_some(
            spoilt, targets, np.random.default_rng(0),
            share=1.0, families=("brightness",), outlier_share=share,
        )  # fmt: skip
        assert (targets["quality"] == 0).all()
        quotients = spoilt.reshape(30, -1, 3).mean(1) / pixels.reshape(30, -1, 3).mean(1)
        brightness_only.append(np.mean(((quotients < 0.55) | (quotients > 1.1)).all(axis=1)))
    assert brightness_only[0] == 1.0  # only brightness
    assert brightness_only[1] < 0.3


def test_statistics_are_finite_for_any_picture_and_as_many_as_said() -> None:
    extremes: list[NDArray[np.uint8]] = [np.full((112, 112, 3), level, np.uint8) for level in (0, 255)] + [
        np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    ]
    seen = Statistics()(tensor(*extremes))
    assert seen.shape == (3, COUNT)
    assert torch.isfinite(seen).all()


def test_step_sizes_and_channel_agreement_are_those_that_numpy_finds() -> None:
    picture = mucosa(1)
    seen = Statistics()(tensor(picture))[0].numpy()
    x = picture.astype(np.float64) / 255.0
    grey = x.mean(axis=2)
    across, down = (
        [
            np.log(np.abs(np.roll(grey, -lag, axis) - grey)[:107:4, :107:4].mean() + 1e-3)
            for lag in (1, 2, 3, 5)
        ]
        for axis in (1, 0)
    )
    np.testing.assert_allclose(seen[20:28], np.ravel([across, down], order="F"), atol=1e-4)
    means = np.stack(
        [x[row : row + 105 : 4, column : column + 105 : 4] for row in range(1, 5) for column in range(1, 5)]
    )
    agreement = np.corrcoef(means.mean(axis=0).reshape(-1, 3).T)
    np.testing.assert_allclose(seen[30:33], agreement[[0, 1, 2], [1, 2, 0]], atol=2e-3)


def test_a_judge_answers_once_but_while_learning_also_with_each_opinion_alone() -> None:
    judge = Judge(5)
    features, odd = torch.randn(7, 5), torch.randn(7, COUNT + 1)
    assert judge.train()(features, odd).shape == (28, 2)
    judge.measured[2] = torch.nn.Identity()  # dropout would make the two below differ
    answers = judge.train()(features, odd).detach()
    torch.testing.assert_close(answers[:7], judge.eval()(features, odd).detach())
    torch.testing.assert_close(answers[:7], answers[7:].reshape(3, 7, 2).mean(dim=0))


@pytest.mark.parametrize("family", ["interlace_comb", "colour_cast", "channel_shift"])
def test_faults_nobody_taught_lie_far_from_good_pictures(family: str) -> None:
    oddness = Oddness()
    oddness.learn(tensor(*(mucosa(seed) for seed in range(200))))
    rng = np.random.default_rng(1)
    good = [mucosa(seed) for seed in range(500, 520)]
    bad = [degrade(family, each, rng, 0.5) for each in good]
    assert oddness(tensor(*bad))[:, -1].median() > oddness(tensor(*good))[:, -1].max()


def test_only_judging_heads_see_the_statistics_and_the_export_keeps_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network({"quality": 2, "organ": 2}, ((8, 2), (16, 2)), judging=["quality"])
    assert network.oddness is not None
    pictures = tensor(*(mucosa(seed, 64) for seed in range(80)))
    network.oddness.learn(pictures)
    network.eval()
    shown = torch.from_numpy(mucosa(3, 64))[None]
    with torch.inference_mode():
        before = network(shown)
        network.oddness.get_buffer("mean").add_(1.0)
        after = network(shown)
    assert not torch.allclose(before["quality"], after["quality"])
    torch.testing.assert_close(before["organ"], after["organ"])
    export_onnx(network, tmp_path / "model.onnx", size=64)  # raises where ONNX Runtime disagrees
