"""Ordinal: the losses equal their papers' formulas in float64, and the logits are the distribution that is meant."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="training needs scopeline[training]")

import torch
from torch import Tensor

from scopeline_training.examples import UNKNOWN
from scopeline_training.network_plan import HeadPlan, Loss
from scopeline_training.ordinal import (
    SPREAD,
    ContinuationAnswer,
    ScoreAnswer,
    class_distance_loss,
    score,
    score_loss,
)
from scopeline_training.question_loss import question_loss

TARGETS = torch.tensor([0, 3, 1, 2, 2])
MES = ("0", "1", "2", "3")


def logits_of(seed: int, rows: int = 5, labels: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (rows, labels)))


def softmax(row: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(row - row.max())
    return np.asarray(weights / weights.sum())


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def grade(loss: Loss) -> HeadPlan:
    return HeadPlan(name="mes", role="grade", labels=MES, loss=loss)


@pytest.mark.parametrize("power", [1.0, 2.0, 5.0, 7.0])
def test_class_distance_loss_is_the_formula_of_the_paper(power: float) -> None:
    logits = logits_of(0)
    wanted = [
        -sum(math.log(1 - p) * abs(i - int(c)) ** power for i, p in enumerate(softmax(row)) if i != c)
        for row, c in zip(logits.numpy(), TARGETS, strict=True)
    ]
    found = class_distance_loss(logits, TARGETS, power=power)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)


def test_class_distance_loss_is_finite_where_a_wrong_label_is_certain() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0, 0.0]], requires_grad=True)
    loss = class_distance_loss(logits, torch.tensor([3]), power=5.0).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx((200 - math.log(3)) * 3**5, rel=1e-5)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_far_mistake_costs_more_than_a_near_one() -> None:
    near, far = torch.tensor([[0.0, 3.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 3.0]])
    zero = torch.tensor([0])
    assert class_distance_loss(far, zero, power=5.0) > 10 * class_distance_loss(near, zero, power=5.0)


def test_continuation_logits_are_products_of_conditional_probabilities() -> None:
    answer = ContinuationAnswer(6, 4).double()
    features = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (5, 6)))
    with torch.inference_mode():
        found = answer(features).softmax(dim=1).numpy()
        worse = answer.worse(features).numpy()
    for row, raw in zip(found, worse, strict=True):
        a, b, c = (sigmoid(each) for each in raw)
        np.testing.assert_allclose(row, [1 - a, a * (1 - b), a * b * (1 - c), a * b * c], rtol=1e-10)


def test_cross_entropy_of_continuation_logits_is_the_loss_of_corn() -> None:
    answer = ContinuationAnswer(6, 4).double()
    features = torch.from_numpy(np.random.default_rng(2).normal(0, 1, (5, 6)))
    with torch.inference_mode():
        found = question_loss(
            grade("corn"), answer(features), TARGETS, class_weights=torch.ones(4, dtype=torch.float64)
        )
        worse = answer.worse(features).numpy()
    # Shi et al.: question k is asked of the examples of label k or worse; binary cross-entropy of "worse than k".
    total = 0.0
    for raw, c in zip(worse, TARGETS.tolist(), strict=True):
        for question in range(min(c + 1, 3)):
            p = sigmoid(raw[question])
            total -= math.log(p) if c > question else math.log(1 - p)
    assert found.item() == pytest.approx(total / len(TARGETS), rel=1e-10)


def test_continuation_logits_stay_finite_far_out() -> None:
    answer = ContinuationAnswer(1, 4)
    with torch.no_grad():
        answer.worse.weight.fill_(1.0)
        answer.worse.bias.zero_()
        assert torch.isfinite(answer(torch.tensor([[-500.0], [500.0]]))).all()


def test_score_logits_are_a_bell_around_the_score() -> None:
    answer = ScoreAnswer(6, 4).double()
    features = torch.from_numpy(np.random.default_rng(3).normal(0, 2, (5, 6)))
    with torch.inference_mode():
        scores = answer.score(features)[:, 0]
        found = answer(features)
    wanted = [[math.exp(-((k - s) ** 2) / (2 * SPREAD**2)) for k in range(4)] for s in scores.tolist()]
    wanted = [[each / sum(row) for each in row] for row in wanted]
    np.testing.assert_allclose(found.softmax(dim=1).numpy(), wanted, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(score(found).numpy(), scores.numpy(), rtol=1e-9)
    nearest = scores.round().clamp(0, 3).long()
    assert (found.argmax(dim=1) == nearest).all()


def test_score_loss_is_the_squared_error_and_moves_the_score_only() -> None:
    answer = ScoreAnswer(6, 4).double()
    features = torch.from_numpy(np.random.default_rng(4).normal(0, 1, (5, 6)))
    loss = score_loss(answer(features), TARGETS)
    raw = answer.score(features)[:, 0]
    wanted = (raw - TARGETS) ** 2
    np.testing.assert_allclose(loss.detach().numpy(), wanted.detach().numpy(), rtol=1e-9)
    (found,) = torch.autograd.grad(loss.sum(), answer.score.weight)
    (expected,) = torch.autograd.grad(wanted.sum(), answer.score.weight)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-9)


@pytest.mark.parametrize("loss", ["cross_entropy", "cdw_ce", "regression"])
def test_question_loss_is_the_weighted_mean_over_labelled_rows(loss: Loss) -> None:
    logits = logits_of(5)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    targets = torch.tensor([0, UNKNOWN, 3, 1, UNKNOWN])
    each = {
        row: question_loss(
            grade(loss), logits[row : row + 1], targets[row : row + 1], class_weights=weights
        ).item()
        for row in (0, 2, 3)
    }
    found = question_loss(grade(loss), logits, targets, class_weights=weights)
    assert found.item() == pytest.approx((each[0] * 1 + each[2] * 4 + each[3] * 2) / 7, rel=1e-12)


def test_question_loss_of_nothing_labelled_is_zero_and_has_a_gradient() -> None:
    logits = torch.zeros(3, 4, requires_grad=True)
    loss = question_loss(grade("cdw_ce"), logits, torch.full((3,), UNKNOWN), class_weights=torch.ones(4))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert logits.grad is not None


@pytest.mark.parametrize("loss", ["cdw_ce", "corn", "regression"])
def test_every_ordinal_loss_learns_a_grade(loss: Loss) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(6)
    truth = torch.from_numpy(np.arange(200) % 4)
    features = torch.from_numpy(rng.normal(0, 0.2, (200, 3)) + truth.numpy()[:, None]).float()
    answer = {
        "corn": ContinuationAnswer(3, 4), "regression": ScoreAnswer(3, 4), "cdw_ce": torch.nn.Linear(3, 4)
    }[loss]  # fmt: skip
    optimiser = torch.optim.Adam(answer.parameters(), lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        question_loss(grade(loss), answer(features), truth, class_weights=torch.ones(4)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.inference_mode():
        assert (answer(features).argmax(dim=1) == truth).float().mean() > 0.9
