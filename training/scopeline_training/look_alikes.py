"""Look-alikes live in the engine, because calibration groups pictures in the same way."""

from __future__ import annotations

from scopeline.look_alikes import NEAR_BITS, group_look_alikes, perceptual_hash

__all__ = ["NEAR_BITS", "group_look_alikes", "perceptual_hash"]
