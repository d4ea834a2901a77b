"""Small data sets of generated pictures, written as files, for tests of the training's data path."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from scopeline.picture import Pixels


def scene(seed: int, size: int = 96) -> Pixels:
    """Smooth random shade in the colours of mucosa, bright all over, (size, size, 3) uint8 RGB."""
    coarse = np.random.default_rng(seed).random((7, 7, 3)).astype(np.float32)
    coarse = (0.8 * coarse[..., :1] + 0.2 * coarse) * np.array([1.0, 0.6, 0.5], np.float32)
    smooth = cv2.resize(50 + coarse * 190, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth.clip(0, 255), np.uint8)


def write_image(path: Path, pixels: Pixels, quality: int = 95) -> Path:
    """The pixels as an image file; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    assert cv2.imwrite(str(path), shown, settings)
    return path
