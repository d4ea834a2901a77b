"""Messages as an engine numbers and sends them, for tests of everything that reads them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scopeline.sinks.zeromq import HIGH_WATER_MARK, ZmqSink
from scopeline.wire import (
    CurrentSegment,
    Encoding,
    FieldMessage,
    FrameMessage,
    HeadResult,
    LedgerReport,
    MaskResult,
    OverlayBox,
    SegmentMessage,
    SmoothedHead,
    StatusMessage,
)

LOCATIONS = ("rectum", "sigmoid", "descending", "transverse", "ascending", "cecum")
FRAME_NS = 20_000_000
ANY_PORT = "tcp://127.0.0.1:*"
PATIENCE_S = 20
"""How long a test waits for what must come, before it fails."""


class Script:
    """Writes the messages of one session, with `seq`, `sent` and the ledger kept as an engine keeps them."""

    def __init__(self, session: str = "5e55101", start_ns: int = 1_000_000_000) -> None:
        self.session, self.now_ns = session, start_ns
        self.sent: Counter[str] = Counter()

    def _stamp(self, topic: str) -> dict[str, Any]:
        seq = self.sent[topic]
        self.sent[topic] += 1
        return {"session": self.session, "seq": seq, "published_ns": self.now_ns}

    def ledger(self, **changes: Any) -> LedgerReport:
        count = self.sent["frame"]
        plain: dict[str, Any] = {
            "captured": count,
            "published": count,
            "in_flight": 0,
            "lost": {},
            "damaged": {},
        }
        return LedgerReport(**(plain | changes))

    def frame(self, *, latency_ms: float = 8.0, **changes: Any) -> FrameMessage:
        """The next frame, 20 ms after the one before; judged to be sigmoid, MES 2, unless told otherwise."""
        self.now_ns += FRAME_NS
        number = self.sent["frame"]
        plain: dict[str, Any] = {
            "frame": number,
            "time_s": number * FRAME_NS / 1e9,
            "captured_ns": self.now_ns - round(latency_ms * 1e6),
            "stages_ms": {"prepare": 0.2 * latency_ms, "infer": 0.9 * latency_ms, "conclude": latency_ms},
            "reason": None,
            "field": 1,
            "field_shape": "octagon",
            "overlays": ["text"],
            "quality": 0.94,
            "heads": {"location": _head(LOCATIONS, 1), "mes": _head("0123", 2, expected=1.9)},
            "masks": {"polyp": mask_result()},
            "smoothed": {"location": _smoothed(LOCATIONS, 1), "mes": _smoothed("0123", 2)},
            "segment": None,
            "state": "running",
            "models": {"colon": "sha256:0123456789ab/onnxruntime/fp32"},
            "config": "sha256:ba9876543210",
        }
        stamp = self._stamp("frame")
        return FrameMessage(**(plain | {"ledger": self.ledger()} | stamp | changes))

    def unusable(self, reason: str = "blurred", **changes: Any) -> FrameMessage:
        """A frame that was not judged."""
        return self.frame(reason=reason, heads={}, masks={}, quality=0.1, **changes)

    def segment(self, number: int, location: str | None = "sigmoid", **changes: Any) -> SegmentMessage:
        plain: dict[str, Any] = {
            "number": number,
            "location": location,
            "start_s": 60.0 * number,
            "end_s": 60.0 * number + 60,
            "state": "final",
            "assessable": True,
            "mes_dominant": 2,
            "mes_worst": 3,
            "expected": 2.1,
            "histogram": [0, 10, 200, 20],
            "confidence": 0.9,
            "grade_confidence": 0.8,
            "frames_seen": 3000,
            "frames_usable": 230,
            "reasons": {"blurred": 2700, "glare": 70},
            "informative_s": 34.5,
            "key_frame": 17,
            "key_frame_s": 60.0 * number + 5,
            "marked": False,
        }
        return SegmentMessage(**(plain | self._stamp("segment") | changes))

    def field(self, event: str = "locked", **changes: Any) -> FieldMessage:
        plain: dict[str, Any] = {
            "event": event,
            "time_s": 0.4,
            "field": 1,
            "shape": "octagon",
            "box": (420, 0, 1080, 1080),
            "signal": (1920, 1080),
            "overlays": [OverlayBox(kind="text", box=(20, 20, 300, 200))],
        }
        return FieldMessage(**(plain | self._stamp("field") | changes))

    def status(self, event: str = "started", **changes: Any) -> StatusMessage:
        sent = dict(self.sent)
        plain: dict[str, Any] = {
            "event": event,
            "source": "withdrawal.mp4",
            "text": "",
            "pipeline": "theatre",
            "config": "sha256:ba9876543210",
            "models": {"colon": "sha256:0123456789ab/onnxruntime/fp32"},
            "version": "0.1.0",
            "ledger": self.ledger(),
            "sent": sent,
        }
        return StatusMessage(**(plain | self._stamp("status") | changes))


def segment_now(number: int = 1, location: str | None = "sigmoid", **changes: Any) -> CurrentSegment:
    plain: dict[str, Any] = {
        "number": number,
        "location": location,
        "start_s": 0.0,
        "mes_dominant": 2,
        "mes_worst": 3,
        "informative_s": 4.0,
        "state": "provisional",
    }
    return CurrentSegment(**(plain | changes))


def random_frames(script: Script, count: int, seed: int = 0) -> list[FrameMessage]:
    """Frames of which about a third are unusable, for reasons drawn by chance."""
    chance = random.Random(seed)
    return [
        script.unusable(chance.choice(("blurred", "glare", "dark")))
        if chance.random() < 0.33
        else script.frame()
        for _ in range(count)
    ]


def shares(labels: tuple[str, ...] | str, top: int) -> dict[str, float]:
    """0.7 for the label at `top`, the rest shared evenly."""
    rest = 0.3 / (len(labels) - 1)
    return {label: 0.7 if place == top else rest for place, label in enumerate(labels)}


def _head(labels: tuple[str, ...] | str, top: int, expected: float | None = None) -> HeadResult:
    return HeadResult(probabilities=shares(labels, top), entropy=0.9, abstain=False, expected=expected)


def mask_result() -> MaskResult:
    return MaskResult(
        label="polyp",
        threshold=0.5,
        share=0.031,
        peak=0.98,
        box=(700, 300, 200, 160),
        regions=1,
        contours=[[(700.0, 300.5), (900.0, 310.0), (820.0, 460.0)]],
    )


def _smoothed(labels: tuple[str, ...] | str, top: int) -> SmoothedHead:
    return SmoothedHead(posterior=shares(labels, top), tag=labels[top], since_s=0.0)


@contextmanager
def publishing(
    address: str = ANY_PORT, *, encoding: Encoding = "json", high_water_mark: int = HIGH_WATER_MARK
) -> Iterator[ZmqSink]:
    """A publisher that is closed even when the test fails."""
    sink = ZmqSink(address, encoding=encoding, high_water_mark=high_water_mark)
    try:
        yield sink
    finally:
        sink.close()
