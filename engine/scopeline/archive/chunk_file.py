"""Chunk file: what the networks said of one stretch of a recording, frame by frame, and the states at both ends.

No pixels but the small grey overviews that the field tracker remembers. A file is written beside its place and moved
there, so one that exists is whole; it is read frame by frame, so memory does not grow with its length.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import zstandard

from scopeline.archive.stream_state import StreamState, decode_state
from scopeline.errors import SinkError
from scopeline.field_of_view import FieldOfView
from scopeline.field_tracker import FieldEvent
from scopeline.prediction import Reason
from scopeline.replace_file import replace_file
from scopeline.wire import MaskResult

_MAGIC: Final = b"scopeline chunk 1\n"
_LENGTH_BYTES: Final = 8


class ChunkHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheduler must know of a chunk that is done."""

    key: str
    """Hash of everything that decides it: inputs, the plan of the recording, its place in it."""
    index: int
    frames: int
    begun: str
    """Digest of the state it began in."""
    ended: str
    """Digest of the state it ended in."""
    seed_era: str | None
    """Era of the state that it was warmed up from; None when it began in a state that was handed over."""
    era: str
    """Of the state it ended in."""
    first_picture: str
    """Digest of its first picture as decoded ..."""
    next_picture: str | None
    """... and of the one after its last, by the decoder that came from before; None at the recording's end."""
    damaged: dict[str, int] = {}
    """Packets that never became a frame."""
    seconds: float = 0.0
    """Wall time; says nothing of the results."""


class FrameRecord(msgspec.Struct, frozen=True, array_like=True):
    """One frame before time is brought in."""

    time_s: float
    reason: Reason | None
    quality: float | None
    scores: list[tuple[str, bytes]]
    """Head and its calibrated probabilities, float32; in the order of the answers."""
    masks: dict[str, MaskResult]
    prepare_ns: int
    """From capture to the end of preparing."""
    infer_ns: int
    field: FieldOfView | None = None
    """The geometry in force, only where it differs from the frame before, and with a chunk's first frame."""
    same_field: bool = True
    event: FieldEvent | None = None
    judged_by: dict[str, str] | None = None
    """By bundle, what gave the answers; only where it differs from the frame before."""


class ChunkWriter:
    """Gathers records, compressed as they come, until the chunk is written in one step."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._packed = zstandard.ZstdCompressor(level=1, write_checksum=True).compressobj()
        self._pieces: list[bytes] = []
        self.frames = 0

    def add(self, record: FrameRecord) -> None:
        packed = self._encoder.encode(record)
        self._pieces.append(self._packed.compress(len(packed).to_bytes(4) + packed))
        self.frames += 1

    def write(self, path: Path, head: ChunkHead, end: StreamState) -> None:
        """Everything into one file.

        Raises:
            SinkError: it cannot be written.
        """
        said = msgspec.msgpack.encode(head)
        state = zstandard.ZstdCompressor(level=1).compress(end.encoded())
        lengths = b"".join(len(part).to_bytes(_LENGTH_BYTES) for part in (said, state))
        content = b"".join([_MAGIC, lengths, said, state, *self._pieces, self._packed.flush()])
        replace_file(path, content)


def read_head(path: Path) -> ChunkHead | None:
    """What a chunk file says of itself; None when it is missing or something else."""
    try:
        with path.open("rb") as file:
            head, _ = _lengths(file)
            return msgspec.msgpack.decode(file.read(head), type=ChunkHead)
    except (OSError, SinkError, msgspec.DecodeError):
        return None


def read_end(path: Path) -> StreamState:
    """The state at the end of a chunk.

    Raises:
        SinkError: the file is missing or something else.
    """
    try:
        with path.open("rb") as file:
            head, state = _lengths(file)
            file.seek(head, io.SEEK_CUR)
            return decode_state(zstandard.ZstdDecompressor().decompress(file.read(state)))
    except (OSError, zstandard.ZstdError, msgspec.DecodeError) as error:
        raise SinkError(f"{path}: wanted a chunk's last state, could not read it ({error})") from error


def read_records(path: Path) -> Iterator[FrameRecord]:
    """Its frames, in order.

    Raises:
        SinkError: the file is missing or damaged.
    """
    decoder = msgspec.msgpack.Decoder(FrameRecord)
    try:
        with path.open("rb") as file:
            file.seek(sum(_lengths(file)), io.SEEK_CUR)
            reader = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file), 1 << 16)
            while length := reader.read(4):
                yield decoder.decode(reader.read(int.from_bytes(length)))
    except (OSError, zstandard.ZstdError, msgspec.DecodeError) as error:
        raise SinkError(f"{path}: wanted a chunk's frames, could not read them ({error})") from error


def _lengths(file: BinaryIO) -> tuple[int, int]:
    start = file.read(len(_MAGIC) + 2 * _LENGTH_BYTES)
    if len(start) < len(_MAGIC) + 2 * _LENGTH_BYTES or not start.startswith(_MAGIC):
        raise SinkError(f"{file.name}: wanted a chunk of a recording, got something else")
    head, state = start[len(_MAGIC) :][:_LENGTH_BYTES], start[len(_MAGIC) + _LENGTH_BYTES :]
    return int.from_bytes(head), int.from_bytes(state)


def with_fields(records: Iterable[FrameRecord]) -> Iterator[tuple[FrameRecord, FieldOfView | None]]:
    """Records with the geometry in force, the same object for as long as it holds."""
    field: FieldOfView | None = None
    for record in records:
        if not record.same_field:
            field = record.field
        yield record, field
