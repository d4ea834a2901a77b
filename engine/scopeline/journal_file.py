"""JournalFile: one file that grows by whole records, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from scopeline.journal_record import LIMIT_BYTES

FOLDER_MODE: Final = 0o750
_FILE_MODE: Final = 0o640
"""Owner writes, group reads: results of procedures are nobody else's business."""
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)


class JournalFile:
    """A new file, open for appending. Belongs to one thread, except for `sync` and `close` after that thread let it go.

    Raises:
        OSError: it cannot be made, or there is one already.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self.spoiled = False
        """It cannot be gone on with: it was removed, or ends in a part of a record that would not go away."""
        self.descriptor = os.open(path, _FLAGS, _FILE_MODE)

    def append(self, content: bytes) -> None:
        """One write; what a failing one leaves of a part is taken back.

        Raises:
            OSError: the file is as it was before, or spoiled.
        """
        if len(content) > LIMIT_BYTES:
            raise OSError(errno.EFBIG, f"a record of {len(content)} bytes is longer than readers take")
        if os.fstat(self.descriptor).st_nlink == 0:  # 0.8 µs; else we would write into nothing
            self.spoiled = True
            raise OSError(errno.ENOENT, "the journal's file was removed")
        try:
            written = os.write(self.descriptor, content)
            if written != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            try:
                os.ftruncate(self.descriptor, self.size)
            except OSError:
                self.spoiled = True
            raise
        self.size += written

    def close(self) -> None:
        os.close(self.descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can (not on Windows).

    Raises:
        OSError: the disk did not take them.
    """
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return  # removed; the next record finds out
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
