"""`scopeline live`: judge a feed as it comes, the newest frame always winning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from scopeline.assemble import assemble
from scopeline.commands.interrupt import INTERRUPTED, stops_on_interrupt
from scopeline.config import load_pipeline
from scopeline.marks import Marks, marks_path, read_marks
from scopeline.ports import Source
from scopeline.simulation.procedure import simulate_procedure
from scopeline.sinks.zeromq import ZmqSink
from scopeline.sources.media import MediaSource
from scopeline.sources.synthetic import SyntheticSource
from scopeline.watch import render
from scopeline.watch_state import WatchState


def live(
    source: Annotated[str, typer.Argument(help="A recording, replayed at its own pace, or 'synthetic'.")],
    pipeline: Annotated[
        Path, typer.Option("--pipeline", "-p", help="Pipeline file, or the name of one that ships.")
    ] = Path("colonoscopy"),
    publish: Annotated[
        str | None, typer.Option(help="ZeroMQ address to publish on; the pipeline's when left out.")
    ] = None,
    wait_for_subscriber_s: Annotated[
        float, typer.Option(help="Seconds to wait for a first subscriber before frames are taken.")
    ] = 0.0,
) -> None:
    """Judge a live feed and stream every result over ZeroMQ. Ctrl-C ends it.

    For now the feed is a replayed recording or the synthetic procedure, exactly as if it came from a card: one
    frame may wait, newer frames replace it, and every frame given up is counted and published.
    """
    plan = load_pipeline(pipeline)
    address = publish or plan.publish.address
    feed, marks = _open(source)
    state = WatchState()
    view = Live(get_renderable=lambda: render(state), refresh_per_second=4, transient=True)

    def make_sink() -> ZmqSink:
        sink = ZmqSink(address, encoding=plan.publish.encoding)
        if wait_for_subscriber_s:
            sink.wait_for_subscriber(wait_for_subscriber_s)
        return sink

    engine = assemble(plan, feed, [make_sink], live=True, marks=marks, on_message=state.apply)
    console = Console()
    console.print(f"publishing on [bold]{address}[/]; follow it elsewhere with [bold]scopeline watch[/]")
    with stops_on_interrupt(engine), view:
        report = engine.run()
    console.print(render(state))
    lost = sum(report.ledger.lost.values())
    console.print(
        f"{report.ended} after {report.seconds:.1f} s: {report.ledger.captured} frames captured = "
        f"{report.ledger.published} published + {lost} lost {report.ledger.lost or ''}"
    )
    if report.ended == "stopped":
        raise typer.Exit(INTERRUPTED)


def _open(source: str) -> tuple[Source, Marks | None]:
    if source == "synthetic":
        return SyntheticSource(simulate_procedure(seed=7), live=True), None
    beside = marks_path(Path(source))
    return MediaSource(source, live=True), read_marks(beside) if beside.is_file() else None
