"""`scopeline watch`: a running engine in the terminal."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from scopeline.commands.keyring import KeyOption, ServerOption, keys_from
from scopeline.subscriber import Subscriber
from scopeline.watch import WatchState, render
from scopeline.wire import DEFAULT_ADDRESS

_REFRESH_S: Final = 0.1


def watch(
    connect: Annotated[str, typer.Option(help="ZeroMQ address the engine publishes on.")] = DEFAULT_ADDRESS,
    once: Annotated[
        bool, typer.Option("--once", help="Wait for an engine, print one picture and end.")
    ] = False,
    messages: Annotated[int, typer.Option(min=1, help="With --once: draw after this many messages.")] = 100,
    svg: Annotated[
        Path | None, typer.Option(help="With --once: write the picture into this file too.")
    ] = None,
    key: KeyOption = None,
    server: ServerOption = None,
) -> None:
    """Follow a running engine: location, MES, quality, segments, latency, and what this view missed.

    Starts before or after the engine and outlives it. Ctrl-C leaves; the engine takes no notice.
    """
    console = Console(record=svg is not None)
    state = WatchState()
    with Subscriber(connect, keys=keys_from(key, server), heal=False) as subscriber:
        try:
            if once:
                _draw_once(console, subscriber, state, messages, svg)
            elif console.is_terminal:
                _follow(console, subscriber, state)
            else:
                raise typer.BadParameter("needs a terminal to draw on; use --once to print one picture")
        except KeyboardInterrupt:
            return


def _follow(console: Console, subscriber: Subscriber, state: WatchState) -> None:
    """Draw ten times a second for ever; between two pictures everything that has arrived is taken in."""
    with Live(render(state, subscriber.address), console=console, screen=True, auto_refresh=False) as live:
        while True:
            _take_in(subscriber, state, time.monotonic() + _REFRESH_S)
            live.update(render(state, subscriber.address), refresh=True)


def _take_in(subscriber: Subscriber, state: WatchState, end_s: float) -> None:
    while (left_s := end_s - time.monotonic()) > 0:
        message = subscriber.take(left_s)
        if message is not None:
            state.apply(message)


def _draw_once(
    console: Console, subscriber: Subscriber, state: WatchState, messages: int, svg: Path | None
) -> None:
    errors, waiting = Console(stderr=True), f"waiting for {messages} messages on {subscriber.address}"
    if not errors.is_terminal:
        errors.print(waiting, soft_wrap=True)
    with errors.status(waiting):
        for _, message in zip(range(messages), subscriber, strict=False):
            state.apply(message)
    console.print(render(state))
    if svg is not None:
        drawing = console.export_svg(title="scopeline watch")
        # The library's template loads its font over the network; a picture in a folder must not.
        svg.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL), "utf-8")
