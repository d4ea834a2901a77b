"""`scopeline keys`: who may connect to an engine from another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from scopeline.errors import ConfigError
from scopeline.keys import ENGINE, ROLES, KeyFolder, Role, public_key, read_pair

keys = typer.Typer(
    no_args_is_help=True,
    help="Keys for connections from other machines: make them, allow and revoke clients. See docs/operator.md.",
)

_Folder = Annotated[
    Path | None, typer.Option("--folder", help="Folder of the keys; ~/.config/scopeline/keys when left out.")
]
_Operator = Annotated[
    bool, typer.Option("--operator", help="A key that may set marks, instead of one that may read.")
]


@keys.command("new")
def new_key(
    name: Annotated[str, typer.Argument(help="Name of the client, or 'engine' for the engine's own keys.")],
    operator: _Operator = False,
    folder: _Folder = None,
) -> None:
    """Make a key pair, and say what belongs where."""
    place = KeyFolder(folder)
    place.create(name)
    secret, public = place.secret_file(name), place.public_file(name)
    if name == ENGINE:
        _say(
            f"made the engine's keys in {place.path}",
            f"{secret.name} stays here: scopeline live --keys {place.path} ...",
            f"{public.name} goes to every machine that shall connect, beside that client's own secret key.",
        )
        return
    _say(
        f"made {secret} and {public}",
        f"{secret.name} belongs on the machine of {name} and nowhere else; put engine.public.toml of the engine's "
        "machine beside it.",
        f"{public.name} belongs on the engine's machine, to be allowed there:",
        f"    scopeline keys allow {public.name}{' --operator' if operator else ''}",
        f"{name} then connects with: scopeline {'mark' if operator else 'watch'} --key {secret.name} ...",
    )


@keys.command("allow")
def allow_key(
    key: Annotated[
        str, typer.Argument(help="A client's public key file, or the key itself (40 characters).")
    ],
    operator: _Operator = False,
    name: Annotated[str | None, typer.Option(help="Name on the list; the file's when left out.")] = None,
    folder: _Folder = None,
) -> None:
    """Let a client in: to read, or with --operator to set marks. A running engine knows at once."""
    role: Role = "operators" if operator else "subscribers"
    known, public = public_key(key)
    if (name or known) is None:
        raise ConfigError("a bare key has no name: give one with --name, by which it can be revoked")
    entry = KeyFolder(folder).allow(str(name or known), public, role)
    _say(f"{entry.stem} may now {_MAY[role]}")


@keys.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(help="Name on the list.")],
    operator: Annotated[
        bool, typer.Option("--operator", help="Only the right to set marks; all rights when left out.")
    ] = False,
    folder: _Folder = None,
) -> None:
    """Take a client off the list. It cannot connect again, and can ask or mark nothing more at once.

    A connection of a reader that stands goes on receiving until it is
    broken; restart the engine to break it.
    """
    for role in KeyFolder(folder).revoke(name, ("operators",) if operator else ROLES):
        _say(f"{name} may no longer {_MAY[role]}")


@keys.command("list")
def list_keys(folder: _Folder = None) -> None:
    """Show the engine's public key and who is allowed."""
    place = KeyFolder(folder)
    engine = place.secret_file(ENGINE)
    if engine.is_file():
        _say(f"the engine's public key: {read_pair(engine).public.decode()}")
    else:
        _say(f"no engine's keys in {place.path}; make them: scopeline keys new {ENGINE}")
    table = Table("name", "may", "public key")
    for role in ROLES:
        for name, public in place.allowed(role):
            table.add_row(name, _MAY[role], public.decode().replace("[", "\\["))
    if table.row_count:
        Console().print(table)


_MAY: dict[Role, str] = {"subscribers": "read", "operators": "set marks"}


def _say(*lines: str) -> None:
    console = Console(soft_wrap=True)
    for line in lines:
        console.print(line, highlight=False, markup=False)
