"""Quality, stage A: the signal faults nobody can argue about, and the name of what is wrong with a bad frame.

Whether a frame can be judged is the quality head's business (a small network: the variance of the Laplacian
alone is worse than chance on bubbles and glare, which raise it). Here live the two things that need no network:

- `HardGate` looks at every frame and refuses black, white, colour bars and a frozen picture.
- `QualityFeatures` and `name_fault` say *why* a frame that the head rejected is bad, so that a user can act.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels
from scopeline.prediction import Reason

MEASURED_PX = 112
"""Features are taken at this width and height, so that they mean the same for every crop size."""


class QualityFeatures:
    """Eight numbers that say what may be wrong with a picture, each found when it is asked for. Shares are 0..1, grey
    0..255.

    Args:
        pixels: (H, W, 3) uint8 RGB; anything but 112x112 is resized first.
    """

    def __init__(self, pixels: Pixels) -> None:
        height, width = pixels.shape[:2]
        if (height, width) != (MEASURED_PX, MEASURED_PX):
            # A little smaller, averaging two pixels is averaging the area, and costs a tenth.
            is_near = max(height, width) < 1.5 * MEASURED_PX
            how = cv2.INTER_LINEAR if is_near else cv2.INTER_AREA
            pixels = np.asarray(cv2.resize(pixels, (MEASURED_PX, MEASURED_PX), interpolation=how), np.uint8)
        self._pixels = pixels
        self._grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)

    @property
    def log_laplacian(self) -> float:
        """Natural logarithm of the variance of the Laplacian: sharpness, but also noise, bubbles and glare."""
        return float(np.log(self._sharp + 1e-3))

    @property
    def log_tenengrad(self) -> float:
        """Natural logarithm of the mean squared Sobel gradient."""
        along_x, along_y, _ = self._gradients
        return float(np.log((along_x + along_y) / self._grey.size + 1e-3))

    @property
    def grey_p50(self) -> float:
        """Median of the grey levels."""
        return float(np.searchsorted(self._levels, 0.50))

    @property
    def grey_p99(self) -> float:
        """99th percentile of the grey levels."""
        return float(np.searchsorted(self._levels, 0.99))

    @property
    def specular_share(self) -> float:
        """Pixels with saturation below 60 and value above 220 (of 255)."""
        # The least channel of such a pixel is 170 or more: where there is none, nothing need be turned into HSV.
        if not cv2.countNonZero(cv2.inRange(self._pixels, (170, 170, 170), (255, 255, 255))):
            return 0.0
        turned = cv2.cvtColor(self._pixels, cv2.COLOR_RGB2HSV)
        return cv2.countNonZero(cv2.inRange(turned, (0, 0, 221), (180, 59, 255))) / self._grey.size

    @property
    def anisotropy(self) -> float:
        """(l1 - l2) / (l1 + l2) of the structure tensor, 0..1: motion blur leaves gradients in one direction."""
        along_x, along_y, across = self._gradients
        return float(np.hypot(along_x - along_y, 2.0 * across)) / (along_x + along_y + 1e-3)

    @property
    def reblur_ratio(self) -> float:
        """Variance of the Laplacian after a 9x9 box over before: near 0 for sharp, high for blurred pictures."""
        blurred = np.asarray(cv2.blur(self._grey, (9, 9)), np.uint8)
        return _laplacian_variance(blurred) / (self._sharp + 1e-3)

    @property
    def red_share(self) -> float:
        """Red over the sum of the colours, 1/3 for grey."""
        red, green, blue, _ = cv2.mean(self._pixels)
        return red / (red + green + blue + 1e-3)

    @cached_property
    def _sharp(self) -> float:
        return _laplacian_variance(self._grey)

    @cached_property
    def _levels(self) -> NDArray[np.float64]:
        """Share of the pixels up to each grey level, (256,)."""
        counts = cv2.calcHist([self._grey], [0], None, [256], [0, 256])
        return np.asarray(np.cumsum(counts) / self._grey.size)

    @cached_property
    def _gradients(self) -> tuple[float, float, float]:
        """Sums of gx * gx, gy * gy and gx * gy."""
        gx, gy = cv2.spatialGradient(self._grey)
        along_x, along_y = cv2.norm(gx, cv2.NORM_L2SQR), cv2.norm(gy, cv2.NORM_L2SQR)
        return along_x, along_y, (cv2.norm(cv2.add(gx, gy), cv2.NORM_L2SQR) - along_x - along_y) / 2


def _laplacian_variance(grey: NDArray[np.uint8]) -> float:
    _, spread = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(spread.item()) ** 2


def name_fault(features: QualityFeatures) -> Reason:
    """What is wrong with a frame that the quality head rejected; `UNSCORABLE` when none of the names fits.

    The bounds lie between the good crops of 80 real colon images and their degraded copies (good ones, 10th to
    90th percentile: median grey 79..148, specular share below 0.02, log gradient 7.0..8.9). They name a fault,
    they do not find one: a good frame may well have a name.
    """
    if features.grey_p50 < 45 and features.grey_p99 < 140:
        return Reason.DARK
    if features.grey_p50 > 185:
        return Reason.OVEREXPOSED
    if features.specular_share > 0.05:
        return Reason.GLARE
    if features.log_tenengrad < 5.2 and features.red_share > 0.48:
        return Reason.RED_OUT
    if features.anisotropy > 0.45 or features.log_laplacian < 3.6 or features.reblur_ratio > 0.08:
        return Reason.BLURRED
    return Reason.UNSCORABLE


@dataclass(frozen=True, slots=True)
class GateState:
    """All that a gate remembers: one that is set to it goes on as the other would have."""

    before: Pixels | None
    before_s: float
    steps: tuple[tuple[float, float], ...]


class HardGate:
    """Refuses what is no picture of the body at all. One gate belongs to one stream; about 20 us a frame.

    A frozen picture repeats exactly, or through H.264 exactly in most of its steps: a skipped block costs an
    encoder least. Being nearly still is not enough: a scope held with a third of a pixel of tremor moves, at 30 Hz
    and crf 28, by 0.02 grey levels a frame, less than a freeze does at crf 18. Measured on 21 encodings of each:
    0.3 % of a still-held scope's frames are called frozen; of a freeze's frames all uncompressed, 88 to 100 % at
    crf 28 and 30, 50 to 96 % at crf 23, none at crf 18. No frame of 21 real clips is.
    """

    SAME = 0.002
    """Mean absolute difference in grey levels under which two crops count as repeated."""
    REFRESH = 0.2
    """A larger step is movement or a key frame; one of them may lie among the repeats."""
    MOVED = 1.2
    """A step that no key frame makes (up to 1.1 was measured)."""
    FROZEN_AFTER_S = 0.4
    FROZEN_STEPS = 2
    """At least so many steps: one repeat is what a 25 to 30 conversion makes, however slow the stream."""

    def __init__(self) -> None:
        self._before: Pixels | None = None
        self._before_s = 0.0
        self._steps: deque[tuple[float, float]] = deque()

    def state(self) -> GateState:
        """What it remembers now."""
        before = None if self._before is None else self._before.copy()
        return GateState(before, self._before_s, tuple(self._steps))

    def restore(self, state: GateState) -> None:
        """Go on from where another gate was."""
        self._before = None if state.before is None else state.before.copy()
        self._before_s, self._steps = state.before_s, deque(state.steps)

    def check(self, pixels: Pixels, time_s: float) -> Reason | None:
        """Why this frame is none, or None. Every frame must pass here, in order.

        Args:
            pixels: (H, W, 3) uint8 RGB of the model's crop.
            time_s: Stream time of the frame in seconds.
        """
        frozen = self._is_frozen(pixels, time_s)
        mean = cv2.mean(pixels)[:3]  # decides nearly always
        if max(mean) < 40 and _share_within(pixels, 0, 28) >= 0.98:
            return Reason.BLACK
        if min(mean) > 230 and _share_within(pixels, 235, 255) >= 0.98:
            return Reason.WHITE
        if has_colour_bars(pixels):
            return Reason.COLOUR_BARS
        return Reason.FROZEN if frozen else None

    def _is_frozen(self, pixels: Pixels, time_s: float) -> bool:
        step = _difference(pixels, self._before)
        if self._before is None or self._before.shape != pixels.shape:
            self._before = np.empty_like(pixels)
        steps = self._steps
        steps.append((self._before_s, step))  # a step counts from when its first picture came
        np.copyto(self._before, pixels)
        self._before_s = time_s
        if step >= self.MOVED:
            steps.clear()
            return False
        while len(steps) > self.FROZEN_STEPS and time_s - steps[1][0] > self.FROZEN_AFTER_S:
            steps.popleft()
        if (
            step >= self.REFRESH
            or len(steps) < self.FROZEN_STEPS
            or time_s - steps[0][0] <= self.FROZEN_AFTER_S
        ):
            return False
        sizes = [size for _, size in steps]
        repeats, jumps = sum(size < self.SAME for size in sizes), sum(size >= self.REFRESH for size in sizes)
        return 2 * repeats > len(sizes) and jumps <= 1


def _share_within(pixels: Pixels, low: int, high: int) -> float:
    """Share of the pixels of which all three channels lie between two levels, both included."""
    tiny = cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_NEAREST)
    return cv2.countNonZero(cv2.inRange(tiny, (low,) * 3, (high,) * 3)) / tiny[..., 0].size


def _difference(pixels: Pixels, other: Pixels | None) -> float:
    """Mean absolute difference in grey levels; infinite where there is nothing to compare with."""
    if other is None or other.shape != pixels.shape:
        return float("inf")
    return cv2.norm(pixels, other, cv2.NORM_L1) / pixels.size


def has_colour_bars(pixels: Pixels) -> bool:
    """Whether (H, W, 3) uint8 RGB pixels are a test card: upright bars in the upper half (SMPTE bars have other stripes
    below), four colours, three of them saturated."""
    height, width = pixels.shape[:2]
    if _difference(pixels[height // 16], pixels[height // 2]) > 4.0:
        return False
    if _difference(pixels[height // 16], pixels[height // 4]) > 4.0:
        return False
    row = pixels[height // 4].astype(np.int16)
    edges = np.flatnonzero(np.abs(np.diff(row, axis=0)).max(axis=1) > 12)
    bounds = np.concatenate(([-1], edges, [width - 1]))
    bars = [row[a + 1 : b + 1] for a, b in pairwise(bounds) if b - a >= max(4, width // 32)]
    colours = {tuple(np.round(np.median(bar, axis=0) / 32).astype(int).tolist()) for bar in bars}
    return len(colours) >= 4 and sum(max(each) - min(each) >= 3 for each in colours) >= 3
