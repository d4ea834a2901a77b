"""Run stamps: what two runs over the same recording may differ in, listed here and nowhere else.

They say when, how fast and in which run a result was made. All the rest of a folder of results follows from its
inputs and is the same, byte for byte, however often a run was killed, split or moved to another machine.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import zstandard

FRAME_STAMPS: Final = (
    "session",
    "published_ns",
    "captured_ns",
    "wall_unix_s",
    "stages_ms",
    "ledger",
    "stale",
)
"""Of a line of frames.jsonl.zst. The ledger of a single frame tells how many were in flight just then."""
EVENT_STAMPS: Final = ("session", "published_ns", "latency_ms")
"""Of a line of events.jsonl."""
SUMMARY_STAMPS: Final = ("latency_ms", "seconds", "speed")
"""Of summary.json. Its ledger is that of the whole recording, and is no stamp."""


def unstamped_frames(log: Path) -> Iterator[bytes]:
    """The lines of a frames.jsonl.zst without their run stamps, as JSON with sorted keys."""
    with log.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        for line in io.TextIOWrapper(reader, "utf-8"):
            yield _without(json.loads(line), FRAME_STAMPS)


def unstamped_summary(summary: Path) -> bytes:
    """A summary.json without its run stamps, as JSON with sorted keys."""
    return _without(json.loads(summary.read_bytes()), SUMMARY_STAMPS)


def digests(folder: Path) -> dict[str, str]:
    """By file name: SHA-256 of what a folder of results says, run stamps left out."""
    return {file.name: _digest(file) for file in sorted(folder.iterdir()) if file.is_file()}


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    if file.name == "frames.jsonl.zst":
        for line in unstamped_frames(file):
            digest.update(line + b"\n")
    elif file.name == "events.jsonl":
        for line in file.read_bytes().splitlines():
            digest.update(_without(json.loads(line), EVENT_STAMPS) + b"\n")
    elif file.name == "summary.json":
        digest.update(unstamped_summary(file))
    else:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _without(content: dict[str, object], stamps: tuple[str, ...]) -> bytes:
    return json.dumps(
        {key: value for key, value in content.items() if key not in stamps}, sort_keys=True
    ).encode()
