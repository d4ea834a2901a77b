"""Replayer: answers subscribers that ask for messages they missed, from the journal, while it is written.

A request is JSON: `{"session": "9f2c61d07ab34e58", "topic": "frame", "from_seq": 42, "to_seq": 43}`, both ends
included. The answer is the messages as they were published (as JSON, also where MessagePack is published), each
`(topic, payload)`, then `("end", ...)` with what could not be had; or `("error", ...)` and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from scopeline.journal import Journal
from scopeline.journal_files import file_name, numbered_files
from scopeline.journal_index import JournalIndex, Place
from scopeline.journal_record import HEADER, LIMIT_BYTES, Header, is_of_kind, parse_line

MOST_MESSAGES: Final = 1000
"""Per request; who wants more asks again. 1.4 MB of frames with two heads."""
REQUEST_BYTES: Final = 1024
_LARGEST: Final = 2**53
"""The largest whole number that every JSON reader keeps."""

_Number = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a subscriber asks for."""

    session: Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z_-]{1,64}$")]
    topic: Literal["frame", "segment", "status", "field"]
    from_seq: _Number
    to_seq: _Number
    """Included."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The last part of an answer."""

    session: str
    topic: str
    from_seq: int
    to_seq: int
    count: int
    """Messages that came before this."""
    complete: bool
    """Everything that was asked for came."""
    missing: list[tuple[int, int]]
    """First and last number of each stretch that is not in the journal: dropped for room, not written, or not yet
    published."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer to a request that cannot be met."""

    error: str


class _Numbered(msgspec.Struct, frozen=True):
    """The one field of a message that is needed here."""

    seq: int


class Replayer:
    """Reads the present session's journal while another thread writes it, and earlier sessions in the same folder.

    Args:
        journal: Of the present run; its index leads to the present session's messages.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._request = msgspec.json.Decoder(Request)
        self._number = msgspec.json.Decoder(_Numbered)

    def answer(self, request: bytes) -> Iterator[tuple[bytes, bytes]]:
        """`(topic, payload)` of each message that was asked for, read as they are taken, then the end or the error.

        Never raises: whatever came, the answer says what was wanted.
        """
        try:
            wanted = self._understood(request)
        except (msgspec.DecodeError, ValueError) as error:  # also what is no UTF-8
            yield _refusal(f"wanted {_FORM}; got something else: {error}")
            return
        try:
            yield from self._messages(wanted)
        except OSError as error:
            yield _refusal(f"the journal cannot be read now ({error.strerror or error}); ask again later")
        except msgspec.DecodeError as error:
            yield _refusal(f"the journal was written by a version that this one cannot read: {error}")

    def _understood(self, request: bytes) -> Request:
        if len(request) > REQUEST_BYTES:
            raise ValueError(f"{len(request)} bytes, at most {REQUEST_BYTES} are read")
        wanted = self._request.decode(request)
        if not 0 <= wanted.to_seq - wanted.from_seq < MOST_MESSAGES:
            raise ValueError(
                f"from_seq {wanted.from_seq} to to_seq {wanted.to_seq}; at most {MOST_MESSAGES} numbers in a request, "
                "in ascending order"
            )
        return wanted

    def _messages(self, wanted: Request) -> Iterator[tuple[bytes, bytes]]:
        folder = self._journal.folder / wanted.session
        if wanted.session == self._journal.session:
            index = self._journal.index
        elif folder.is_dir():
            index = _index_of(folder)
        else:
            yield _refusal(f"there is no journal of a session {wanted.session!r} here (any more)")
            return
        topic, expected, count = wanted.topic.encode(), wanted.from_seq, 0
        missing: list[tuple[int, int]] = []
        for seq, payload in self._found(folder, index, wanted):
            if seq > expected:
                missing.append((expected, seq - 1))
            yield topic, payload
            expected, count = seq + 1, count + 1
        if expected <= wanted.to_seq:
            missing.append((expected, wanted.to_seq))
        end = End(**msgspec.structs.asdict(wanted), count=count, complete=not missing, missing=missing)
        yield b"end", msgspec.json.encode(end)

    def _found(self, folder: Path, index: JournalIndex, wanted: Request) -> Iterator[tuple[int, bytes]]:
        numbers = list(numbered_files(folder)) if folder.is_dir() else []
        place = index.find(wanted.topic, wanted.from_seq)
        while place is not None:
            here = place.file
            for seq, payload, after in self._read(folder, place, wanted):
                if seq > wanted.to_seq:
                    return
                yield seq, payload
                place = index.find(wanted.topic, seq + 1)
                if place is not None and place > after:
                    break  # nothing but other topics lies between
            else:
                place = next((Place(number, 0) for number in numbers if number > here), None)

    def _read(
        self, folder: Path, place: Place, wanted: Request
    ) -> Generator[tuple[int, bytes, Place], None, None]:
        """Messages from the wanted number on in one file, from a place on, each with the place behind it."""
        try:
            file = (folder / file_name(place.file)).open("rb")
        except FileNotFoundError:
            return  # dropped for room since we asked where
        topic = wanted.topic.encode()
        with file:
            offset = file.seek(place.offset)
            while line := file.readline(LIMIT_BYTES):
                offset += len(line)
                if not is_of_kind(line, topic) or _number_at_a_glance(line) < wanted.from_seq:
                    continue
                parts = parse_line(line)
                if parts is None:
                    continue  # damaged, or being written: as if it were not there
                seq = self._number.decode(parts[2]).seq
                if seq >= wanted.from_seq:
                    yield seq, parts[2], Place(place.file, offset)


def _number_at_a_glance(line: bytes) -> int:
    """The number of a message that is to be passed over, without reading all of it: 1 instead of 10 µs, which counts
    where an earlier session's file of 64 MiB is gone through. The largest number where it cannot be seen."""
    found = _GLANCE.search(line, 0, _GLANCE_BYTES)
    return int(found[1]) if found else _LARGEST


_GLANCE: Final = re.compile(rb'"seq":(\d{1,15}),')
_GLANCE_BYTES: Final = 256
"""The first fields of a message lie within this: type, schema, session, seq."""
_FORM: Final = (
    'one part of JSON like {"session": "9f2c61d07ab34e58", "topic": "frame", "from_seq": 42, "to_seq": 43}'
)


def _index_of(folder: Path) -> JournalIndex:
    """Where an earlier session's messages are, as the headers of its files tell."""
    index = JournalIndex()
    for number, path in numbered_files(folder).items():
        with path.open("rb") as file:
            parts = parse_line(file.readline(LIMIT_BYTES))
        if parts is None or parts[1] != HEADER:
            continue
        index.begin_file()
        header = msgspec.json.decode(parts[2], type=Header)
        for topic in ("frame", "segment", "status", "field"):
            index.note(topic, header.next.get(topic, 0), Place(number, 0))
    return index


def _refusal(text: str) -> tuple[bytes, bytes]:
    return b"error", msgspec.json.encode(Refusal(error=text))
