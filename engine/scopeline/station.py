"""Station: what stands around a live engine: sockets for readers and operators, the journal, metrics, the state log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import zmq

from scopeline.assemble import assemble, installed_version, location_labels, new_session
from scopeline.config import Pipeline
from scopeline.control import Control
from scopeline.desk import Desk
from scopeline.endpoint import ZmqContext
from scopeline.engine import Engine
from scopeline.journal import Journal
from scopeline.journal_keeper import JournalKeeper
from scopeline.keys import EngineKeys
from scopeline.live_marks import LiveMarks
from scopeline.marks import Marks
from scopeline.metrics import Metrics
from scopeline.metrics_page import MetricsPage
from scopeline.notices import Notices
from scopeline.ports import Companion, Sink, Source
from scopeline.replay import Replayer
from scopeline.sinks.journal import JournalSink
from scopeline.sinks.metrics import MetricsSink
from scopeline.sinks.state_log import StateLogSink
from scopeline.sinks.zeromq import ZmqSink
from scopeline.wire import Encoding, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class StationPlan:
    """What shall stand around an engine, and where. None: it is not wanted."""

    publish: str
    encoding: Encoding = "json"
    control: str | None = None
    replay: str | None = None
    """Needs a journal."""
    journal: Path | None = None
    """Folder under which every run gets one of its own."""
    keys: EngineKeys | None = None
    metrics: str | None = None
    """Host and port of the page for Prometheus."""
    log: Path | None = None
    """File for one line of JSON per change of state."""


@contextmanager
def station(
    pipeline: Pipeline,
    source: Source,
    notices: Notices,
    plan: StationPlan,
    *,
    recorded_marks: Marks | None = None,
    on_publishing: Callable[[ZmqSink], None] = lambda sink: None,
    on_message: Callable[[Message], None] | None = None,
) -> Iterator[tuple[Engine, Desk]]:
    """A live engine with everything around it, ready to run once; all of it is given back at the end of the block.

    Args:
        pipeline: The set-up.
        source: Where frames come from; closed by the run, and by the caller when there is none.
        notices: The same that the source posts to.
        plan: What shall stand around it.
        recorded_marks: Marks beside a recording that is replayed.
        on_publishing: Called in the concluding thread when the publishing socket stands, before the first frame.
        on_message: Called with every message, in the concluding thread.

    Raises:
        BundleError, BackendError, ConfigError: the pipeline is wrong.
        SinkError: an address is wrong or taken, or could be reached by strangers without keys.
    """
    session = new_session()
    with ExitStack() as stack:
        context: ZmqContext = zmq.Context()
        stack.callback(context.term)
        marks = LiveMarks(recorded_marks)
        journal = Journal(plan.journal, version=installed_version()) if plan.journal else None
        control = Control(
            marks,
            notices,
            session=session,
            version=installed_version(),
            locations=location_labels(pipeline),
        )
        desk = stack.enter_context(
            Desk(
                context,
                control=(plan.control, control) if plan.control else None,
                replay=(plan.replay, Replayer(journal)) if plan.replay and journal else None,
                keys=plan.keys,
            )
        )
        companions: list[Companion] = [desk]
        sinks: list[Callable[[], Sink]] = []
        if journal is not None:
            companions.append(JournalKeeper(journal, notices))
            # First: what a reader has, the journal has.
            sinks.append(lambda: JournalSink(journal, notices))
        published: list[ZmqSink] = []
        sinks.append(_publisher(plan, context, on_publishing, published))
        if plan.log is not None:
            sinks.append(partial(StateLogSink, plan.log, with_wall_clock=pipeline.publish.wall_clock))
        if plan.metrics is not None:
            metrics = Metrics(
                version=installed_version(), config=pipeline.hash, waiting=lambda: engine.waiting
            )
            companions.append(stack.enter_context(MetricsPage(plan.metrics, metrics.page)))
            sinks.append(lambda: MetricsSink(metrics, published[0].subscribers))
        engine = assemble(
            pipeline,
            source,
            sinks,
            live=True,
            marks=marks,
            on_message=on_message,
            notices=notices,
            companions=companions,
            session=session,
            replay=desk.replay_address,
        )
        yield engine, desk


def _publisher(
    plan: StationPlan,
    context: ZmqContext,
    on_publishing: Callable[[ZmqSink], None],
    published: list[ZmqSink],
) -> Callable[[], Sink]:
    def make() -> ZmqSink:
        sink = ZmqSink(plan.publish, encoding=plan.encoding, context=context, keys=plan.keys)
        published.append(sink)
        try:
            on_publishing(sink)
        except BaseException:
            sink.close()
            raise
        return sink

    return make
