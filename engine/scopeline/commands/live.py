"""`scopeline live`: judge a feed as it comes, the newest frame always winning."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from scopeline.assemble import assemble
from scopeline.commands.interrupt import INTERRUPTED, stops_on_interrupt
from scopeline.config import load_pipeline
from scopeline.errors import ConfigError
from scopeline.marks import Marks, marks_path, read_marks
from scopeline.ports import Source
from scopeline.simulation.procedure import simulate_procedure
from scopeline.sinks.zeromq import ZmqSink
from scopeline.sources.media import MediaSource
from scopeline.sources.synthetic import SyntheticSource
from scopeline.watch import render
from scopeline.watch_state import WatchState
from scopeline.wire import DEFAULT_ADDRESS

_PATIENCE_S: Final = 0.2


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

    For now the feed is a replayed recording or the synthetic procedure,
    exactly as if it came from a card: one frame may wait, newer frames
    replace it, and every frame given up is counted and published. Nothing
    is written to disk. Marks beside a recording count here too. The
    synthetic procedure takes some seconds to begin.
    """
    plan = load_pipeline(pipeline)
    state, console = WatchState(), Console()
    view = Live(get_renderable=lambda: render(state), console=console, refresh_per_second=4, transient=True)

    def make_sink() -> ZmqSink:
        sink = ZmqSink(publish or plan.publish.address, encoding=plan.publish.encoding)
        follow = "" if sink.address == DEFAULT_ADDRESS else f" --connect {sink.address}"
        console.print(
            f"publishing on [bold]{sink.address}[/]; follow it elsewhere with [bold]scopeline watch{follow}[/]"
        )
        wait_until_s = time.monotonic() + wait_for_subscriber_s
        # In short waits, so that Ctrl-C is heard: nothing but the thread that waits may touch its socket.
        while not engine.stop_asked and time.monotonic() < wait_until_s:
            if sink.wait_for_subscriber(_PATIENCE_S):
                break
        return sink

    marks = _marks(source)
    with closing(_open(source)) as feed:
        engine = assemble(plan, feed, [make_sink], live=True, marks=marks, on_message=state.apply)
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


def _open(source: str) -> Source:
    if source == "synthetic":
        return SyntheticSource(simulate_procedure(seed=7), live=True)
    if source.startswith("/dev/"):
        raise ConfigError(
            f"{source}: capture cards are not supported yet; wanted a recording to replay, or 'synthetic'"
        )
    return MediaSource(source, live=True)


def _marks(source: str) -> Marks | None:
    beside = marks_path(Path(source))
    return read_marks(beside) if beside.is_file() else None
