"""Peer order: what a peer's script is told, and what it says after a recording. Imports nothing of the engine."""

from __future__ import annotations

import msgspec

from scopeline_bench.spent import Spent


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What every peer is given."""

    live: bool
    """A raw yuyv422 pipe instead of a recording."""
    source: str
    """Path of the recording, or of the named pipe."""
    size_px: tuple[int, int]
    fps: int
    network: str
    """ONNX file: `pixels` (N, H, W, 3) uint8 RGB in, logits out."""
    floats: str
    """The same network for pictures that were normalised before: (1, 3, H, W) float32; for peers that insist."""
    box: tuple[int, int, int, int]
    """x, y, width, height of what the network is shown."""
    publish: str = ""
    """ZeroMQ address at which results are published; live only."""
    version: str = ""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer did with a recording."""

    spent: Spent
    numbers: list[int]
    """The bar codes of the pictures judged, in their order; -1 where one could not be read."""
    seconds: float
    version: str
