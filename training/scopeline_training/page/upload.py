"""Upload: what was dropped on the page: recognised by its first bytes, decoded from memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from scopeline.errors import ConfigError, ScopelineError

Kind = Literal["picture", "clip"]

PICTURE_LIMIT = 32_000_000
"""Bytes."""
CLIP_LIMIT = 256_000_000
"""Bytes; a minute of 1080p from a capture card's H.264 encoder takes some 60 MB."""
CLIP_S = 120.0
"""The longest clip in seconds of stream time."""

_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
_CLIPS = {b"\x1aE\xdf\xa3": "Matroska or WebM", b"GIF8": "GIF", b"\0\0\x01\xba": "MPEG programme stream"}
_MPEG_TS_PACKET = 188


class UploadError(ScopelineError):
    """What was dropped cannot be taken.

    Args:
        message: What was wanted, what came, what to do.
        status: Of the answer over HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def kind_of(data: bytes) -> Kind:
    """Whether bytes are a picture or a clip.

    Only formats with frames of their own are let through. A playlist could name other files, which FFmpeg would open.

    Raises:
        UploadError: they are neither.
    """
    if data.startswith(tuple(_PICTURES)) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return "picture"
    is_ts = data[:1] == b"G" and data[_MPEG_TS_PACKET : _MPEG_TS_PACKET + 1] == b"G"
    is_avi = data[:4] == b"RIFF" and data[8:12] == b"AVI "
    if data.startswith(tuple(_CLIPS)) or is_avi or is_ts or data[4:8] in (b"ftyp", b"moov", b"mdat"):
        return "clip"
    came = "an empty file" if not data else "a file that is none of these"
    raise UploadError(
        "wanted a picture (PNG, JPEG, BMP, TIFF, WebP) or a clip (MP4, MOV, AVI, MKV, WebM, MPEG, GIF), "
        f"got {came}; choose another file",
        415,
    )


def check_size(size: int, kind: Kind) -> None:
    """Refuses what is too large.

    Raises:
        UploadError: says the limit.
    """
    limit = PICTURE_LIMIT if kind == "picture" else CLIP_LIMIT
    if size > limit:
        raise UploadError(
            f"wanted a {kind} of at most {limit // 1_000_000} MB, got {size / 1e6:.0f} MB; cut it or use "
            "`scopeline batch`",
            413,
        )


@contextmanager
def in_memory(data: bytes) -> Iterator[Path]:
    """A path to bytes that lie in memory and nowhere else, for libraries that want a path.

    Raises:
        ConfigError: this system has no such files (they are Linux's).
    """
    if not hasattr(os, "memfd_create"):
        raise ConfigError("the page keeps what is dropped in memory by memfd_create, which only Linux has")
    descriptor = os.memfd_create("scopeline-upload")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
