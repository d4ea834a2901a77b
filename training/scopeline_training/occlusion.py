"""Occlusion: where a network looks, found by covering one place after the other and asking again.

Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2. It asks the network in
whatever runtime carries it, so it serves bundles, which have no gradients. It is not Grad-CAM: it says what the answer
would miss, one patch at a time, and is blind to what two places show alike.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import Head
from scopeline.picture import Pixels
from scopeline.ports import Backend
from scopeline_training.explanation import MapValues, Question

PATCH_SHARE = 1 / 6
"""Side of a patch as a share of the picture's side. Smaller ones find finer things and miss what shows twice."""
STEPS_PER_PATCH = 2
"""Patches overlap by half: each place is covered four times, and its value is the mean."""
_BATCH = 16


def occlusion_map(backend: Backend, pixels: Pixels, question: Question) -> MapValues:
    """By how much the log-odds of the label fall when a place is covered with the picture's mean colour.

    Log-odds, because a probability of 0.9999 hardly falls whatever is covered.

    Args:
        backend: The network.
        pixels: (H, W, 3) uint8 RGB: what it is shown.
        question: Head, with labels, and label.

    Returns:
        (H, W) float32; positive where the place speaks for the label.
    """
    boxes = _boxes(pixels.shape[0], pixels.shape[1])
    colour = np.array(cv2.mean(pixels)[:3]).round().astype(np.uint8)
    uncovered = _log_odds(backend, pixels[None], question)[0]
    fallen = np.zeros(pixels.shape[:2])
    times = np.zeros(pixels.shape[:2])
    for start in range(0, len(boxes), _BATCH):
        some = boxes[start : start + _BATCH]
        covered = np.repeat(pixels[None], len(some), axis=0)
        for each, (rows, columns) in zip(covered, some, strict=True):
            each[rows, columns] = colour
        answers = _log_odds(backend, covered, question)
        for answer, (rows, columns) in zip(answers, some, strict=True):
            fallen[rows, columns] += uncovered - answer
            times[rows, columns] += 1
    result: MapValues = (fallen / times).astype(np.float32)
    return result


def log_odds(logits: NDArray[np.float32], head: Head, label: int) -> NDArray[np.float64]:
    """(N,) logarithm of p / (1 - p) of a label after the head's temperature, from its (N, K) logits."""
    scaled = logits.astype(np.float64) / head.temperature
    others = np.delete(scaled, label, axis=1)
    highest = others.max(axis=1)
    found: NDArray[np.float64] = (
        scaled[:, label] - highest - np.log(np.exp(others - highest[:, None]).sum(axis=1))
    )
    return found


def _log_odds(backend: Backend, pixels: NDArray[np.uint8], question: Question) -> NDArray[np.float64]:
    return log_odds(backend.infer(pixels)[question.head.name], question.head, question.label)


def _boxes(height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the patches, so that every pixel lies in at least one."""
    return [(rows, columns) for rows in _pieces(height) for columns in _pieces(width)]


def _pieces(length: int) -> list[slice]:
    patch = max(2, round(length * PATCH_SHARE))
    step = max(1, patch // STEPS_PER_PATCH)
    return [slice(max(0, start), start + patch) for start in range(step - patch, length, step)]
