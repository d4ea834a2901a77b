"""Explanation: what a network said of one picture, and maps of where it looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Head, Input
from scopeline.errors import ConfigError
from scopeline.picture import Pixels
from scopeline.prediction import Probabilities

MapValues = NDArray[np.float32]
"""(H, W) float32, or (H, W, 3) for a map per colour; of what the network was shown."""


class Method(StrEnum):
    """How a map is made."""

    GRAD_CAM = "grad-cam"
    """Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization"."""
    GUIDED_BACKPROPAGATION = "guided-backprop"
    """Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net"."""
    GUIDED_GRAD_CAM = "guided-grad-cam"
    """The product of both, as Selvaraju et al. define it."""
    OCCLUSION = "occlusion"
    """Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks". Needs no gradients."""

    @property
    def words(self) -> str:
        """For people."""
        return _WORDS[self]


_WORDS = {
    Method.GRAD_CAM: "Grad-CAM",
    Method.GUIDED_BACKPROPAGATION: "guided backpropagation",
    Method.GUIDED_GRAD_CAM: "guided Grad-CAM",
    Method.OCCLUSION: "occlusion",
}

NOTHING = {
    Method.GRAD_CAM: "Nothing at this layer speaks for the label.",
    Method.OCCLUSION: "No place alone speaks for the label.",
}
"""What is said of an empty map."""


@dataclass(frozen=True, slots=True)
class Question:
    """Why does the network say this label of this head?"""

    head: Head
    label: int
    """Index of the label; 0 of a mask, which has one."""

    def __str__(self) -> str:
        return f"{self.head.name}: {self.head.labels[self.label]}"


@dataclass(frozen=True, slots=True)
class LookMap:
    """Where a network looked, by one method."""

    method: Method
    layer: str | None
    """Name of the layer, of methods that look at one."""
    values: MapValues
    """Grad-CAM: 0..1, 0 where nothing speaks for the label. Occlusion: by how much the log-odds of the label fall when
    the place is covered; below 0 where they rise. Guided: gradients per colour, of either sign."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One picture, one question."""

    question: Question
    shown: Pixels
    """(H, W, 3) uint8 RGB: what the network was shown."""
    picture: Pixels
    """(H, W, 3) uint8 RGB of what may be shown to people: cut to the field of view, black beyond it."""
    answers: Mapping[str, Probabilities]
    """By head with labels."""
    labels: Mapping[str, tuple[str, ...]]
    """Of the same heads."""
    maps: tuple[LookMap, ...]


class Explainer(Protocol):
    """A model that can be asked why. Worked by one thread."""

    heads: tuple[Head, ...]
    input: Input
    """What the network is shown."""

    def answers(self, pixels: Pixels) -> Mapping[str, Probabilities]:
        """Probabilities by head with labels, of (H, W, 3) uint8 RGB."""
        ...

    def maps(
        self, pixels: Pixels, question: Question, methods: Sequence[Method], layers: Sequence[str]
    ) -> tuple[tuple[LookMap, ...], str]:
        """Maps, all that the model offers where no method or layer is named, and what must be remarked of them.

        Raises:
            ConfigError: the model cannot do what is asked.
        """
        ...

    def close(self) -> None: ...


def question_of(
    heads: tuple[Head, ...],
    answers: Mapping[str, Probabilities],
    head: str | None = None,
    label: str | None = None,
) -> Question:
    """What is to be explained: by default the most probable label of the last head, which rests on the others.

    Raises:
        ConfigError: there is no such head or label.
    """
    by_name = {each.name: each for each in heads}
    chosen = by_name.get(head) if head is not None else heads[-1]
    if chosen is None:
        raise ConfigError(f"wanted to explain head {head!r}; the network has {', '.join(by_name)}")
    if label is not None and label not in chosen.labels:
        raise ConfigError(
            f"wanted to explain label {label!r}; head {chosen.name!r} has {', '.join(chosen.labels)}"
        )
    if label is not None:
        return Question(chosen, chosen.labels.index(label))
    return Question(chosen, 0 if chosen.role == "mask" else int(np.argmax(answers[chosen.name])))
