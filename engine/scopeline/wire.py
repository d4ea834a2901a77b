"""The published messages: what they carry, how they are encoded.

One message is one ZeroMQ multipart `[topic, payload]`. The topic is the message's type, the payload JSON (or
MessagePack when asked for). `docs/wire.md` explains every field to people, `docs/wire.schema.json` to programs;
both are checked against this file by a test.
"""

from __future__ import annotations

import time
from typing import Any, Literal, TypeAlias

import msgspec

SCHEMA = 1
NOTICE = "research use only"
DEFAULT_PORT = 5557
DEFAULT_ADDRESS = f"tcp://127.0.0.1:{DEFAULT_PORT}"

STALE_AFTER_NS = 500_000_000
"""What is older is not shown as the present: at 60 frames/s it is 30 frames behind the picture."""

Encoding: TypeAlias = Literal["json", "msgpack"]
StatusEvent: TypeAlias = Literal[
    "started", "running", "signal", "incident", "trouble", "mark", "ended", "failed"
]


class OverlayBox(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the processor draws over the picture, in signal pixels."""

    kind: str
    """`scope_guide`, `black_box` or `text`."""
    box: tuple[int, int, int, int]
    """x, y, width, height."""


class LedgerReport(msgspec.Struct, frozen=True, kw_only=True):
    """captured = published + in_flight + the sum of lost, at every moment."""

    captured: int
    published: int
    in_flight: int
    lost: dict[str, int]
    """Frames that were captured and not judged, by reason: `late` (a newer frame won), `failed` (the run broke)."""
    damaged: dict[str, int]
    """Packets that never became a frame, by reason. They have no frame number and are outside the equation."""


class HeadResult(msgspec.Struct, frozen=True, kw_only=True):
    """One head's answer to one frame."""

    probabilities: dict[str, float]
    """Calibrated, by label, in the head's order; they sum to 1."""
    entropy: float
    """In nats; 0 is certain, ln(number of labels) knows nothing."""
    abstain: bool
    """True when the highest probability lies below the head's `abstain_below`."""
    expected: float | None = None
    """Ordinal heads: the expected grade, the sum of grade times probability."""


class RunLengths(msgspec.Struct, frozen=True, kw_only=True):
    """A mask in the pixels of its network's input, in COCO's uncompressed form."""

    size: tuple[int, int]
    """Height and width."""
    counts: list[int]
    """Lengths of runs, column after column: not marked, marked, and so on; they sum to height times width."""


class MaskResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one mask head marks on one frame."""

    label: str
    """What is marked."""
    threshold: float
    """Probability from which a pixel is marked."""
    share: float
    """Marked share of the field of view's area, 0..1."""
    peak: float
    """Highest probability within the field."""
    box: tuple[int, int, int, int] | None
    """x, y, width, height in signal pixels around all regions; null when nothing is marked."""
    regions: int
    """Connected regions; of more than 8 the largest 8 are outlined."""
    contours: list[list[tuple[float, float]]]
    """Corners (x, y) of closed outlines in signal pixels, largest region first, at most 48 each; no holes."""
    rle: RunLengths | None = None
    """Only when the pipeline says `mask_rle = true`."""


class SmoothedHead(msgspec.Struct, frozen=True, kw_only=True):
    """One head over time."""

    posterior: dict[str, float]
    tag: str | None
    """The label held now; null before the first decision and when the evidence ran out."""
    since_s: float | None
    """Stream time at which the tag was taken."""


class RevisedTag(msgspec.Struct, frozen=True, kw_only=True):
    """What the tag of an earlier moment turned out to be, once the head's fixed lag has passed."""

    head: str
    time_s: float
    """Stream time of the frame that is spoken of."""
    tag: str | None
    live_tag: str | None
    """The tag that was published then."""
    final: bool = True


class CurrentSegment(msgspec.Struct, frozen=True, kw_only=True):
    """The segment that is open while a frame is published."""

    number: int
    location: str | None
    start_s: float
    mes_dominant: int | None
    mes_worst: int | None
    informative_s: float
    state: Literal["provisional", "final"]


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every message carries."""

    schema: int = SCHEMA
    session: str
    """Random per run; carries no date, no name."""
    seq: int
    """Counts the messages of this topic from 0 without a gap: a subscriber that sees a gap has missed some."""
    published_ns: int
    """`time.monotonic_ns()` of the engine when the message was handed to the sinks."""
    notice: str = NOTICE


class FrameMessage(_Message, frozen=True, kw_only=True, tag="frame"):
    """Topic `frame`: one captured frame and what became of it."""

    frame: int
    """Number of the frame in its source; a gap means that the frame was lost, see `ledger.lost`."""
    time_s: float
    """Stream time in seconds."""
    captured_ns: int
    """`time.monotonic_ns()` of the engine directly after the driver returned."""
    wall_unix_s: float | None = None
    """Clock time of publishing, only when the pipeline says `wall_clock = true`."""
    stages_ms: dict[str, float]
    """Milliseconds from capture to the end of each stage: prepare, infer, conclude."""
    reason: str | None
    """Why the frame was not judged; null when it was."""
    field: int | None
    """Number of the field-of-view geometry in force, see topic `field`."""
    field_shape: str | None
    overlays: list[str]
    quality: float | None
    """Probability that the frame can be judged."""
    heads: dict[str, HeadResult]
    masks: dict[str, MaskResult] = {}
    """By mask head; empty when the frame was not judged, and unless `signal` is running."""
    smoothed: dict[str, SmoothedHead]
    revisions: list[RevisedTag] = []
    """Empty unless a head is smoothed with `lag_s`."""
    segment: CurrentSegment | None
    ledger: LedgerReport
    state: str
    """`warming_up` before the first field of view, `running`, `not_assessable` while no tag can be held."""
    signal: str = "running"
    """What the feed is like, see `status`; anything but `running` means that no tag is published."""
    stale: bool = False
    """True when the frame was older than 500 ms as it was published: nothing in it is the present."""
    models: dict[str, str]
    """By bundle: hashes of weights and heads, runtime, precision, proof: `sha256:<12 digits>+<8>/onnxruntime/fp32`."""
    config: str
    """Hash of the pipeline in force, `sha256:<12 digits>`."""


class SegmentMessage(_Message, frozen=True, kw_only=True, tag="segment"):
    """Topic `segment`: a stretch of one location. The newest message with a number replaces the earlier ones."""

    number: int
    location: str | None
    start_s: float
    end_s: float
    state: Literal["provisional", "final"]
    assessable: bool
    """False: too little evidence; `mes_dominant` and `mes_worst` are null."""
    mes_dominant: int | None
    mes_worst: int | None
    expected: float | None
    histogram: list[int]
    """Usable frames by grade."""
    confidence: float | None
    grade_confidence: float | None
    frames_seen: int
    frames_usable: int
    reasons: dict[str, int]
    """Frames that were not usable, by reason."""
    informative_s: float
    key_frame: int | None
    key_frame_s: float | None
    marked: bool
    """True when the location was set by the operator."""
    findings: dict[str, dict[str, int]] = {}
    """Usable frames, by head that is neither of quality, location nor grade, and by what it said of them: its most
    probable label, or `uncertain` where it abstains; of a mask head its label or `none`."""


class FieldMessage(_Message, frozen=True, kw_only=True, tag="field"):
    """Topic `field`: the scope's picture was found, changed or lost."""

    event: Literal["locked", "changed", "lost"]
    time_s: float
    field: int | None
    shape: str | None
    box: tuple[int, int, int, int] | None
    """x, y, width, height in signal pixels."""
    signal: tuple[int, int] | None
    """Width and height of the signal."""
    circle: tuple[float, float, float] | None = None
    """Centre x, centre y and radius of a round field, in signal pixels; reaches beyond `box` where it is clipped."""
    outline: list[tuple[float, float]] = []
    """Corners of an octagon, clockwise in signal pixels; empty for other shapes."""
    overlays: list[OverlayBox]
    profile: str | None = None
    """Scope profile that the geometry comes from; null when it was found by itself."""
    text: str = ""
    """For people: which profile was taken, or why none."""


class StatusMessage(_Message, frozen=True, kw_only=True, tag="status"):
    """Topic `status`: what the engine does, changes of state, and the end of the stream with the whole ledger."""

    event: StatusEvent
    """`running` comes every five seconds, so that a late joiner learns what it listens to. `signal`: the feed became
    another (`signal` says what). `incident`: something happened to the feed and it goes on (`incident` says what).
    `trouble`: something on our side does not work while the publishing goes on (`incident` says what)."""
    signal: str = "running"
    """What the feed is like: `connecting`, `no_signal`, `colour_bars`, `black`, `frozen`, `stalled`, `reconnecting`,
    `running`. All but the last mean "not assessable"."""
    incident: str | None = None
    """`format_changed`, `frames_missing`, `burst`, `damaged`, `time_jumped`, `lagging`; with `trouble`:
    `journal_failed`, `journal_works_again`, `control_refused`, `gpu_building`, `gpu_verifying`, `gpu_serving`,
    `gpu_refused`, `gpu_failed`."""
    stale: bool = False
    """True when the newest frame is older than 500 ms: what was published last is not the present."""
    replay: str | None = None
    """Address at which missed messages can be asked for again, if there is one."""
    source: str
    text: str
    pipeline: str
    config: str
    models: dict[str, str]
    version: str
    ledger: LedgerReport
    sent: dict[str, int]
    """Messages sent per topic before this one: a subscriber that counted fewer has missed some."""
    latency_ms: dict[str, float] | None = None
    """`ended`: capture to publish, p50, p95, p99, max."""
    revisions: list[RevisedTag] = []
    """`ended`: what had not yet left the fixed lag."""


Message: TypeAlias = FrameMessage | SegmentMessage | FieldMessage | StatusMessage

TOPICS: tuple[str, ...] = ("frame", "segment", "status", "field")


class Encoder:
    """Turns messages into `(topic, payload)`, both bytes."""

    def __init__(self, encoding: Encoding = "json") -> None:
        self._encoder: msgspec.json.Encoder | msgspec.msgpack.Encoder
        self._encoder = msgspec.json.Encoder() if encoding == "json" else msgspec.msgpack.Encoder()

    def encode(self, message: Message) -> tuple[bytes, bytes]:
        return topic_of(message).encode(), self._encoder.encode(message)


class Decoder:
    """Turns payloads back into messages; refuses what does not fit the schema.

    Raises on `decode`:
        msgspec.ValidationError: a field is missing or has the wrong type; says where.
        msgspec.DecodeError: the payload is neither JSON nor MessagePack.
    """

    def __init__(self) -> None:
        self._json: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
        self._msgpack: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)

    def decode(self, payload: bytes) -> Message:
        return self._json.decode(payload) if payload[:1] == b"{" else self._msgpack.decode(payload)


def topic_of(message: Message) -> str:
    return _TOPIC[type(message)]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of all messages, as committed in docs/wire.schema.json."""
    schema: dict[str, Any] = msgspec.json.schema(Message)
    return schema


def wall_clock() -> float:
    """Seconds since 1970. The only reading of a clock that can jump; nothing is computed from it."""
    return time.time()  # noqa: TID251


_TOPIC: dict[type[Message], str] = {
    FrameMessage: "frame",
    SegmentMessage: "segment",
    FieldMessage: "field",
    StatusMessage: "status",
}
