"""Record: one line of a journal: checksum, link of the chain, kind, payload.

    <crc32: 8 hex digits> <link: 64 hex digits> <kind> <payload: JSON on one line>\\n

The checksum covers everything after it, so that a damaged line is found by itself. The link is
SHA-256 of `<link before> <kind> <payload>`, so that a line that was altered, removed, added or moved is found by its
neighbour. `docs/journal.md` explains the format, and how to check it with nothing but a shell.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Final

import msgspec

from scopeline.wire import NOTICE

SCHEMA: Final = 1
START: Final = b"0" * 64
"""What stands for the link before the first record of a session."""
LIMIT_BYTES: Final = 16 * 1024 * 1024
"""No line is longer: a reader of a damaged file never holds more."""

HEADER: Final = b"header"
GAP: Final = b"gap"
DROPPED: Final = b"dropped"
"""Kinds of our own; every other kind is a topic of `scopeline.wire`."""

_LINK_AT: Final = 9
_KIND_AT: Final = 74


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first record of every file."""

    schema: int = SCHEMA
    session: str
    version: str
    """Of Scopeline."""
    file: int
    """Number of the file in its session, from 1."""
    records: int
    """Records in the files before."""
    goes_on_from: str
    """Link of the last record of the file before; 64 zeros in file 1."""
    dropped: int
    """Files 1 to this were deleted for room before this one began."""
    next: dict[str, int]
    """By topic: the sequence number after the last one that was offered to the journal before this file."""
    notice: str = NOTICE


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that were published and could not be written, told when writing worked again."""

    records: int
    topics: dict[str, tuple[int, int]]
    """By topic: first and last sequence number that is not here."""
    reason: str


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was deleted to keep the journals within their bound."""

    session: str
    file: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Record:
    """One line as it was read."""

    kind: bytes
    payload: bytes
    link: bytes
    file: int
    """Number of its file."""
    offset: int
    """Of its first byte in the file."""


def link_after(before: bytes, kind: bytes, payload: bytes) -> bytes:
    """The link of a record that follows one with the link `before`; 64 hexadecimal digits."""
    return hashlib.sha256(b"%b %b %b" % (before, kind, payload)).hexdigest().encode()


def line_of(link: bytes, kind: bytes, payload: bytes) -> bytes:
    """A record as it stands in the file."""
    body = b"%b %b %b" % (link, kind, payload)
    return b"%08x %b\n" % (zlib.crc32(body), body)


def line_bytes(kind: bytes, payload: bytes) -> int:
    """The length of `line_of`, before there is a link."""
    return _KIND_AT + len(kind) + 1 + len(payload) + 1


def parse_line(line: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Link, kind and payload of a line; None when it is not whole or its checksum is wrong."""
    if line[-1:] != b"\n" or line[:_LINK_AT] != b"%08x " % zlib.crc32(memoryview(line)[_LINK_AT:-1]):
        return None
    kind, _, payload = line[_KIND_AT:-1].partition(b" ")
    return line[_LINK_AT : _KIND_AT - 1], kind, payload


def is_of_kind(line: bytes, kind: bytes) -> bool:
    """Whether a line says that it is of this kind; cheaper than parsing it, and without looking at its checksum."""
    return line.startswith(b" %b " % kind, _KIND_AT - 1)


def stated_link(line: bytes) -> bytes | None:
    """The link in a line whose checksum is wrong, if there is one; whether it is right the next record shows."""
    link = line[_LINK_AT : _KIND_AT - 1]
    return link if len(link) == len(START) else None
