"""Latest: the newest message of each topic and its age, so that a display never shows the past as the present."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scopeline.wire import (
    STALE_AFTER_NS,
    FieldMessage,
    FrameMessage,
    Message,
    SegmentMessage,
    StatusMessage,
)

STALE_MS: Final = STALE_AFTER_NS / 1e6


class StaleView:
    """The age of the newest frame that was seen, so that a display never shows an old assessment as the
    present.

    Age is `now_ns - captured_ns`, both `time.monotonic_ns()`: from the moment the driver handed the frame
    over to the moment the display looks. On one machine all processes share that clock (Linux, macOS,
    Windows), containers too; between machines, after a restart of the machine, and for journals the
    difference means nothing. An age below zero is therefore stale."""

    def __init__(self, stale_ms: float = STALE_MS) -> None:
        self.stale_ms = stale_ms
        self.captured_ns: int | None = None
        """When the newest frame was captured."""

    def see(self, message: Message) -> None:
        """Remember the capture time of a frame; other messages say nothing of the present."""
        if isinstance(message, FrameMessage):
            self.captured_ns = message.captured_ns

    def age_ms(self, now_ns: int) -> float | None:
        """Milliseconds since the newest frame was captured; None before the first."""
        return None if self.captured_ns is None else (now_ns - self.captured_ns) / 1e6

    def is_stale(self, now_ns: int) -> bool:
        """True when nothing may be shown as the present."""
        age_ms = self.age_ms(now_ns)
        return age_ms is None or not 0 <= age_ms <= self.stale_ms


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest message of each topic, for a display, and how old each of them is.

    Ages are against the engine's own `time.monotonic_ns()`, see `StaleView`."""

    frame: FrameMessage | None
    segment: SegmentMessage | None
    field: FieldMessage | None
    status: StatusMessage | None
    ages_ms: dict[str, float]
    """By topic: of a frame since it was captured, of the others since they were published."""
    stale: bool
    """Nothing of it may be shown as the present: there is no frame, it is older than `STALE_MS`, or it was already
    when it was published."""


def latest_of(newest: Mapping[str, Message], now_ns: int) -> Latest:
    """How old the newest messages are at `now_ns`."""
    view, ages_ms = StaleView(), {}
    for topic, message in newest.items():
        view.see(message)
        born_ns = message.captured_ns if isinstance(message, FrameMessage) else message.published_ns
        ages_ms[topic] = (now_ns - born_ns) / 1e6
    frame, segment, field, status = (newest.get(topic) for topic in ("frame", "segment", "field", "status"))
    return Latest(
        frame=frame if isinstance(frame, FrameMessage) else None,
        segment=segment if isinstance(segment, SegmentMessage) else None,
        field=field if isinstance(field, FieldMessage) else None,
        status=status if isinstance(status, StatusMessage) else None,
        ages_ms=ages_ms,
        stale=view.is_stale(now_ns) or (isinstance(frame, FrameMessage) and frame.stale),
    )
