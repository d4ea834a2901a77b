"""Engine process: the tapped engine as the bench holds it: started, listened to, weighed once a second, ended."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import psutil  # type: ignore[import-untyped]

from scopeline.errors import SourceError
from scopeline.subscriber import Subscriber
from scopeline.wire import FrameMessage, Message, StatusMessage
from scopeline_bench.descendants import descendants
from scopeline_bench.stamps import Rows64, StampReader, read_stamps
from scopeline_bench.tapped_engine import EngineReport, WatchOrder
from scopeline_bench.transmission import FeedAt

_WEIGH_EVERY_NS = 1_000_000_000
_FAREWELL_S = 20.0
CAPTURED_COLUMNS = 7
"""Frame, number, `captured_ns`, nanoseconds that the tap took, items that waited at the engine's three hand-offs."""
HEARD_COLUMNS = 8
"""Frame, `captured_ns`, `published_ns`, when it was received, whether it was judged; then the ends of the stages
prepare, infer and conclude in nanoseconds from capture."""
STAGES = ("prepare", "infer", "conclude")


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine's process holds at one moment, and its children."""

    at_ns: int
    rss_mb: float
    """Resident, in 10^6 bytes."""
    threads: int
    files: int
    """Open descriptors."""
    children: int
    """Processes below it: the capture child, a system ffmpeg."""
    children_rss_mb: float


def typical(weights: Sequence[Weight]) -> Weight:
    """One weight for a stretch of time: the median of memory, the lowest of what is counted. What comes and goes (a
    file that is being rotated) is no leak; what leaks is in every reading."""
    return Weight(
        at_ns=weights[-1].at_ns,
        rss_mb=statistics.median(weight.rss_mb for weight in weights),
        threads=min(weight.threads for weight in weights),
        files=min(weight.files for weight in weights),
        children=min(weight.children for weight in weights),
        children_rss_mb=statistics.median(weight.children_rss_mb for weight in weights),
    )


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A published change: of the signal, an incident, a trouble."""

    received_ns: int
    event: str
    what: str
    """The signal's new state, or the incident."""
    text: str


class EngineProcess:
    """A context manager; leaves no process behind, not even after an error.

    Args:
        feed: What the engine shall watch.
        pipeline: Pipeline file, or the name of one that ships.
        folder: For sockets, journal and stamps.
        weighs: Whether its memory is read once a second; that takes 8 ms, and on a busy machine longer, in which
            nothing is received.

    Raises:
        SourceError: on `finish`, when the engine did not end as it should; with what it said.
    """

    def __init__(self, feed: FeedAt, pipeline: str, folder: Path, *, weighs: bool = True) -> None:
        self.weights: list[Weight] = []
        self.changes: list[Change] = []
        self.reasons: dict[str, int] = {}
        self.identity: dict[str, str] = {}
        """What judged: each bundle's fingerprint, and the pipeline's name and hash."""
        self._heard = array("q")
        self._weighs = weighs
        self._folder = folder
        self._captured = folder / "captured"
        self.address = f"ipc://{folder}/bus"
        order = WatchOrder(
            feed=feed,
            pipeline=pipeline,
            publish=self.address,
            folder=str(folder),
            captured=str(self._captured),
        )
        words = [sys.executable, "-m", "scopeline_bench.tapped_engine", msgspec.json.encode(order).decode()]
        with (folder / "engine.log").open("wb") as log:
            self._child = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        self._process = psutil.Process(self._child.pid)
        self._subscriber = Subscriber(order.publish, ("frame", "status"), heal=False)

    def listen(self, timeout_s: float) -> Message | None:
        """The next message, noted with the moment it came; None when none came in time."""
        message = self._subscriber.take(timeout_s)
        now_ns = time.monotonic_ns()
        if isinstance(message, StatusMessage):
            self.identity = {**message.models, "pipeline": f"{message.pipeline} {message.config}"}
        if isinstance(message, FrameMessage):
            judged = int(message.reason is None)
            if message.reason is not None:
                self.reasons[message.reason] = self.reasons.get(message.reason, 0) + 1
            stages = (round(message.stages_ms[name] * 1e6) for name in STAGES)
            self._heard.extend(
                (message.frame, message.captured_ns, message.published_ns, now_ns, judged, *stages)
            )
        elif isinstance(message, StatusMessage) and message.event in ("signal", "incident", "trouble"):
            what = message.signal if message.event == "signal" else message.incident or ""
            self.changes.append(Change(received_ns=now_ns, event=message.event, what=what, text=message.text))
        # Directly after a message, when the next is a frame's time away: weighing takes 2 ms.
        if self._weighs and (not self.weights or now_ns - self.weights[-1].at_ns > _WEIGH_EVERY_NS):
            self._weigh(now_ns)
        return message

    def listen_for(self, seconds: float) -> None:
        """Listen until so many seconds have passed or the engine has gone."""
        end_ns = time.monotonic_ns() + round(seconds * 1e9)
        while (left_s := (end_ns - time.monotonic_ns()) / 1e9) > 0 and not self.has_ended:
            self.listen(min(left_s, 0.1))

    def first_frame_ns(self, patience_s: float) -> int | None:
        """Listen until the first frame's result; when it came, None when none came in time."""
        end_ns = time.monotonic_ns() + round(patience_s * 1e9)
        while time.monotonic_ns() < end_ns and not self.has_ended:
            if isinstance(self.listen(0.1), FrameMessage):
                return int(self.heard[-1, 3])
        return None

    def weight_since(self, from_ns: int) -> Weight:
        """What it held from then on; its newest reading when there was none."""
        return typical([weight for weight in self.weights if weight.at_ns >= from_ns] or self.weights[-1:])

    @property
    def has_ended(self) -> bool:
        return self._child.poll() is not None

    @property
    def heard(self) -> Rows64:
        """Every frame's result so far, see `HEARD_COLUMNS`."""
        return np.array(self._heard, np.int64).reshape(-1, HEARD_COLUMNS)

    def captured(self) -> Rows64:
        """Everything that the tap wrote so far, see `CAPTURED_COLUMNS`."""
        return read_stamps(self._captured, CAPTURED_COLUMNS)

    def captured_reader(self) -> StampReader:
        """The same as it grows."""
        return StampReader(self._captured, CAPTURED_COLUMNS)

    def finish(self) -> EngineReport:
        """End the run, hear it out, and have its report."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        give_up_ns = time.monotonic_ns() + round(_FAREWELL_S * 1e9)
        while not self._subscriber.account.ended and time.monotonic_ns() < give_up_ns and not self.has_ended:
            self.listen(0.1)
        try:
            self._child.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            raise SourceError(f"the engine did not end within {_FAREWELL_S:.0f} s") from None
        said = self._child.stdout.read()
        if self._child.returncode or not said:
            why = self.last_words() or f"exit code {self._child.returncode}"
            raise SourceError(f"the engine's process failed: {why}")
        return msgspec.json.decode(said, type=EngineReport)

    def last_words(self) -> str:
        """The last line that it wrote to its standard error."""
        text = (self._folder / "engine.log").read_text(errors="replace").strip()
        return text.rsplit("\n", 1)[-1]

    def _weigh(self, now_ns: int) -> None:
        children_rss, count = 0, 0
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in descendants(self._process.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    children_rss += psutil.Process(child).memory_info().rss
                    count += 1
            self.weights.append(
                Weight(
                    at_ns=now_ns,
                    rss_mb=self._process.memory_info().rss / 1e6,
                    threads=self._process.num_threads(),
                    files=self._process.num_fds(),
                    children=count,
                    children_rss_mb=children_rss / 1e6,
                )
            )

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        below = []
        with contextlib.suppress(psutil.NoSuchProcess):
            below = self._process.children(recursive=True)
        for each in [self._process, *below]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self._child.wait()
        psutil.wait_procs(below, timeout=5)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        self._subscriber.close()
