"""ChunkRun: one stretch of a recording through decoding, preparing and judging, into a chunk file."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Final

import numpy as np

from scopeline.archive.chunk_file import ChunkHead, ChunkWriter, FrameRecord
from scopeline.archive.stream_state import FRESH, StreamState, digest
from scopeline.assemble import Parts
from scopeline.crew import Crew
from scopeline.errors import SourceError
from scopeline.field_of_view import FieldOfView
from scopeline.frame import Frame
from scopeline.groups import in_groups
from scopeline.mask_results import tell_masks
from scopeline.picture import Picture, Resizer
from scopeline.prediction import Prediction
from scopeline.prepare import Prepared
from scopeline.sources.stretch import StretchSource
from scopeline.sources.timeline import State

_LOOK_PX: Final = 256
"""Pictures are compared when shrunk to this width and height: the whole of them counts, whatever their format."""


class Abandoned(Exception):
    """The run was stopped before its end; it leaves nothing."""


class ChunkRun:
    """Works on frames `first` to `end`. Runs once.

    Args:
        source: The frames, from the warm-up on.
        parts: Fresh ones; closed at the end.
        first: Number of the first frame that counts; those before only warm up.
        end: Number of the first frame that does not belong to the chunk any more.
        state: What is remembered before the source's first frame; None at the start of a recording.
        timeline: What the timeline remembers before frame `first`.
        batch: Frames per inference.
        rle: Whether masks are told as run lengths too.
        hear: Called with the number of frames done and the newest stream time.
        decoded: Called when the last picture has been decoded.
    """

    def __init__(
        self,
        source: StretchSource,
        parts: Parts,
        *,
        first: int,
        end: int,
        state: StreamState | None,
        timeline: State,
        batch: int,
        rle: bool,
        hear: Callable[[int, float], None] = lambda frames, time_s: None,
        decoded: Callable[[], None] = lambda: None,
    ) -> None:
        self._source, self._parts = source, parts
        self._first, self._end, self._timeline, self._batch, self._rle = first, end, timeline, batch, rle
        self._hear, self._decoded = hear, decoded
        if state is not None:
            parts.preparer.restore(state.preparer)
            parts.judge.restore(state.last_asked)
        self._writer = ChunkWriter()
        self._look = Resizer(_LOOK_PX, _LOOK_PX)
        self._stopped = threading.Event()
        self._begun, self._first_picture = FRESH, ""
        self._next_picture: str | None = None
        self._field: FieldOfView | None = None
        self._judged_by: dict[str, str] = {}

    def stop(self) -> None:
        """End early. From any thread."""
        self._stopped.set()
        self._source.close()

    def run(self, key: str, index: int, seed_era: str | None) -> tuple[ChunkHead, ChunkWriter, StreamState]:
        """Everything that goes into the chunk's file.

        Raises:
            Abandoned: `stop` was called.
            NotInPieces: the recording is not the sum of its chunks.
            ScopelineError: a stage failed.
        """
        started_ns = time.monotonic_ns()
        with (
            closing(self._parts.judge),
            closing(self._source),
            Crew(on_failure=self._abandon) as crew,
        ):
            for companion in self._parts.companions:
                crew.start(companion.name, companion.work)
            crew.start("chunk", self._work)
        if self._stopped.is_set():
            raise Abandoned
        if self._writer.frames != self._end - self._first:
            raise SourceError(
                f"{self._source.name}: wanted {self._end - self._first} frames from {self._first} on, "
                f"got {self._writer.frames}; was it changed meanwhile?"
            )
        parts = self._parts
        end = StreamState(self._source.timeline, parts.preparer.state(), parts.judge.last_asked())
        head = ChunkHead(
            key=key,
            index=index,
            frames=self._writer.frames,
            begun=self._begun,
            ended=digest(end.encoded()),
            seed_era=seed_era,
            era=end.era,
            first_picture=self._first_picture,
            next_picture=self._next_picture,
            damaged=dict(self._source.damaged),
            seconds=(time.monotonic_ns() - started_ns) / 1e9,
        )
        return head, self._writer, end

    def _dismiss(self) -> None:
        for companion in self._parts.companions:
            companion.stop()

    def _abandon(self) -> None:
        self._dismiss()
        self._source.close()

    def _work(self) -> None:
        """One thread does everything, as in any run in bulk."""
        try:
            for batch in in_groups(self._prepared(), self._batch):
                self._judge(batch)
        finally:
            self._dismiss()

    def _frames(self) -> Iterator[Frame]:
        try:
            yield from self._source.frames()
        finally:
            self._decoded()

    def _prepared(self) -> Generator[Prepared, None, None]:
        preparer = self._parts.preparer
        for frame in self._frames():
            if frame.seq == self._end:
                self._next_picture = self._digest(frame.picture)
                continue
            if frame.seq == self._first:
                self._begin(frame.picture)
            prepared = preparer.prepare(frame)
            if frame.seq < self._first:
                preparer.release(prepared.views)
            else:
                yield prepared

    def _begin(self, picture: Picture) -> None:
        self._first_picture = self._digest(picture)
        if self._first > 0:
            # The judge is not at work yet: it remembers what it was given.
            parts = self._parts
            state = StreamState(self._timeline, parts.preparer.state(), parts.judge.last_asked())
            self._begun = digest(state.encoded())
            self._field = None

    def _digest(self, picture: Picture) -> str:
        pixels = self._look(picture)
        return f"sha256:{hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]}"

    def _judge(self, batch: list[Prepared]) -> None:
        predictions = self._parts.judge.judge(batch)
        now_ns = time.monotonic_ns()
        for prepared, prediction in zip(batch, predictions, strict=True):
            self._parts.preparer.release(prepared.views)
            self._record(prepared, prediction, now_ns)
        self._hear(self._writer.frames, batch[-1].time_s)

    def _news_of_runtimes(self, prediction: Prediction) -> dict[str, str] | None:
        """A runtime can change in the middle of a run."""
        if not prediction.judged_by or prediction.judged_by == self._judged_by:
            return None
        self._judged_by = dict(prediction.judged_by)
        return self._judged_by

    def _record(self, prepared: Prepared, prediction: Prediction, now_ns: int) -> None:
        field = prepared.field
        masks = {}
        if prediction.masks and field is not None:
            masks = tell_masks(self._parts.tracers, prediction, field, rle=self._rle)
        same = self._writer.frames > 0 and field is self._field
        self._field = field
        self._writer.add(
            FrameRecord(
                prepared.time_s,
                prediction.reason,
                prediction.quality,
                [
                    (name, np.asarray(scores, np.float32).tobytes())
                    for name, scores in prediction.scores.items()
                ],
                masks,
                prepared.prepared_ns - prepared.captured_ns,
                now_ns - prepared.captured_ns,
                None if same else field,
                same,
                prepared.event,
                self._news_of_runtimes(prediction),
            )
        )
