"""Shortcut probes: could the answer be read off the border, or off a thumbnail?

A linear probe that sees only the border ring and still names the class has found the device, not the disease. The
grey thumbnail is the trivial baseline that a network must beat. Both run over the same grouped folds.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scopeline.picture import Pixels
from scopeline_training.folds import Numbers, grouped_folds

Features = NDArray[np.float32]
RING_PX = 6
"""Width of the ring, of 64."""


def border_ring(pixels: Pixels) -> Features:
    """The outer 6 of 64 pixels, averaged over blocks of 4, of (N, H, W, 3) pixels; (N, F)."""
    ring = np.ones((16, 16), np.bool_)
    ring[2:-2, 2:-2] = False
    rows = []
    for picture in pixels:
        small = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)
        small[RING_PX:-RING_PX, RING_PX:-RING_PX] = 0
        rows.append(cv2.resize(small, (16, 16), interpolation=cv2.INTER_AREA)[ring].ravel())
    return np.asarray(rows, np.float32)


def thumbnail(pixels: Pixels) -> Features:
    """The 16x16 grey thumbnail of (N, H, W, 3) pixels; (N, 256)."""
    greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pixels]
    small = [cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA).ravel() for grey in greys]
    return np.asarray(small, np.float32)


def probe(features: Features, classes: Numbers, groups: Numbers, *, folds: int, seed: int) -> Features:
    """Out-of-fold probabilities (N, K) of a standardised logistic regression, classes numbered 0..K-1."""
    said = np.zeros((len(classes), int(classes.max()) + 1), np.float32)
    for train, test in grouped_folds(classes, groups, folds=folds, seed=seed):
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.01, max_iter=500, class_weight="balanced")
        )
        model.fit(features[train], classes[train])
        said[np.ix_(test, model[-1].classes_)] = model.predict_proba(features[test])
    return said
