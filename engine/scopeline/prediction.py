"""Prediction: what the models say of one frame, or the reason why they say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]
"""(K,) float32 in 0..1 that sum to 1; the order is the head's label order."""

MaskProbabilities = NDArray[np.float32]
"""(H, W) float32 in 0..1: of every pixel of what the network was shown, that it belongs to what the head marks."""


class Reason(StrEnum):
    """Why a frame was not judged. The value is what subscribers read."""

    NO_FIELD = "no_field"
    BLACK = "black"
    WHITE = "white"
    COLOUR_BARS = "colour_bars"
    FROZEN = "frozen"
    BLURRED = "blurred"
    DARK = "dark"
    OVEREXPOSED = "overexposed"
    GLARE = "glare"
    RED_OUT = "red_out"
    UNSCORABLE = "unscorable"
    NOT_DUE = "not_due"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One frame's verdict: probabilities and masks per head, or a reason. Never both, never neither."""

    seq: int
    captured_ns: int
    time_s: float
    scores: Mapping[str, Probabilities] = field(default_factory=dict)
    """Calibrated probabilities per head that was due on this frame."""
    reason: Reason | None = None
    quality: float | None = None
    """Probability that the frame can be judged, 0..1; None when no quality head ran."""
    masks: Mapping[str, MaskProbabilities] = field(default_factory=dict)
    """Per mask head that was due on this frame, in the pixels of its network's input."""
    judged_by: Mapping[str, str] = field(default_factory=dict)
    """By bundle, what gave the answers, see `Model.fingerprint`; a runtime can change in the middle of a run."""

    def __post_init__(self) -> None:
        if (self.reason is None) == (not self.scores and not self.masks):
            raise ValueError(
                f"a prediction has scores or a reason, got scores for {sorted((*self.scores, *self.masks))} "
                f"and reason {self.reason}"
            )
