"""ChunkPlan: where a long recording is cut, such that the pieces add up to one pass, digit by digit.

A chunk is decoded from a key frame on and begins with the first frame after it whose number is a multiple of the
batch: a runtime adds in another order for other batches, so every group of frames must be the one of one pass.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from scopeline.archive.stream_state import StreamState
from scopeline.field_tracker import next_look_s
from scopeline.quality import GateState
from scopeline.replace_file import replace_file
from scopeline.sources.packet_scan import Scan
from scopeline.sources.timeline import State, Timeline

FIRST_S: Final = 60.0
"""Length of the first chunk. It is short, because others can only be begun ahead of their turn when the field of view
has been found once."""
WARM_UP_LOOKS: Final = 42
"""Looks of the field tracker after which a locked one has forgotten what came before: 30 of its longest memory, 9 of
the running maximum that feeds it, and some to spare."""


class ChunkPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a recording is cut."""

    key: str
    """Hash of everything that decides the frames' results."""
    scan: Scan
    firsts: list[int]
    """Numbers of the chunks' first frames, from 0."""

    def __len__(self) -> int:
        return len(self.firsts)

    def span(self, index: int) -> tuple[int, int]:
        """Numbers of a chunk's first frame and of the first one after it."""
        ends = [*self.firsts[1:], len(self.scan.stamps)]
        return self.firsts[index], ends[index]

    def chunk_key(self, index: int) -> str:
        """What a chunk's file must say to be taken for this one."""
        text = f"{self.key} {self.span(index)} {self.scan.stamps[self.firsts[index]]}"
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def timeline_before(self, frame: int) -> State:
        """What the timeline remembers when a frame is about to come."""
        timeline = Timeline(self.scan.nominal_s)
        for number in range(frame):
            timeline.next(self.scan.stamp_s(number))
        return timeline.state

    def times_s(self, frames: int) -> list[float]:
        """Stream times of the first so many frames."""
        timeline = Timeline(self.scan.nominal_s)
        return [timeline.next(self.scan.stamp_s(number)) for number in range(frames)]


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How a chunk is begun ahead of its turn."""

    first: int
    """The frame from which it is prepared."""
    state: StreamState
    """What is taken for the state there."""


def cut(scan: Scan, key: str, *, chunk_s: float, batch: int) -> ChunkPlan:
    """A plan with chunks of about `chunk_s`; of one chunk only where the recording cannot be cut."""
    firsts = [0]
    least_s = min(FIRST_S, chunk_s)
    start_s = scan.stamp_s(0)
    for frame in scan.keys:
        first = -(-frame // batch) * batch
        if first >= len(scan.stamps):
            break
        if scan.stamp_s(first) - start_s >= least_s and first > firsts[-1]:
            firsts.append(first)
            start_s, least_s = scan.stamp_s(first), chunk_s
    return ChunkPlan(key=key, scan=scan, firsts=firsts)


def warm_up(plan: ChunkPlan, index: int, seed_index: int, seed: StreamState) -> WarmUp:
    """How to begin chunk `index` when only the state at the end of an earlier one, `seed_index`, is known.

    The tracker's looks are a matter of time stamps as long as nothing happens, so it is known on which frames it would
    look before the chunk; what it sees there fills its memory. If something did happen, the state will turn out to be
    another than that at the end of the chunk before, and this one is done again.
    """
    begin, first = plan.firsts[seed_index + 1], plan.firsts[index]
    times_s = plan.times_s(first)
    tracker = seed.preparer.tracker
    dues: list[float] = []
    due_s = tracker.due_s
    while (frame := bisect_left(times_s, due_s, begin)) < first:
        dues.append(due_s)
        due_s = next_look_s(tracker, times_s[frame])
    if len(dues) < WARM_UP_LOOKS:
        return WarmUp(begin, seed)
    latest = bisect_left(times_s, dues[-WARM_UP_LOOKS])
    frame = plan.scan.keys[bisect_right(plan.scan.keys, latest) - 1]
    if frame <= begin:
        return WarmUp(begin, seed)
    due_s = next(due for due in dues if due > times_s[frame - 1])
    state = seed.due_at(due_s).at_gate(GateState(None, 0.0, ())).at_time(plan.timeline_before(frame))
    return WarmUp(frame, state)


def write_plan(path: Path, plan: ChunkPlan) -> None:
    """Keep a plan beside its chunks.

    Raises:
        SinkError: it cannot be written.
    """
    replace_file(path, msgspec.msgpack.encode(plan))


def read_plan(path: Path, *, key: str) -> ChunkPlan | None:
    """The plan that was kept; None when there is none for these inputs."""
    try:
        plan = msgspec.msgpack.decode(path.read_bytes(), type=ChunkPlan)
    except (OSError, msgspec.DecodeError):
        return None
    return plan if plan.key == key else None
