"""Heat: a map laid over the picture that it belongs to, and guided gradients as a picture of their own."""

from __future__ import annotations

import cv2
import numpy as np

from scopeline.picture import Pixels
from scopeline_training.explanation import LookMap, MapValues, Method

_STRONGEST = 0.72
"""Weight of the colour where a map is highest: the picture must still be seen."""
_SOFTNESS = 1 / 36
"""Standard deviation of the smoothing of an occlusion map, as a share of its width; a patch is six times as wide."""
_OUTLIERS = 99.5
"""Percentile at which guided gradients are saturated: a single value must not darken all others."""

FAINTEST_LOG_ODDS = 0.1
"""An occlusion map that is lower than this everywhere is shown as faint as it is: no place alone decides."""


def overlaid(shown: Pixels, look: LookMap) -> Pixels:
    """(H, W, 3) uint8 RGB: the picture under its heat; guided maps as they are.

    Args:
        shown: (H, W, 3) uint8 RGB: what the network was shown.
        look: A map of the same size.
    """
    if look.values.ndim == 3:
        return gradient_picture(look.values)
    strength = np.clip(scaled(look), 0, 1)
    if look.method is Method.OCCLUSION:  # its patches are coarse; their edges are not the picture's
        strength = np.asarray(cv2.GaussianBlur(strength, (0, 0), shown.shape[1] * _SOFTNESS), np.float32)
    bgr = cv2.applyColorMap((255 * strength).astype(np.uint8), cv2.COLORMAP_INFERNO)
    colours = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.float32)
    grey = cv2.cvtColor(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    ground = 0.55 * grey + 0.45 * shown  # calmer colours, so that those of the heat are read as heat
    weight = (_STRONGEST * np.sqrt(strength))[..., None]
    blended: Pixels = np.clip(ground * (1 - weight) + colours * weight, 0, 255).astype(np.uint8)
    return blended


def gradient_picture(values: MapValues) -> Pixels:
    """Signed gradients per colour, (H, W, 3), as (H, W, 3) uint8 RGB: grey is 0."""
    widest = float(np.percentile(np.abs(values), _OUTLIERS)) or float(np.abs(values).max()) or 1.0
    picture: Pixels = (255 * np.clip(0.5 + 0.5 * values / widest, 0, 1)).astype(np.uint8)
    return picture


def scaled(look: LookMap) -> MapValues:
    """A map with 1 where it is highest; an occlusion map that is faint everywhere stays so."""
    if look.method is not Method.OCCLUSION:
        return look.values
    result: MapValues = look.values / max(float(look.values.max()), FAINTEST_LOG_ODDS)
    return result
