"""Where a video file says of itself that it ends: how a recording that was cut off is told from a short one.

MP4 and MOV are a row of boxes (ISO/IEC 14496-12), AVI a row of RIFF chunks, Matroska and WebM an EBML header
and one segment (RFC 8794, RFC 9559); each states its own size. An MPEG stream states nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_EBML_HEADER, _MATROSKA_SEGMENT = 0x1A45DFA3, 0x18538067


def is_cut_off(path: Path) -> bool:
    """Whether the file is shorter than its own headers say. False where they do not say."""
    with path.open("rb") as file:
        start = file.read(12)
        size = file.seek(0, 2)
        file.seek(0)
        if start[:4] == b"RIFF":
            end = _last_riff_end(file, size)
        elif start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            end = _last_box_end(file, size)
        elif int.from_bytes(start[:4], "big") == _EBML_HEADER:
            end = _segment_end(file)
        else:
            end = 0
    return end > size


def _last_riff_end(file: BinaryIO, size: int) -> int:
    end = 0
    while end < size:
        file.seek(end)
        header = file.read(8)
        length = int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF" or length == 0:  # padding after the chunks; or a length never filled in
            break
        end += 8 + length + length % 2
    return end


def _last_box_end(file: BinaryIO, size: int) -> int:
    end = 0
    while end < size:
        file.seek(end)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length < 8:  # 0: up to the end of the file; others are no box
            return 0
        end += length
    return end


def _segment_end(file: BinaryIO) -> int:
    _read_vint(file, keep_marker=True)
    file.seek(_read_vint(file), 1)
    if _read_vint(file, keep_marker=True) != _MATROSKA_SEGMENT:
        return 0
    length = _read_vint(file)
    return file.tell() + length


def _read_vint(file: BinaryIO, *, keep_marker: bool = False) -> int:
    """An EBML number of variable length; 0 if it is the reserved "unknown" or is not there."""
    first = file.read(1)
    if not first or first[0] == 0:
        return 0
    more = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(more), "big")
    bits = 7 * (more + 1)
    if keep_marker:
        return value
    value &= (1 << bits) - 1
    return 0 if value == (1 << bits) - 1 else value
