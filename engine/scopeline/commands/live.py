"""`scopeline live`: judge a feed as it comes, the newest frame always winning."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from scopeline.commands.interrupt import INTERRUPTED, stops_on_interrupt
from scopeline.config import load_pipeline
from scopeline.endpoint import DEFAULT_CONTROL, DEFAULT_REPLAY
from scopeline.journal_files import default_journal, make_journals
from scopeline.keys import EngineKeys, KeyFolder
from scopeline.marks import Marks, marks_path, read_marks
from scopeline.notices import Notices
from scopeline.ports import Source
from scopeline.sinks.zeromq import ZmqSink
from scopeline.sources.address import FeedOptions, RecordingFeed, parse_address, parse_size
from scopeline.sources.device_options import device_options
from scopeline.sources.fault_scenario import read_scenario
from scopeline.sources.faults import FaultSource
from scopeline.sources.open_feed import open_feed
from scopeline.station import StationPlan, station
from scopeline.watch import render
from scopeline.watch_state import WatchState
from scopeline.wire import DEFAULT_ADDRESS, Message, StatusMessage

_PATIENCE_S: Final = 0.2
_FEED, _SOCKETS, _RECORD = "Feed", "Sockets", "What is kept"


def live(
    source: Annotated[
        str,
        typer.Argument(
            help="/dev/video0, dshow:NAME, avfoundation:NAME, decklink:NAME, rtsp://, udp://, rtp://, tcp://, rtmp://, "
            "http://, srt://, rist://, raw:PATH, raw:- (standard input), ffmpeg:'ARGUMENTS', a recording to replay, "
            "or 'synthetic'."
        ),
    ],
    pipeline: Annotated[
        Path, typer.Option("--pipeline", "-p", help="Pipeline file, or the name of one that ships.")
    ] = Path("colonoscopy"),
    size: Annotated[
        str | None,
        typer.Option(help="Picture size, as 1920x1080; devices and raw pipes.", rich_help_panel=_FEED),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Pictures per second to ask a device for.", rich_help_panel=_FEED)
    ] = None,
    input_format: Annotated[
        str | None,
        typer.Option(
            help="What a device shall deliver: mjpeg, yuyv422, nv12, uyvy422.", rich_help_panel=_FEED
        ),
    ] = None,
    pixel_format: Annotated[
        str | None,
        typer.Option(
            help="What comes through a raw pipe: yuyv422, uyvy422, nv12, yuv420p, bgr24, rgb24.",
            rich_help_panel=_FEED,
        ),
    ] = None,
    rtsp_transport: Annotated[
        str | None, typer.Option(help="tcp (when left out) or udp.", rich_help_panel=_FEED)
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option(
            help="Scenario of faults to play into the feed, for rehearsals (docs/capture.md).",
            rich_help_panel=_FEED,
        ),
    ] = None,
    publish: Annotated[
        str | None,
        typer.Option(help="Address to publish on; the pipeline's when left out.", rich_help_panel=_SOCKETS),
    ] = None,
    control: Annotated[
        str, typer.Option(help="Address at which `scopeline mark` is heard.", rich_help_panel=_SOCKETS)
    ] = DEFAULT_CONTROL,
    replay: Annotated[
        str,
        typer.Option(help="Address at which readers ask for what they missed.", rich_help_panel=_SOCKETS),
    ] = DEFAULT_REPLAY,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="Folder of keys (scopeline keys); needed for addresses that other machines can reach.",
            rich_help_panel=_SOCKETS,
        ),
    ] = None,
    wait_for_subscriber_s: Annotated[
        float,
        typer.Option(
            help="Seconds to wait for a first subscriber before frames are taken.", rich_help_panel=_SOCKETS
        ),
    ] = 0.0,
    metrics: Annotated[
        str | None,
        typer.Option(help="Offer Prometheus metrics here, as 127.0.0.1:9464.", rich_help_panel=_SOCKETS),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            help="Folder of journals; in the user's state folder when left out.", rich_help_panel=_RECORD
        ),
    ] = None,
    no_journal: Annotated[
        bool,
        typer.Option(
            "--no-journal", help="Keep none: readers cannot get what they missed.", rich_help_panel=_RECORD
        ),
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option(help="File for one line of JSON per change of state.", rich_help_panel=_RECORD),
    ] = None,
) -> None:
    """Judge a live feed and stream every result over ZeroMQ. Ctrl-C ends it.

    The newest frame always wins: one may wait, newer ones replace it, and
    every frame given up is counted and published. A lost or dead signal is
    told within half a second and tried again for ever; while it lasts the
    published state is "not assessable", never the last tag.

    Every published message also goes into a journal, from which readers get
    what they missed. It holds no pixels. Research use only.
    """
    plan = load_pipeline(pipeline)
    options = FeedOptions(
        size_px=parse_size(size) if size else None,
        rate_hz=rate,
        input_format=input_format,
        pixel_format=pixel_format,
        rtsp_transport=rtsp_transport,
    )
    options, why = device_options(source, options)
    address = parse_address(source, options)
    surroundings = StationPlan(
        publish=publish or plan.publish.address,
        encoding=plan.publish.encoding,
        control=control,
        replay=None if no_journal else replay,
        journal=None if no_journal else journal or default_journal(),
        keys=EngineKeys(KeyFolder(keys)) if keys else None,
        metrics=metrics,
        log=log,
    )
    state, console, notices = WatchState(), Console(), Notices()
    if why:
        console.print(f"asking the card for {why}", markup=False, soft_wrap=True)

    def heard(message: Message) -> None:
        state.apply(message)
        if isinstance(message, StatusMessage) and not console.is_terminal:
            _log(console, message)

    def publishing(sink: ZmqSink) -> None:
        follow = "" if sink.address == DEFAULT_ADDRESS else f" --connect {sink.address}"
        console.print(
            f"publishing on [bold]{sink.address}[/]; follow it elsewhere with [bold]scopeline watch{follow}[/]",
            soft_wrap=True,
        )
        wait_until_s = time.monotonic() + wait_for_subscriber_s
        # In short waits, so that Ctrl-C is heard: nothing but the thread that waits may touch its socket.
        while not engine.stop_asked and time.monotonic() < wait_until_s:
            if sink.wait_for_subscriber(_PATIENCE_S):
                break

    if journal is not None and not no_journal:
        make_journals(journal)
    with ExitStack() as stack:
        feed: Source = stack.enter_context(closing(open_feed(address, notices)))
        if faults is not None:
            feed = FaultSource(feed, read_scenario(faults), notices, live=True)
        engine, desk = stack.enter_context(
            station(
                plan,
                feed,
                notices,
                surroundings,
                recorded_marks=_marks(address.place) if isinstance(address, RecordingFeed) else None,
                on_publishing=publishing,
                on_message=heard,
            )
        )
        console.print(f"marks are heard on {desk.control_address}: scopeline mark LOCATION")
        if surroundings.journal is not None:
            console.print(f"journal in {surroundings.journal}", soft_wrap=True)
        with stops_on_interrupt(engine), _view(state, console):
            report = engine.run()
    if console.is_terminal:
        console.print(render(state))
    lost = report.ledger.lost
    why = f" ({', '.join(f'{count} {reason}' for reason, count in lost.items())})" if lost else ""
    console.print(
        f"{report.ended} after {report.seconds:.1f} s: {report.ledger.captured} frames captured = "
        f"{report.ledger.published} published + {sum(lost.values())} lost{why}"
    )
    if report.ended == "stopped":
        raise typer.Exit(INTERRUPTED)


def _view(state: WatchState, console: Console) -> AbstractContextManager[object]:
    if not console.is_terminal:  # a service: lines for its log instead of a picture
        return nullcontext()
    return Live(get_renderable=lambda: render(state), console=console, refresh_per_second=4, transient=True)


def _log(console: Console, status: StatusMessage) -> None:
    """One line per change of state."""
    if status.event != "running":
        what = status.signal if status.event == "signal" else status.incident or status.event
        console.print(f"{what}: {status.text}" if status.text else what, markup=False, soft_wrap=True)


def _marks(recording: str) -> Marks | None:
    beside = marks_path(Path(recording))
    return read_marks(beside) if beside.is_file() else None
