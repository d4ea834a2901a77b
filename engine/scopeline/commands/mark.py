"""`scopeline mark`: tell a running engine what the operator sees."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scopeline import pedal
from scopeline.commands.keyring import KeyOption, ServerOption, keys_from
from scopeline.control import MOST_AGE_MS, MarkRequest
from scopeline.endpoint import DEFAULT_CONTROL
from scopeline.marks import MarkKind


def mark(
    label: Annotated[
        str | None, typer.Argument(help="Location that begins here; with --biopsy or --freeze, a note.")
    ] = None,
    biopsy: Annotated[bool, typer.Option("--biopsy", help="A sample is taken here.")] = False,
    freeze: Annotated[bool, typer.Option("--freeze", help="The picture is frozen here.")] = False,
    ignore: Annotated[bool, typer.Option("--ignore", help="What follows does not count.")] = False,
    end: Annotated[bool, typer.Option("--end", help="End of the marked segment, or of --ignore.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Mark nothing; say who answers.")] = False,
    connect: Annotated[str, typer.Option(help="Where the engine's control listens.")] = DEFAULT_CONTROL,
    key: KeyOption = None,
    server: ServerOption = None,
    timeout_s: Annotated[float, typer.Option(help="Longest wait for the answer.", min=0.0)] = pedal.TIMEOUT_S,
) -> None:
    """Mark a moment in a running engine: scopeline mark rectum, scopeline mark --biopsy "two, at 30 cm".

    The mark counts from the moment at which this command was called, is
    published and kept, and overrides the model. Write no names into notes.
    How a foot pedal or a key is bound is in docs/operator.md.
    """
    asked: dict[MarkKind, bool] = {"biopsy": biopsy, "freeze": freeze, "ignore": ignore, "end": end}
    keys = keys_from(key, server)
    console = Console(soft_wrap=True)
    if check:
        there = pedal.status(connect, keys=keys, timeout_s=timeout_s)
        console.print(
            f"session {there.session}, Scopeline {there.version}, up for {there.uptime_s:.0f} s; {there.marks} marks "
            f"taken, {there.refused} messages refused; locations: {', '.join(there.locations) or 'any'}",
            highlight=False,
            markup=False,
        )
        return
    kind = _kind([each for each, wanted in asked.items() if wanted], label)
    request = MarkRequest(kind=kind, label=label, age_ms=min(MOST_AGE_MS, _running_for_ms()))
    taken = pedal.mark(connect, request, keys=keys, timeout_s=timeout_s)
    console.print(f"marked: {taken.kind} {taken.label or ''}".rstrip(), highlight=False, markup=False)


def _kind(chosen: list[MarkKind], label: str | None) -> MarkKind:
    if len(chosen) > 1:
        raise typer.BadParameter(f"one mark at a time; got --{' and --'.join(chosen)}")
    if not chosen and label is None:
        raise typer.BadParameter(
            "say what to mark: a location, --biopsy, --freeze, --ignore or --end; see --help"
        )
    kind: MarkKind = chosen[0] if chosen else "segment"
    if label is not None and kind in ("ignore", "end"):
        raise typer.BadParameter(f"--{kind} takes no text, got {label!r}")
    return kind


def _running_for_ms() -> float:
    """How long this process has run; 0 where the system does not say. Starting takes it a second on a busy machine."""
    with suppress(OSError, ValueError, AttributeError, IndexError):
        started_ticks = int(Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[19])
        started_s = started_ticks / os.sysconf("SC_CLK_TCK")
        return max(0.0, (time.clock_gettime(time.CLOCK_BOOTTIME) - started_s) * 1e3)
    return 0.0
