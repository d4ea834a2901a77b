"""Join: the chunks of a recording, one after the other, through the concluding stage into a folder of results.

What one pass does as the frames come is done here from the records: smoothing, segments, messages. Memory does not grow
with the recording, and the order is that of the frames, so the messages are those of one pass but for run stamps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from scopeline.archive.chunk_file import FrameRecord, read_head, read_records, with_fields
from scopeline.archive.chunk_run import Abandoned
from scopeline.archive.stream_state import FRESH
from scopeline.assemble import Parts
from scopeline.conclude import Concluder, Moment
from scopeline.errors import SinkError
from scopeline.field_of_view import FieldOfView
from scopeline.latency import LatencyHistogram
from scopeline.ports import Sink
from scopeline.prediction import Prediction
from scopeline.prepare import Prepared
from scopeline.tally import END_OF_SOURCE
from scopeline.wire import LedgerReport, Message


def is_one_pass(chunks: Sequence[Path]) -> bool:
    """Whether every chunk began where, and in what state, the one before it ended."""
    state, picture = FRESH, None
    for number, path in enumerate(chunks):
        head = read_head(path)
        if head is None or head.begun != state or (number and head.first_picture != picture):
            return False
        state, picture = head.ended, head.next_picture
    return True


def join(
    chunks: Sequence[Path],
    parts: Parts,
    make_sink: Callable[[], Sink],
    *,
    stopped: threading.Event,
    hear: Callable[[int, float], None] = lambda frames, time_s: None,
) -> LedgerReport:
    """Let the concluding stage work on the records, and its messages go to the sink.

    Raises:
        Abandoned: `stopped` was set; the results are not complete.
        SinkError: a chunk is missing or damaged, or results cannot be written.
    """
    damaged: dict[str, int] = {}
    for path in chunks:
        head = read_head(path)
        if head is None:
            raise SinkError(
                f"{path}: wanted a chunk of the recording, it is gone; run the same command again"
            )
        for reason, count in head.damaged.items():
            damaged[reason] = damaged.get(reason, 0) + count
    with closing(parts.judge), closing(make_sink()) as sink:
        return _conclude(_frames(chunks), parts.concluder, sink.publish, damaged, stopped, hear)


def _conclude(
    frames: Iterator[tuple[FrameRecord, FieldOfView | None]],
    concluder: Concluder,
    publish: Callable[[Message], None],
    damaged: dict[str, int],
    stopped: threading.Event,
    hear: Callable[[int, float], None],
) -> LedgerReport:
    ledger, latency = _ledger(0, {}), LatencyHistogram()
    publish(concluder.status("started", "", Moment(time.monotonic_ns(), 0, ledger)))
    for number, (record, field) in enumerate(frames):
        if stopped.is_set():
            raise Abandoned
        now_ns, ledger = time.monotonic_ns(), _ledger(number + 1, {})
        born_ns = now_ns - record.infer_ns  # of this process's clock: the chunk may come from another machine
        prepared, prediction = _revived(number, born_ns, record, field)
        moment = Moment(now_ns, now_ns, ledger)
        for message in concluder.conclude(prepared, prediction, moment, record.masks):
            publish(message)
        latency.add((time.monotonic_ns() - born_ns) / 1e6)
        hear(number + 1, record.time_s)
    ledger = _ledger(ledger.captured, damaged)
    moment = Moment(time.monotonic_ns(), 0, ledger)
    for message in concluder.finish(moment):
        publish(message)
    publish(concluder.status("ended", END_OF_SOURCE, moment, latency.summary()))
    return ledger


def _frames(chunks: Sequence[Path]) -> Iterator[tuple[FrameRecord, FieldOfView | None]]:
    """All records in order; a geometry that goes on over a seam is the same object on both sides."""
    known: FieldOfView | None = None
    for path in chunks:
        for record, field in with_fields(read_records(path)):
            known = known if field == known else field
            yield record, known


def _revived(
    number: int, born_ns: int, record: FrameRecord, field: FieldOfView | None
) -> tuple[Prepared, Prediction]:
    prepared = Prepared(
        seq=number,
        captured_ns=born_ns,
        time_s=record.time_s,
        prepared_ns=born_ns + record.prepare_ns,
        field=field,
        event=record.event,
        views=(),
        reason=record.reason,
    )
    scores = {name: np.frombuffer(packed, np.float32) for name, packed in record.scores}
    # A prediction has scores, masks or a reason; the masks themselves stayed where they were judged.
    masks = dict.fromkeys(record.masks, _NO_PIXELS)
    return prepared, Prediction(
        seq=number,
        captured_ns=born_ns,
        time_s=record.time_s,
        scores=scores,
        reason=record.reason,
        quality=record.quality,
        masks=masks,
        judged_by=record.judged_by or {},
    )


def _ledger(frames: int, damaged: dict[str, int]) -> LedgerReport:
    return LedgerReport(captured=frames, published=frames, in_flight=0, lost={}, damaged=damaged)


_NO_PIXELS = np.empty((0, 0), np.float32)
