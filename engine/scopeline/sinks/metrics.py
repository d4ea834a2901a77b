"""MetricsSink: hands every message to the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from scopeline.metrics import Metrics
from scopeline.wire import Message

_COUNT_EVERY_NS: Final = 1_000_000_000
"""How often readers are counted: once in as many frames as make no difference to any."""


class MetricsSink:
    """Adds every message up. Made, worked and closed by one thread.

    Args:
        metrics: Where.
        subscribers: How many readers there are; called in this sink's thread, which owns the publishing socket too.
    """

    def __init__(self, metrics: Metrics, subscribers: Callable[[], int] | None = None) -> None:
        self._metrics, self._subscribers = metrics, subscribers
        self._counted_ns: int | None = None

    def publish(self, message: Message) -> None:
        """Take one message."""
        self._metrics.add(message)
        if self._subscribers is None:
            return
        if self._counted_ns is None or message.published_ns - self._counted_ns >= _COUNT_EVERY_NS:
            self._counted_ns = message.published_ns
            self._metrics.set_subscribers(self._subscribers())

    def close(self) -> None:
        """Nothing is open."""
