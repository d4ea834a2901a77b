"""Answers: the logits of a bundle's network for labelled pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from scopeline.backends import open_backend
from scopeline.bundle import Bundle, Head
from scopeline.picture import Pixels

_GROUP = 16


def classifying(bundle: Bundle) -> list[Head]:
    """Heads that say labels; masks have a threshold per pixel and are not calibrated here."""
    return [head for head in bundle.heads if head.role != "mask"]


def logits_of(
    bundle: Bundle, pixels: Pixels, report: Callable[[int, int], object]
) -> Mapping[str, NDArray[np.float32]]:
    """(N, K) logits per classifying head, by the reference runtime."""
    parts: list[Mapping[str, NDArray[np.float32]]] = []
    with closing(open_backend("onnxruntime", bundle, threads=1, precision="fp32")) as backend:
        for start in range(0, len(pixels), _GROUP):
            parts.append(backend.infer(pixels[start : start + _GROUP]))
            report(min(start + _GROUP, len(pixels)), len(pixels))
    return {head.name: np.concatenate([part[head.name] for part in parts]) for head in classifying(bundle)}


def goodness(bundle: Bundle, logits: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64] | None:
    """(N,) probability that each picture can be judged, by the bundle's quality head; None without one."""
    head = bundle.head("quality")
    if head is None:
        return None
    good = head.labels.index("good")
    return np.array([head.probabilities(row)[good] for row in logits[head.name]], np.float64)
