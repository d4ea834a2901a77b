"""The options by which a client names its keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from scopeline.errors import ConfigError
from scopeline.keys import ClientKeys, client_keys

KeyOption: TypeAlias = Annotated[
    Path | None, typer.Option("--key", help="Secret key file of this client, if the engine asks for keys.")
]
ServerOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--server", help="The engine's public key, or its file; engine.public.toml beside --key if left out."
    ),
]


def keys_from(key: Path | None, server: str | None) -> ClientKeys | None:
    """The keys that the two options name; None without them.

    Raises:
        ConfigError: there is an engine's key and none of one's own, or a file is wrong.
    """
    if key is None:
        if server is not None:
            raise ConfigError("--server needs --key too: the client's own secret key file")
        return None
    return client_keys(key, server)
