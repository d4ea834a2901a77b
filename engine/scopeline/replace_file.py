"""Replace a file in one step: whoever reads it sees the old content or the new, never a part."""

from __future__ import annotations

import os
from pathlib import Path

from scopeline.errors import SinkError


def replace_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file beside its place and move it there.

    Args:
        path: Where it goes; its folder exists.
        content: All of it.
        durable: Wait until the disk has it, so that it survives a power cut.

    Raises:
        SinkError: it cannot be written.
    """
    beside = unfinished(path)
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise cannot_write(path, error) from error


def unfinished(path: Path) -> Path:
    """What `replace_file` writes to; it stays where the process is killed meanwhile."""
    return path.with_name(f".{path.name}.new")


def cannot_write(path: Path, error: OSError) -> SinkError:
    """The error to raise when results cannot be written."""
    why = error.strerror or str(error)
    return SinkError(f"{path}: results cannot be written ({why}); make room, or name another folder")
