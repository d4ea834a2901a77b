"""The commands. The engine's own are here; training, calibration and bench add theirs as entry points.

Exit codes: 0 done, 1 something failed (said on stderr), 2 wrong usage or configuration, 130 interrupted;
of training, 143 ended by SIGTERM.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer
from rich.console import Console

from scopeline.assemble import installed_version
from scopeline.commands.batch import batch
from scopeline.commands.demo import demo
from scopeline.commands.devices import devices
from scopeline.commands.doctor import doctor
from scopeline.commands.journal import journal
from scopeline.commands.keys import keys
from scopeline.commands.live import live
from scopeline.commands.mark import mark
from scopeline.commands.model import model
from scopeline.commands.watch import watch
from scopeline.errors import ConfigError, ScopelineError

ENTRY_POINTS = "scopeline.commands"
"""Group in which other packages offer commands; a dot in the name makes a sub-command (`evaluate.field`)."""

_EPILOG = "Research use only. Not a medical device."


def build() -> typer.Typer:
    """The command line with everything that is installed."""
    app = typer.Typer(
        name="scopeline",
        help="Real-time video inference for endoscopy: field of view, quality, organ and Mayo sub-score per "
        "segment, streamed over ZeroMQ. Research use only.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=_EPILOG,
    )
    app.callback()(_root)
    for command in (demo, batch, live, watch, mark, devices, doctor):
        app.command(epilog=_EPILOG)(command)
    app.add_typer(model, name="model")
    app.add_typer(journal, name="journal")
    app.add_typer(keys, name="keys")
    _add_entry_points(app)
    _let_helps_flow(app)
    return app


def _let_helps_flow(app: typer.Typer) -> None:
    """Paragraphs of docstrings are broken where the source is; a terminal has a width of its own."""
    for command in app.registered_commands:
        if command.help is None and command.callback is not None:
            paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
            command.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _let_helps_flow(group.typer_instance)


def _add_entry_points(app: typer.Typer) -> None:
    groups: dict[str, typer.Typer] = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        group, _, name = entry.name.rpartition(".")
        if group and group not in groups:
            groups[group] = typer.Typer(no_args_is_help=True, help=_GROUP_HELP.get(group))
            app.add_typer(groups[group], name=group)
        (groups[group] if group else app).command(name, epilog=_EPILOG)(_load(entry))


def _load(entry: EntryPoint) -> Callable[..., None]:
    """The command behind an entry point; one that cannot be imported must not take the others with it."""
    try:
        command: Callable[..., None] = entry.load()
    except (ImportError, AttributeError) as error:  # the latter: installed from another version
        reason = f"the command is offered by {entry.value}, which cannot be imported: {error}"

        def unavailable() -> None:
            raise ConfigError(reason)

        unavailable.__doc__ = "Not available here; call it to see why."
        return unavailable
    return command


_GROUP_HELP = {
    "bench": "Measure cost, memory, delay, and what slow readers, dying senders and strangers do.",
    "calibrate": "Fit, measure and prove what the engine needs beside weights, and write it where the engine reads it.",
    "evaluate": "Measure a part of Scopeline against known truth and print the figures.",
}


def _show_version(asked: bool) -> None:
    if asked:
        print(f"scopeline {installed_version()}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and end.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every error Scopeline knows ends in one clear line and an exit code."""
    try:
        build()()
    except ScopelineError as error:
        console = Console(stderr=True, soft_wrap=True)
        console.print("[bold red]error:[/] ", end="")
        console.print(str(error), highlight=False, markup=False)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
