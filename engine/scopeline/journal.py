"""Journal: every published message of a session in files that only grow, checksummed and chained.

A record is in the kernel's hands, in one write, before `append` returns: what is published afterwards survives the
end of this process, however it ends. Power cuts are another matter, see `Journal.sync`. Records hold what was
published and nothing else: no pixels, and no clock time unless the messages have it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from pathlib import Path
from typing import Final

import msgspec

from scopeline.errors import ConfigError
from scopeline.journal_files import file_name, session_folders
from scopeline.journal_index import JournalIndex, Place
from scopeline.journal_record import (
    DROPPED,
    GAP,
    HEADER,
    LIMIT_BYTES,
    START,
    Dropped,
    Gap,
    Header,
    line_bytes,
    line_of,
    link_after,
)

SEGMENT_BYTES: Final = 64 * 2**20
"""A file ends here: 12 minutes of two heads at 60 frames/s."""
KEEP_BYTES: Final = 8 * 2**30
"""All sessions in the folder together: 24 hours of two heads at 60 frames/s."""

_FOLDER_MODE: Final = 0o750
_FILE_MODE: Final = 0o640
"""Owner writes, group reads: results of procedures are nobody else's business."""
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
_UNSYNCED_MOST: Final = 4


class Journal:
    """The journal of one run. `append`, `skip` and `close` belong to one thread; `sync` and `make_room` to another.

    The session is that of the first record; its folder is made then, so that a journal that cannot be
    written fails in `append` and nowhere else.

    Args:
        folder: Where sessions get their folders. For this engine alone: what another writes there counts
            towards `keep_bytes` and may be deleted.
        version: Of Scopeline, for the files' headers.
        segment_bytes: A file ends when the next record would make it longer.
        keep_bytes: Bound of all sessions' files together; the oldest are deleted beyond it.

    Raises:
        ConfigError: the bound has no room for two files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        version: str,
        segment_bytes: int = SEGMENT_BYTES,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        if not 0 < segment_bytes <= keep_bytes // 2:
            raise ConfigError(
                f"a journal keeps at least two files: keep_bytes must be {2 * segment_bytes} or more, got {keep_bytes}"
            )
        self.folder = folder
        self.session: str | None = None
        """Of the messages; None before the first."""
        self.index = JournalIndex()
        self.records = 0
        """Messages that were written."""
        self._version, self._segment_bytes, self._keep_bytes = version, segment_bytes, keep_bytes
        self._lock = threading.Lock()
        """For `_descriptor` and `_unsynced`, which two threads look at."""
        self._descriptor: int | None = None
        self._unsynced: list[int] = []
        """Files that ended and may not be on the disk yet."""
        self._folders_changed = False
        self._number = 0
        self._size = 0
        self._lines = 0
        self._link = START
        self._next: dict[str, int] = {}
        self._missing: dict[str, tuple[int, int]] = {}
        self._missing_records = 0
        self._reason = ""
        self._begin_anew = False
        """The file cannot be gone on with: it was removed, or ends in a part of a line that would not go away."""
        self._dropped: deque[Dropped] = deque()
        """What the next record is to be preceded by; filled by `make_room`."""
        self._dropped_files = 0
        self._doomed: list[Path] = []
        self._crowded = True
        self._closed = False

    @property
    def missing(self) -> int:
        """Messages that could not be written since writing worked last."""
        return self._missing_records

    def append(self, session: str, topic: str, seq: int, payload: bytes) -> None:
        """Write one message: JSON without line breaks.

        What was missed before is told in a `gap` record in front of it. When this fails, the message counts as missed
        and the files end with the last whole record.

        Raises:
            OSError: it is not in the journal.
            ValueError: the message is of another session; a journal is for one run.
        """
        if self.session is None:
            self.session = session
        if session != self.session:
            raise ValueError(
                f"a journal holds one session; it has {self.session}, got {session}: make another one"
            )
        try:
            self._write(topic, seq, payload)
        except OSError as error:
            self.skip(topic, seq, error.strerror or str(error))
            raise

    def skip(self, topic: str, seq: int, reason: str) -> None:
        """Count a message that is published and not written."""
        first, _ = self._missing.get(topic, (seq, seq))
        self._missing[topic] = (first, seq)
        self._missing_records += 1
        self._reason = reason
        self._next[topic] = seq + 1

    def sync(self) -> None:
        """Wait until the disk has everything that was appended before; from any thread.

        Raises:
            OSError: the disk did not take it.
        """
        with self._lock:
            waiting, self._unsynced = self._unsynced, []
            if self._descriptor is not None:
                waiting.append(os.dup(self._descriptor))
            folders_changed, self._folders_changed = self._folders_changed, False
        error: OSError | None = None
        for descriptor in waiting:
            try:
                os.fsync(descriptor)
            except OSError as reason:
                error = reason
            finally:
                os.close(descriptor)
        if folders_changed and self.session is not None:
            _sync_folder(self.folder / self.session)
            _sync_folder(self.folder)
        if error is not None:
            raise error

    def make_room(self) -> None:
        """Delete the oldest files beyond the bound, of the oldest session first; from any one thread.

        A file is deleted in the call after the one that chose it, when a record says that it is dropped: a journal
        whose process is killed in between has the record and the file. When nothing can be written it goes at once.

        Raises:
            OSError: the folder cannot be read, or a file not deleted.
        """
        if self._doomed and (not self._dropped or self._missing_records):
            self._delete_doomed()
        if self._crowded and not self._doomed and self.session is not None:
            self._crowded = False
            try:
                self._choose_oldest(self.session)
            except OSError:
                self._crowded = True
                raise

    def _choose_oldest(self, own: str) -> None:
        sessions = session_folders(self.folder)
        sessions.sort(key=lambda each: each.session == own)  # ours last, whatever the clock says
        room = self._keep_bytes - self._segment_bytes - sum(each.bytes for each in sessions)
        for folder in sessions:
            for number, path in folder.files.items():
                ours = folder.session == own
                if room >= 0 or (ours and number >= self._number):
                    break
                size = path.stat().st_size
                room += size
                if ours:
                    self._dropped_files = number
                self._doomed.append(path)
                self._dropped.append(Dropped(session=folder.session, file=number, bytes=size))

    def _delete_doomed(self) -> None:
        while self._doomed:
            path = self._doomed[0]
            path.unlink(missing_ok=True)
            if path.parent.name == self.session:
                self.index.forget(int(path.stem))
            elif not any(path.parent.iterdir()):
                path.parent.rmdir()
            del self._doomed[0]

    def close(self) -> None:
        """Write what is still to be told, wait for the disk, close. May be called twice.

        Raises:
            OSError: the end of the journal is not safe.
        """
        if self._closed or self.session is None:
            return
        self._closed = True
        try:
            if self._missing or self._dropped:
                if self._needs_a_file:
                    self._begin_file()
                self._write_lines([])
            self.sync()
        finally:
            self._retire()
            with self._lock:
                for descriptor in self._unsynced:
                    os.close(descriptor)
                self._unsynced = []

    @property
    def _needs_a_file(self) -> bool:
        return self._descriptor is None or self._begin_anew

    def _write(self, topic: str, seq: int, payload: bytes) -> None:
        kind = topic.encode()
        if self._needs_a_file or self._size + line_bytes(kind, payload) > self._segment_bytes:
            self._begin_file()
        offset = self._write_lines([(kind, payload)])
        self._next[topic] = seq + 1
        self.records += 1
        self.index.note(topic, seq, Place(self._number, offset))

    def _write_lines(self, news: list[tuple[bytes, bytes]]) -> int:
        """Append records, with what is to be told before them, in one write; the offset of the last."""
        assert self._descriptor is not None
        dropped = self._dropped.copy()
        told = [(DROPPED, msgspec.json.encode(each)) for each in dropped]
        if self._missing:
            gap = Gap(records=self._missing_records, topics=self._missing, reason=self._reason)
            told.append((GAP, msgspec.json.encode(gap)))
        link, lines = self._link, []
        for kind, payload in [*told, *news]:
            link = link_after(link, kind, payload)
            lines.append(line_of(link, kind, payload))
        if os.fstat(self._descriptor).st_nlink == 0:
            self._begin_anew = True
            raise OSError(errno.ENOENT, "the journal's file was removed")
        self._size = self._append_whole(self._descriptor, b"".join(lines), self._size)
        self._link, self._lines = link, self._lines + len(lines)
        self._missing, self._missing_records = {}, 0
        for _ in dropped:
            self._dropped.popleft()
        return self._size - len(lines[-1])

    def _begin_file(self) -> None:
        """Go on in the next file; nothing has changed when this fails."""
        assert self.session is not None
        folder = self.folder / self.session
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        header = Header(
            session=self.session,
            version=self._version,
            file=self._number + 1,
            records=self._lines,
            goes_on_from=self._link.decode(),
            dropped=self._dropped_files,
            next=self._next,
        )
        payload = msgspec.json.encode(header)
        link = link_after(self._link, HEADER, payload)
        path = folder / file_name(self._number + 1)
        descriptor = os.open(path, _FLAGS, _FILE_MODE)
        try:
            size = self._append_whole(descriptor, line_of(link, HEADER, payload), 0)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        self._retire(descriptor)
        self._number, self._size, self._link, self._lines = self._number + 1, size, link, self._lines + 1
        self._begin_anew, self._crowded = False, True
        self.index.begin_file()

    def _append_whole(self, descriptor: int, content: bytes, size: int) -> int:
        """One write; what it leaves of a part is taken back. The file's new size."""
        if len(content) > LIMIT_BYTES:
            raise OSError(errno.EFBIG, f"a record of {len(content)} bytes is longer than readers take")
        try:
            written = os.write(descriptor, content)
            if written != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            try:
                os.ftruncate(descriptor, size)
            except OSError:
                self._begin_anew = True
            raise
        return size + written

    def _retire(self, successor: int | None = None) -> None:
        """Put another file in the place of the present one, which `sync` closes when the disk has it."""
        with self._lock:
            before, self._descriptor = self._descriptor, successor
            if before is not None:
                self._unsynced.append(before)
            self._folders_changed |= successor is not None
            while len(self._unsynced) > _UNSYNCED_MOST:  # nobody syncs; do not run out of descriptors
                os.close(self._unsynced.pop(0))


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can (not on Windows)."""
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
