"""Ordinal: answers and losses for grades, whose labels have an order. Each gives one logit per label to the engine.

CDW-CE keeps a plain linear answer and changes the loss. CORN and regression change the answer, and decode it to logits
inside the graph: the softmax of the logits is the distribution over labels that the method means.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

SPREAD = 0.5
"""Standard deviation, in labels, of the distribution that a score stands for. Temperature scaling corrects it."""


class ContinuationAnswer(nn.Module):
    """(N, C) features -> (N, K) log probabilities, through K - 1 questions "is it worse than label k, given that it is
    at least k" (CORN; Shi, Cao and Raschka 2021, arXiv 2111.08851).

    Its loss is cross-entropy of these logits: -log of a product of conditional probabilities is the sum of the binary
    cross-entropies that the paper asks of the examples that reach each question.
    """

    def __init__(self, features: int, labels: int) -> None:
        super().__init__()
        self.worse = nn.Linear(features, labels - 1)

    def forward(self, features: Tensor) -> Tensor:
        worse: Tensor = self.worse(features)
        # softplus(-x) is -log sigmoid(x); the exporter would write log(sigmoid(x)), which is -inf for x < -100.
        passed, stopped = -softplus(-worse), -softplus(worse)
        reached = torch.zeros_like(worse[:, 0])
        logits = []
        for question in range(worse.shape[1]):
            logits.append(reached + stopped[:, question])
            reached = reached + passed[:, question]
        return torch.stack([*logits, reached], dim=1)


class ScoreAnswer(nn.Module):
    """(N, C) features -> (N, K) logits -(k - s)^2 / (2 `SPREAD`^2) of a score s in labels, so that the most probable
    label is the score rounded. Its loss is `score_loss`."""

    def __init__(self, features: int, labels: int) -> None:
        super().__init__()
        self.score = nn.Linear(features, 1)
        nn.init.constant_(self.score.bias, (labels - 1) / 2)
        self.register_buffer("steps", torch.arange(labels, dtype=torch.float32)[None, :])

    def forward(self, features: Tensor) -> Tensor:
        away: Tensor = self.score(features) - self.get_buffer("steps")
        return away * away * (-0.5 / SPREAD**2)


def class_distance_loss(logits: Tensor, targets: Tensor, *, power: float) -> Tensor:
    """-sum over i of log(1 - p_i) |i - c|^power, (N,) (CDW-CE; Polat et al. 2022, arXiv 2202.05167).

    Args:
        logits: (N, K).
        targets: (N,) label numbers.
        power: 5 to 7 in the paper; larger punishes far mistakes more.
    """
    labels = logits.shape[1]
    steps = torch.arange(labels, device=logits.device)
    distance = (steps[None, :] - targets[:, None]).abs().to(logits.dtype)
    # log(1 - p_i) = logsumexp over the others - logsumexp over all: finite where p_i rounds to 1.
    itself = torch.eye(labels, dtype=torch.bool, device=logits.device)
    others = logits[:, None, :].masked_fill(itself, -torch.inf).logsumexp(dim=2)
    wrong = others - logits.logsumexp(dim=1, keepdim=True)
    return -(wrong * distance**power).sum(dim=1)


def score_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Squared error in labels of the score behind the logits of a `ScoreAnswer`, (N,)."""
    return (score(logits) - targets.to(logits.dtype)) ** 2


def score(logits: Tensor) -> Tensor:
    """The score, in labels, behind (N, K) logits of a `ScoreAnswer`, (N,): their first difference holds it."""
    return 0.5 - SPREAD**2 * (logits[:, 0] - logits[:, 1])
