"""Stamps: rows of whole numbers that one process appends to a file and another reads, also after the first was killed.

A row is written with one call and belongs to the system from then on: a SIGKILL takes nothing back.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Rows64 = NDArray[np.int64]
"""(N, columns) int64."""


class StampWriter:
    """Appends rows; 2 µs each.

    Args:
        path: The file, made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("ab", buffering=0)

    def write(self, *row: int) -> None:
        """Append one row of 64-bit numbers."""
        self._file.write(np.array(row, np.int64).tobytes())

    def close(self) -> None:
        self._file.close()


class StampReader:
    """Reads what has been appended so far, once each row.

    Args:
        path: The file; it need not be there yet.
        columns: Numbers per row.
    """

    def __init__(self, path: Path, columns: int) -> None:
        self._path, self._columns, self._read = path, columns, 0

    def new(self) -> Rows64:
        """Rows that were added since the last call; a row that is being written waits for the next."""
        if not self._path.is_file():
            return np.empty((0, self._columns), np.int64)
        row_bytes = 8 * self._columns
        with self._path.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = len(content) // row_bytes * row_bytes
        self._read += whole
        return np.frombuffer(content[:whole], np.int64).reshape(-1, self._columns)


def read_stamps(path: Path, columns: int) -> Rows64:
    """Every row of a file; none when there is no file."""
    return StampReader(path, columns).new()
