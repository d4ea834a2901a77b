"""`scopeline devices`: the capture devices of this machine, and what each can deliver."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scopeline.devices import Device, Listing, Mode, choose_format, list_devices, rates_text, size_text
from scopeline.errors import ConfigError


def devices(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List capture devices with their formats, sizes and rates, and what a live run would ask of them.

    Network streams and raw pipes need no device. The exit code is 0 also
    when there is none.
    """
    listing = list_devices()
    if as_json:
        print(json.dumps(asdict(listing), indent=1))
    else:
        show(Console(), listing)


def show(console: Console, listing: Listing) -> None:
    """Print the list for people."""
    if not listing.devices:
        console.print(Text("no capture device", style="bold yellow"))
        console.print(Text(f"→ {listing.explanation}", style="yellow"))
    for device in listing.devices:
        console.print(Text.assemble((device.address, "bold cyan"), "  ", (device.name, "bold")))
        if device.modes:
            console.print(_table(device.modes))
        if device.trouble:
            console.print(Text(f"→ {device.trouble}", style="yellow"))
        elif device.modes:
            console.print(Text(f"→ {_advice(device)}", style="green"))
        console.print()


def _table(modes: tuple[Mode, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2))
    table.add_column("format", no_wrap=True)
    table.add_column("size", no_wrap=True)
    table.add_column("pictures per second", overflow="fold")
    last = ""
    for mode in modes:
        table.add_row(
            "" if mode.input_format == last else mode.input_format,
            size_text(mode),
            rates_text(mode) or "not said",
        )
        last = mode.input_format
    return table


def _advice(device: Device) -> str:
    try:
        choice = choose_format(device.modes)
    except ConfigError as error:
        return str(error)
    address = device.address if " " not in device.address else f"'{device.address}'"
    rate = f" --rate {choice.rate_hz:g}" if choice.rate_hz else ""
    width, height = choice.size_px
    return (
        f"scopeline live {address} --input-format {choice.input_format} --size {width}x{height}{rate}\n"
        f"  ({choice.why})"
    )
