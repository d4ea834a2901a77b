"""Answering: what a fitted network says of a picture set, as answers that reports and cards start from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from scopeline_training.answers import Answers
from scopeline_training.dual_network import DualNetwork
from scopeline_training.examples import UNKNOWN
from scopeline_training.learner import AnyNetwork
from scopeline_training.mask_scores import MaskAnswers
from scopeline_training.network_plan import HeadPlan
from scopeline_training.picture_set import Batch, PictureSet, listed_batches
from scopeline_training.temperature import fit_temperature, probabilities

CLEAR = ", nothing to mark"
"""Ends the name of a part of the data whose masks are all empty."""

Scalar = TypeVar("Scalar", np.float32, np.bool_, np.int64)
Logits = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Said:
    """A network's answers to a picture set."""

    logits: Logits
    """Output -> (N, K)."""
    masks: Mapping[str, NDArray[np.bool_]]
    """Mask head -> (N, S, S), where its probability exceeds one half."""
    truths: Mapping[str, NDArray[np.int64]]
    """Mask head -> (N, S, S), UNKNOWN where a picture has no mask."""


def ask(network: AnyNetwork, pictures: PictureSet, *, batch: int = 32) -> Said:
    """Every answer of a network in evaluation mode to every picture of a set, in order."""
    network.eval()
    logits: dict[str, list[NDArray[np.float32]]] = {}
    masks: dict[str, list[NDArray[np.bool_]]] = {}
    truths: dict[str, list[NDArray[np.int64]]] = {}
    batches: Iterable[Batch] = listed_batches(pictures, batch, workers=0)
    with torch.inference_mode():
        for each in batches:
            for name, answer in network(*each.pictures).items():
                if answer.ndim == 4:
                    masks.setdefault(name, []).append((answer[:, 0] > 0).numpy())
                    truths.setdefault(name, []).append(each.targets[name].numpy())
                else:
                    logits.setdefault(name, []).append(answer.numpy())
    return Said(_joined(logits), _joined(masks), _joined(truths))


def outputs_of(network: AnyNetwork, heads: Sequence[HeadPlan]) -> list[tuple[str, HeadPlan]]:
    """(output, head) of everything with labels that a network answers; what rests on both pictures comes first."""
    by_name = {head.name: head for head in heads}
    found = [
        (each.name, by_name[each.head])
        for each in network.outputs
        if not each.while_training and by_name[each.head].role != "mask"
    ]
    return found[::-1] if isinstance(network, DualNetwork) else found


def temperatures_of(
    network: AnyNetwork, said: Said, pictures: PictureSet, heads: Sequence[HeadPlan]
) -> dict[str, float]:
    """Temperature per output, fitted on pictures that were not trained on."""
    return {
        output: fit_temperature(said.logits[output], pictures.target(head.name))
        for output, head in outputs_of(network, heads)
    }


def answers_of(
    network: AnyNetwork, said: Said, pictures: PictureSet, heads: Sequence[HeadPlan], *,
    temperatures: Mapping[str, float], split: str,
) -> list[Answers]:  # fmt: skip
    """Answers per output, with the pictures that have a label; an output without any is left out."""
    found = []
    for output, head in outputs_of(network, heads):
        truth = pictures.target(head.name)
        known = np.flatnonzero(truth != UNKNOWN)
        if not len(known):
            continue
        names, groups = pictures.names, pictures.groups
        found.append(
            Answers(
                tuple(names[number] for number in known),
                groups[known],
                truth[known],
                probabilities(said.logits[output][known], temperatures[output]).astype(np.float64),
                head.labels,
                output if output == head.name else f"{head.name} ({output})",
                split,
            )
        )
    return found


def mask_answers_of(said: Said, pictures: PictureSet, *, split: str) -> list[MaskAnswers]:
    """Areas per mask head, of the pictures that have a mask.

    Those in which there is nothing to mark come apart: Dice is 1 or 0 of each of them, and in a mean with the others it
    would say neither how well an area is found nor how often one is found in vain.
    """
    found = []
    names, groups = pictures.names, pictures.groups
    for head, areas in said.masks.items():
        truth = said.truths[head]
        known, marked = truth[:, 0, 0] != UNKNOWN, (truth == 1).any(axis=(1, 2))
        for part, chosen in ((split, known & marked), (split + CLEAR, known & ~marked)):
            numbers = np.flatnonzero(chosen)
            if len(numbers):
                found.append(
                    MaskAnswers(
                        tuple(names[number] for number in numbers),
                        groups[numbers],
                        truth[numbers] == 1,
                        areas[numbers],
                        head,
                        part,
                    )
                )
    return found


def log_loss(answers: Answers) -> float:
    """Mean negative logarithm of the probability of what was true."""
    true = answers.probabilities[np.arange(len(answers)), answers.truth]
    return float(-np.log(np.maximum(true, 1e-12)).mean())


def _joined(parts: Mapping[str, Sequence[NDArray[Scalar]]]) -> dict[str, NDArray[Scalar]]:
    return {name: np.concatenate(each) for name, each in parts.items()}
