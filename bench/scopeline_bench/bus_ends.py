"""Bus ends: the publisher and the subscriber of `bench bus`, ours and plain ones.

python -m scopeline_bench.bus_ends plain ipc:///tmp/bus 10
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, Self

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from scopeline.sinks.zeromq import HIGH_WATER_MARK, ZmqSink
from scopeline.subscriber import Subscriber
from scopeline.wire import (
    Decoder,
    Encoder,
    FrameMessage,
    HeadResult,
    LedgerReport,
    SmoothedHead,
    StatusMessage,
)
from scopeline_bench.own_process import beside

Kind = Literal["latest", "ordered", "plain", "imagezmq"]
RATE_HZ: Final = 30.0
SLOWER: Final = 3.0
_PATIENCE_S: Final = 30.0
_MANY: Final = 20_000


@dataclass(frozen=True, slots=True)
class Heard:
    """What one subscriber was given."""

    at_s: NDArray[np.float64]
    """Since the first."""
    age_ms: NDArray[np.float64]
    """Since publishing."""
    missed: int
    skipped: int = 0

    @classmethod
    def from_rows(
        cls, rows: Iterable[tuple[int, int, int]], *, sent: int | None = None, skipped: int = 0
    ) -> Self:
        """From number, `published_ns` and moment of every message."""
        table = np.array(list(rows), np.int64).reshape(-1, 3)
        numbers = table[:, 0]
        span = int(numbers.max()) + 1 if len(numbers) else 0
        return cls(
            at_s=(table[:, 2] - table[:1, 2]) / 1e9,
            age_ms=(table[:, 2] - table[:, 1]) / 1e6,
            missed=(sent or span) - len(numbers) - skipped,
            skipped=skipped,
        )


def hear(kind: Kind, address: str, seconds: float, pause_s: float) -> Heard:
    """Read for so long after the first message, resting after each reading.

    Args:
        kind: How.
        address: Where it is published.
        seconds: How long.
        pause_s: Rest after each reading; 0 keeps up.
    """
    return (
        _hear_plain(address, seconds, pause_s)
        if kind == "plain"
        else _hear_ours(kind, address, seconds, pause_s)
    )


def _hear_ours(kind: Kind, address: str, seconds: float, pause_s: float) -> Heard:
    rows: list[tuple[int, int, int]] = []
    with Subscriber(address, heal=False) as reader:
        is_over = _clock(seconds)
        while not reader.account.ended and not is_over(bool(rows)):
            if kind == "latest":
                messages = reader.take_newest(0.2)
            else:
                message = reader.take(0.2)
                messages = [message] if message is not None else []
            now_ns = time.monotonic_ns()
            frames = [each for each in messages if isinstance(each, FrameMessage)]
            rows.extend((frame.seq, frame.published_ns, now_ns) for frame in frames)
            if pause_s and frames:
                time.sleep(pause_s)
        missed = reader.account.topics["frame"].missed
        heard = Heard.from_rows(rows, skipped=reader.skipped)
        return Heard(heard.at_s, heard.age_ms, missed, reader.skipped)


def _hear_plain(address: str, seconds: float, pause_s: float) -> Heard:
    rows: list[tuple[int, int, int]] = []
    decoder = Decoder()
    with zmq.Context() as context, context.socket(zmq.SUB) as reader:
        reader.subscribe(b"frame")
        reader.subscribe(b"status")
        reader.connect(address)
        is_over = _clock(seconds)
        while not is_over(bool(rows)):
            if not reader.poll(200):
                continue
            topic, payload = reader.recv_multipart()
            message = decoder.decode(payload)
            if topic != b"frame":
                if isinstance(message, StatusMessage) and message.event == "ended":
                    break
                continue
            rows.append((message.seq, message.published_ns, time.monotonic_ns()))
            if pause_s:
                time.sleep(pause_s)
    return Heard.from_rows(rows)


def _clock(seconds: float) -> Callable[[bool], bool]:
    """Whether it is over: so many seconds after something first came, or long after nothing did."""
    ends = [time.monotonic() + _PATIENCE_S, 0.0]

    def is_over(has_begun: bool) -> bool:
        if has_begun and not ends[1]:
            ends[1] = time.monotonic() + seconds
        return time.monotonic() > (ends[1] or ends[0])

    return is_over


def send(kind: Kind, address: str, seconds: float) -> None:
    """Publish at `RATE_HZ` for so long and a little more, when a subscriber is there; then say that it is over."""
    count = round((seconds + 1) * RATE_HZ)
    publish, finish = _sender(kind, address)
    start_ns = time.monotonic_ns()
    for number in range(count):
        left_s = (start_ns + number * 1e9 / RATE_HZ - time.monotonic_ns()) / 1e9
        if left_s > 0:
            time.sleep(left_s)
        publish(frame_message(number))
    finish()


def throughput(kind: Kind) -> float:
    """Messages per second that come through when they are sent as fast as it goes, none lost."""
    with tempfile.TemporaryDirectory(prefix="scopeline-") as folder:
        address = f"ipc://{folder}/bus"
        with beside(count_all, kind, address, _MANY) as answer:
            publish, finish = _sender(kind, address)
            for number in range(_MANY):
                publish(frame_message(number))
            finish()
            return answer.result()


def count_all(kind: Kind, address: str, count: int) -> float:
    """Messages received per second, from the first to the last of so many."""
    arrivals = (_plain_arrivals if kind == "plain" else _our_arrivals)(address)
    moments = list(islice(arrivals, count))
    return (len(moments) - 1) / max(1e-9, (moments[-1] - moments[0]) / 1e9)


def _our_arrivals(address: str) -> Iterator[int]:
    with Subscriber(address, heal=False, high_water_mark=2 * _MANY) as reader:
        while (message := reader.take(_PATIENCE_S)) is not None:
            if isinstance(message, FrameMessage):
                yield time.monotonic_ns()


def _plain_arrivals(address: str) -> Iterator[int]:
    decoder = Decoder()
    with zmq.Context() as context, context.socket(zmq.SUB) as reader:
        reader.rcvhwm = 2 * _MANY
        reader.subscribe(b"")
        reader.connect(address)
        while reader.poll(round(_PATIENCE_S * 1e3)):
            if isinstance(decoder.decode(reader.recv_multipart()[1]), FrameMessage):
                yield time.monotonic_ns()


def frame_message(number: int) -> FrameMessage:
    """A message of the size that the colon bundle's have."""
    heads = {"quality": ("bad", "good"), "organ": ("outside", "colon"), "mes": ("0", "1", "2", "3")}
    results = {
        name: HeadResult(probabilities=dict.fromkeys(labels, 0.25), entropy=0.6931, abstain=False)
        for name, labels in heads.items()
    }
    smoothed = {
        name: SmoothedHead(posterior=dict.fromkeys(labels, 0.25), tag=labels[0], since_s=1.234)
        for name, labels in list(heads.items())[1:]
    }
    now_ns = time.monotonic_ns()
    return FrameMessage(
        session="0123456789abcdef", seq=number, published_ns=now_ns, frame=number, time_s=number / RATE_HZ,
        captured_ns=now_ns, stages_ms={"prepare": 1.234567, "infer": 2.345678, "conclude": 2.456789}, reason=None,
        field=1, field_shape="circle", overlays=[], quality=0.98, heads=results, smoothed=smoothed, segment=None,
        ledger=_LEDGER, state="running", models={"colon": "sha256:e7a52180f451/onnxruntime/fp32"},
        config="sha256:8bcf7b3803a4",
    )  # fmt: skip


_LEDGER = LedgerReport(captured=1, published=1, in_flight=0, lost={}, damaged={})


def _sender(kind: Kind, address: str) -> tuple[Callable[[FrameMessage], None], Callable[[], None]]:
    """What publishes one message, and what says that it was the last."""
    if kind != "plain":
        sink = ZmqSink(address, high_water_mark=2 * HIGH_WATER_MARK)
        sink.wait_for_subscriber(_PATIENCE_S)

        def finish() -> None:
            sink.publish(_ended())
            sink.close()

        return sink.publish, finish
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket, encoder = context.socket(zmq.XPUB), Encoder()
    socket.sndhwm = 2 * HIGH_WATER_MARK
    socket.bind(address)
    socket.poll(round(_PATIENCE_S * 1e3))
    time.sleep(0.5)  # its other subscriptions

    def finish_plain() -> None:
        socket.send_multipart(encoder.encode(_ended()))
        socket.close(linger=2000)
        context.term()

    def publish(message: FrameMessage) -> None:
        socket.send_multipart(encoder.encode(message))

    return publish, finish_plain


def _ended() -> StatusMessage:
    return StatusMessage(
        session="0123456789abcdef", seq=0, published_ns=time.monotonic_ns(), event="ended", source="bench", text="",
        pipeline="bench", config="", models={}, version="", ledger=_LEDGER, sent={},
    )  # fmt: skip


if __name__ == "__main__":
    kind, address, seconds = sys.argv[1:]
    send(msgspec.convert(kind, Kind), address, float(seconds))
