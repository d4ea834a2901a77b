"""JournalReader: reads what a session's journal holds, believes what the chain proves, and says where it breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from scopeline.errors import JournalError
from scopeline.journal_files import numbered_files
from scopeline.journal_record import (
    DROPPED,
    GAP,
    HEADER,
    LIMIT_BYTES,
    START,
    Dropped,
    Gap,
    Header,
    Record,
    link_after,
    parse_line,
    stated_link,
)
from scopeline.wire import TOPICS, Decoder, Message

_TOPICS: Final = {topic.encode() for topic in TOPICS}
_FAULTS_MOST: Final = 100
"""Faults that are listed; further ones are counted."""

FaultKind = Literal["damaged", "does not follow", "file missing", "starts late", "torn", "not there"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a journal is not what was written."""

    kind: FaultKind
    file: int
    offset: int
    text: str
    """For people."""
    bytes: int = 0
    """Length of what cannot be believed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What walking a whole journal found."""

    session: str | None
    """None when no header can be believed."""
    version: str | None
    files: int
    records: dict[str, int]
    """Believed records by kind: topics, and `header`, `gap`, `dropped`."""
    faults: tuple[Fault, ...]
    """At most a hundred."""
    faults_found: int
    torn_bytes: int
    """A part of a record at the end: what a killed process or a power cut leaves. Not a fault."""
    dropped: int
    """Files 1 to this were deleted for room, as the journal says itself."""
    unwritten: int
    """Messages that the disk did not take when they were published, as the journal says itself."""
    ended: str | None
    """`ended` or `failed`; None when the run was cut off, or still runs."""
    head: str
    """Link of the last record: noted elsewhere, it proves later that nothing before it was changed."""

    @property
    def intact(self) -> bool:
        return self.faults_found == 0

    @property
    def messages(self) -> int:
        return sum(count for kind, count in self.records.items() if kind in TOPICS)


class JournalReader:
    """A session's journal on disk; may be read while it is written.

    A record is believed when its checksum is right and its link follows from that of the line before it. After a
    fault reading goes on with the next line that follows from its neighbour, so that one bad byte costs one record,
    two at most, three where it ends a line.

    Raises:
        JournalError: there is no journal in the folder, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.files = numbered_files(folder)
        except OSError as error:
            raise _unreadable(folder, error) from error
        if not self.files:
            raise JournalError(
                f"{folder}: wanted a session's folder with files like 000001.journal, found none; "
                "`scopeline journal list` shows the sessions in a folder of journals"
            )

    def records(self) -> Iterator[Record]:
        """What can be believed, in order.

        Raises:
            JournalError: a file cannot be read.
        """
        return (each for each in self.walk() if isinstance(each, Record))

    def messages(self) -> Iterator[Message]:
        """The published messages, in order.

        Raises:
            JournalError: a file cannot be read, or a message was written by a version that this one cannot read.
        """
        decoder = Decoder()
        for record in self.records():
            if record.kind not in _TOPICS:
                continue
            try:
                yield decoder.decode(record.payload)
            except msgspec.DecodeError as error:
                raise JournalError(
                    f"{self.folder}: a message of file {record.file} is not one of this version ({error}); "
                    "read it with the version that its header names"
                ) from error

    def walk(self) -> Iterator[Record | Fault]:
        """Every record that can be believed and every fault, in the order of the files.

        Raises:
            JournalError: a file cannot be read.
        """
        first = min(self.files)
        if first > 1:
            yield Fault("starts late", first, 0, f"files before {first} are not here")
        chain = _Chain(START if first == 1 else None)
        for number, path in self.files.items():
            if number - 1 not in self.files and number != first:
                yield Fault("file missing", number - 1, 0, f"file {number - 1} is not here")
                chain.before = None
            try:
                with path.open("rb") as file:
                    yield from chain.follow(number, file)
            except OSError as error:
                raise _unreadable(path, error) from error

    def verify(self, noted: str | None = None) -> Verdict:
        """Walk the whole chain.

        Args:
            noted: A link that was noted earlier (`Verdict.head`): that it is still there is checked as well.

        Raises:
            JournalError: a file cannot be read.
        """
        sum_up = _SumUp(noted)
        for each in self.walk():
            if isinstance(each, Fault):
                sum_up.add_fault(each)
            else:
                sum_up.add(each)
        return sum_up.verdict(self.files)


class _Chain:
    """Follows links from line to line."""

    def __init__(self, before: bytes | None) -> None:
        self.before = before
        """Link of the line before; None when nobody knows."""

    def follow(self, number: int, file: BinaryIO) -> Iterator[Record | Fault]:
        offset = 0
        while line := file.readline(LIMIT_BYTES):
            if line[-1:] != b"\n" and len(line) < LIMIT_BYTES:
                yield Fault("torn", number, offset, "a record that was never finished", len(line))
                return
            yield self._judge(number, offset, line)
            offset += len(line)

    def _judge(self, number: int, offset: int, line: bytes) -> Record | Fault:
        parts = parse_line(line)
        if parts is None:
            self.before = stated_link(line)
            return Fault("damaged", number, offset, "a line whose checksum is wrong", len(line))
        link, kind, payload = parts
        before, self.before = self.before, link
        if offset == 0 and kind == HEADER and before is None:
            before = _goes_on_from(payload)
        if before is not None and link_after(before, kind, payload) == link:
            return Record(kind, payload, link, number, offset)
        text = "does not follow from the record before: something was changed, removed or put in here"
        return Fault("does not follow", number, offset, text, len(line))


class _SumUp:
    """Adds up what a walk finds."""

    def __init__(self, noted: str | None) -> None:
        self._noted = noted.encode() if noted else None
        self._noted_seen = False
        self._records: Counter[str] = Counter()
        self._faults: list[Fault] = []
        self._found = 0
        self._torn = 0
        self._starts_late: Fault | None = None
        self._header: Header | None = None
        self._dropped = 0
        self._unwritten = 0
        self._ended: str | None = None
        self._head = START

    def add_fault(self, fault: Fault) -> None:
        if fault.kind == "torn":
            self._torn = fault.bytes
        elif fault.kind == "starts late":
            self._starts_late = fault
        else:
            self._found += 1
            if len(self._faults) < _FAULTS_MOST:
                self._faults.append(fault)

    def add(self, record: Record) -> None:
        self._records[record.kind.decode("ascii", "replace")] += 1
        self._head = record.link
        self._noted_seen |= record.link == self._noted
        with suppress(msgspec.DecodeError):  # of a later version: counted, not understood
            self._look_into(record)

    def verdict(self, files: dict[int, Path]) -> Verdict:
        if self._starts_late is not None and self._dropped < min(files) - 1:
            text = f"{self._starts_late.text}, and nothing in them says that they were dropped for room; "
            self.add_fault(Fault("file missing", 1, 0, text + "the journal of a later session may"))
        if self._noted is not None and not self._noted_seen:
            self.add_fault(
                Fault("not there", max(files), 0, f"no record has the link {self._noted.decode()}")
            )
        return Verdict(
            session=self._header.session if self._header else None,
            version=self._header.version if self._header else None,
            files=len(files),
            records=dict(self._records),
            faults=tuple(self._faults),
            faults_found=self._found,
            torn_bytes=self._torn,
            dropped=self._dropped,
            unwritten=self._unwritten,
            ended=self._ended,
            head=self._head.decode(),
        )

    def _look_into(self, record: Record) -> None:
        if record.kind == HEADER:
            self._header = msgspec.json.decode(record.payload, type=Header)
            self._dropped = max(self._dropped, self._header.dropped)
        elif record.kind == GAP:
            self._unwritten += msgspec.json.decode(record.payload, type=Gap).records
        elif record.kind == DROPPED:
            dropped = msgspec.json.decode(record.payload, type=Dropped)
            if self._header is not None and dropped.session == self._header.session:
                self._dropped = max(self._dropped, dropped.file)
        elif record.kind == b"status":
            event = msgspec.json.decode(record.payload, type=_Event).event
            self._ended = event if event in ("ended", "failed") else None


class _Event(msgspec.Struct):
    event: str


def _goes_on_from(payload: bytes) -> bytes | None:
    try:
        return msgspec.json.decode(payload, type=Header).goes_on_from.encode()
    except msgspec.DecodeError:
        return None


def _unreadable(path: Path, error: OSError) -> JournalError:
    return JournalError(f"{path}: the journal cannot be read ({error.strerror or error})")
