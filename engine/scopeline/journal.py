"""Journal: every published message of a session in files that only grow, checksummed and chained.

A record is in the kernel's hands, in one write, before `append` returns: what is published afterwards survives the
end of this process, however it ends. Power cuts are another matter, see `Journal.sync`. Records hold what was
published and nothing else: no pixels, and no clock time unless the messages have it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path
from typing import Final

import msgspec

from scopeline.errors import ConfigError
from scopeline.journal_file import FOLDER_MODE, JournalFile, sync_folder
from scopeline.journal_files import file_name, session_folders
from scopeline.journal_index import JournalIndex, Place
from scopeline.journal_record import (
    DROPPED,
    GAP,
    HEADER,
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
        """For `_file` and `_unsynced`, which two threads look at."""
        self._file: JournalFile | None = None
        self._unsynced: list[JournalFile] = []
        """Files that ended and may not be on the disk yet."""
        self._folders_changed = False
        self._number = 0
        self._lines = 0
        self._link = START
        self._next: dict[str, int] = {}
        self._missing: dict[str, tuple[int, int]] = {}
        self._missing_records = 0
        self._reason = ""
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
            ended, self._unsynced = self._unsynced, []
            waiting = [each.descriptor for each in ended]
            if self._file is not None:
                waiting.append(os.dup(self._file.descriptor))
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
            self._sync_folders(self.folder / self.session, self.folder)
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
                self._write_lines(self._file_for(0), [])
            self.sync()
        finally:
            self._retire()
            with self._lock:
                for file in self._unsynced:
                    file.close()
                self._unsynced = []

    def _sync_folders(self, *folders: Path) -> None:
        try:
            for folder in folders:
                sync_folder(folder)
        except OSError:
            with self._lock:
                self._folders_changed = True
            raise

    def _write(self, topic: str, seq: int, payload: bytes) -> None:
        kind = topic.encode()
        offset = self._write_lines(self._file_for(line_bytes(kind, payload)), [(kind, payload)])
        self._next[topic] = seq + 1
        self.records += 1
        self.index.note(topic, seq, Place(self._number, offset))

    def _write_lines(self, file: JournalFile, news: list[tuple[bytes, bytes]]) -> int:
        """Append records, with what is to be told before them, in one write; the offset of the last."""
        dropped = self._dropped.copy()
        told = [(DROPPED, msgspec.json.encode(each)) for each in dropped]
        if self._missing:
            gap = Gap(records=self._missing_records, topics=self._missing, reason=self._reason)
            told.append((GAP, msgspec.json.encode(gap)))
        link, lines = self._link, []
        for kind, payload in [*told, *news]:
            link = link_after(link, kind, payload)
            lines.append(line_of(link, kind, payload))
        file.append(b"".join(lines))
        self._link, self._lines = link, self._lines + len(lines)
        self._missing, self._missing_records = {}, 0
        for _ in dropped:
            self._dropped.popleft()
        return file.size - len(lines[-1])

    def _file_for(self, more_bytes: int) -> JournalFile:
        """The present file, or the next one where that cannot take so much more; nothing has changed on failure."""
        file = self._file
        if file is not None and not file.spoiled and file.size + more_bytes <= self._segment_bytes:
            return file
        assert self.session is not None
        folder = self.folder / self.session
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
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
        file = JournalFile(path)
        try:
            file.append(line_of(link, HEADER, payload))
        except OSError:
            file.close()
            path.unlink(missing_ok=True)
            raise
        self._retire(file)
        self._number, self._link, self._lines = self._number + 1, link, self._lines + 1
        self._crowded = True
        self.index.begin_file()
        return file

    def _retire(self, successor: JournalFile | None = None) -> None:
        """Put another file in the place of the present one, which `sync` closes when the disk has it."""
        with self._lock:
            before, self._file = self._file, successor
            if before is not None:
                self._unsynced.append(before)
            self._folders_changed |= successor is not None
            while len(self._unsynced) > _UNSYNCED_MOST:  # nobody syncs; do not run out of descriptors
                self._unsynced.pop(0).close()
