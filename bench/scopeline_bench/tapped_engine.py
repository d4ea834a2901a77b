"""Tapped engine: a process that does what `scopeline live` does, with a tap behind the source.

The tap reads the number burnt into each captured picture and writes down which frame it became; the engine knows
nothing of it. It ends when its standard input ends, and prints its report as one line of JSON.

    python -m scopeline_bench.tapped_engine '{"feed": {"address": "udp://127.0.0.1:5000"}, ...}'
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from scopeline.config import load_pipeline
from scopeline.engine import Engine
from scopeline.frame import Frame
from scopeline.notices import Notices
from scopeline.picture import Picture
from scopeline.ports import Source
from scopeline.sinks.zeromq import ZmqSink
from scopeline.sources.address import FeedOptions, parse_address
from scopeline.sources.open_feed import open_feed
from scopeline.station import StationPlan, station
from scopeline.wire import LedgerReport
from scopeline_bench.scope_loop import Luma, number_in
from scopeline_bench.stamps import StampWriter
from scopeline_bench.transmission import FeedAt

UNREADABLE = -1
"""Stands for a number that could not be read."""
_PATIENCE_S = 20.0


class WatchOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine is told to watch, and where to publish."""

    feed: FeedAt
    pipeline: str
    publish: str
    folder: str
    """For the journal and the replay socket."""
    captured: str
    """File of stamps, see `Tap`."""


class EngineReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the engine's run ended."""

    ended: str
    ledger: LedgerReport
    latency_ms: dict[str, float]
    """Capture to publish, of the whole run."""
    seconds: float
    threads_left: list[str]
    """Threads that outlived the run."""
    files_left: list[str]
    """What was still open after the run and had not been before; ONNX Runtime's own database is left out."""
    cpu_s: float
    """Processor time of the engine's process, its start included."""
    children_cpu_s: float
    """Processor time of its children: what captures and decodes."""

    @property
    def left_over(self) -> list[str]:
        """Threads and descriptors that outlived the run."""
        return [*self.threads_left, *self.files_left]

    @property
    def balances(self) -> bool:
        """captured = published + lost, with nothing in flight."""
        ledger = self.ledger
        return ledger.captured == ledger.published + sum(ledger.lost.values()) and ledger.in_flight == 0


class Tap:
    """A source that passes on another's frames and notes the numbers that are burnt into them.

    Args:
        source: The other.
        stamps: Gets frame, number, `captured_ns`, what this took, and how many items waited at each hand-off.
    """

    def __init__(self, source: Source, stamps: StampWriter) -> None:
        self.name, self._source, self._stamps = source.name, source, stamps
        self.waiting: Callable[[], Mapping[str, int]] = dict
        """What tells of the engine's hand-offs; there is no engine before its source."""

    @property
    def damaged(self) -> Mapping[str, int]:
        return self._source.damaged

    @property
    def duration_s(self) -> float | None:
        return self._source.duration_s

    def frames(self) -> Iterator[Frame]:
        for frame in self._source.frames():
            began_ns = time.monotonic_ns()
            number = number_in(luma(frame.picture))
            took_ns = time.monotonic_ns() - began_ns
            self._stamps.write(
                frame.seq,
                UNREADABLE if number is None else number,
                frame.captured_ns,
                took_ns,
                *self.waiting().values(),
            )
            yield frame

    def close(self) -> None:
        self._source.close()


def luma(picture: Picture) -> Luma:
    """The luma of a planar or a yuyv422 picture, (H, W) uint8, as a view into it."""
    plane = picture.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    step = 2 if picture.format.name == "yuyv422" else 1
    return rows[: picture.height, : step * picture.width : step]


def main() -> None:
    """Work off the order in the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the bench's to answer
    order = msgspec.json.decode(sys.argv[1], type=WatchOrder)
    with contextlib.closing(StampWriter(Path(order.captured))) as stamps:
        report = _watch(order, stamps, _open_files())
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")


def _watch(order: WatchOrder, stamps: StampWriter, files_before: set[str]) -> EngineReport:
    notices, folder = Notices(), Path(order.folder)
    feed = order.feed
    options = FeedOptions(size_px=feed.size_px, rate_hz=feed.rate_hz, pixel_format=feed.pixel_format)
    plan = StationPlan(
        publish=order.publish,
        control=f"ipc://{folder}/control",
        replay=f"ipc://{folder}/replay",
        journal=folder / "journal",
    )

    def publishing(sink: ZmqSink) -> None:
        sink.wait_for_subscriber(_PATIENCE_S)

    with contextlib.closing(open_feed(parse_address(feed.address, options), notices)) as source:
        tap = Tap(source, stamps)
        pipeline = load_pipeline(Path(order.pipeline))
        with (
            station(pipeline, tap, notices, plan, on_publishing=publishing) as (engine, _),
            _stops_with_standard_input(engine),
        ):
            tap.waiting = lambda: engine.waiting
            ran = engine.run()
    spent = os.times()
    return EngineReport(
        ended=ran.ended,
        ledger=ran.ledger,
        latency_ms=ran.latency_ms,
        seconds=ran.seconds,
        threads_left=[each.name for each in threading.enumerate() if each is not threading.main_thread()],
        files_left=sorted(name for name in _open_files() - files_before if "onnxruntime" not in name),
        cpu_s=spent.user + spent.system,
        children_cpu_s=spent.children_user + spent.children_system,
    )


@contextlib.contextmanager
def _stops_with_standard_input(engine: Engine) -> Iterator[None]:
    """Whoever started this process has it in hand: when it closes our input, or is gone, the run ends."""
    told, telling = os.pipe()

    def wait() -> None:
        readable, _, _ = select.select([0, told], [], [])
        if 0 in readable:
            engine.stop()

    waiting = threading.Thread(target=wait, name="standard input")
    waiting.start()
    try:
        yield
    finally:
        os.close(telling)  # an engine that failed: nobody else would end the wait
        waiting.join()
        os.close(told)


def _open_files() -> set[str]:
    """Number and name of each open descriptor."""
    names = set()
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            names.add(f"{each.name} {each.readlink()}")
    return names


if __name__ == "__main__":
    main()
