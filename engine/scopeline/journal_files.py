"""Journal files: `<journals>/<session>/<number>.journal`, one folder per session, numbered from 1."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scopeline.errors import ConfigError
from scopeline.journal_file import FOLDER_MODE

SUFFIX: Final = ".journal"
_NAME: Final = re.compile(r"(\d{6,})\.journal")


@dataclass(frozen=True, slots=True)
class SessionFolder:
    """The files of one session."""

    path: Path
    files: dict[int, Path]
    """By number, ascending; never empty."""
    bytes: int
    changed_ns: int
    """When the file system last saw one of them change."""

    @property
    def session(self) -> str:
        return self.path.name


def file_name(number: int) -> str:
    return f"{number:06d}{SUFFIX}"


def numbered_files(folder: Path) -> dict[int, Path]:
    """The journal files of a session's folder by number, ascending; empty when there are none.

    Raises:
        OSError: the folder cannot be read.
    """
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def session_folders(journals: Path) -> list[SessionFolder]:
    """The sessions in a folder of journals, the one that was written to last at the end.

    Raises:
        OSError: the folder cannot be read.
    """
    found = [_session_folder(path) for path in journals.iterdir() if path.is_dir()]
    return sorted((each for each in found if each), key=lambda each: (each.changed_ns, each.session))


def _session_folder(path: Path) -> SessionFolder | None:
    sizes, changes, files = 0, 0, {}
    for number, file in numbered_files(path).items():
        try:
            status = file.stat()
        except FileNotFoundError:
            continue  # deleted for room while we looked
        files[number] = file
        sizes, changes = sizes + status.st_size, max(changes, status.st_mtime_ns)
    return SessionFolder(path, files, sizes, changes) if files else None


def make_journals(folder: Path) -> None:
    """Makes the folder somebody named for journals where it is not there.

    A journal that fails later is told and nothing stops; a name that cannot be one is refused at once.

    Raises:
        ConfigError: it cannot be made, or this user cannot write there.
    """
    wanted = f"{folder}: wanted a folder for the journal"
    instead = "name another, or say --no-journal"
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{wanted}, cannot make it ({error.strerror or error}); {instead}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{wanted}, this user cannot write there; {instead}")


def default_journal() -> Path:
    """`$XDG_STATE_HOME/scopeline/journal`, by default `~/.local/state/scopeline/journal`."""
    return (
        Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "scopeline" / "journal"
    )
