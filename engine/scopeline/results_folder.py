"""Results folder: a recording's results, read back from the disk as they were written."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from scopeline.errors import SourceError
from scopeline.tally import Tally
from scopeline.wire import Decoder, FrameMessage, StatusMessage

FRAMES: Final = "frames.jsonl.zst"
SEGMENTS: Final = "segments.csv"
CHAPTERS: Final = "chapters.vtt"
EVENTS: Final = "events.jsonl"
SUMMARY: Final = "summary.json"


def read_frames(folder: Path) -> Iterator[FrameMessage]:
    """The frames of a results folder, in order; a few at a time in memory.

    Raises:
        SourceError: the file is missing, cut off, or not one of ours.
    """
    decoder = Decoder()
    with _told_if_unreadable(folder / FRAMES), (folder / FRAMES).open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        for line in io.BufferedReader(reader):
            message = decoder.decode(line)
            if not isinstance(message, FrameMessage):
                raise msgspec.ValidationError(f"a message of another kind: {line[:80]!r}")
            yield message


def read_tally(folder: Path) -> Tally:
    """What a finished run added up to.

    Raises:
        SourceError: the folder lacks its frames or events, or they are damaged.
    """
    tally, decoder = Tally(), Decoder()
    with _told_if_unreadable(folder / EVENTS):
        events = [decoder.decode(line) for line in (folder / EVENTS).read_bytes().splitlines()]
    is_end = [isinstance(event, StatusMessage) and event.event != "started" for event in events]
    for event in (event for event, last in zip(events, is_end, strict=True) if not last):
        tally.add(event)
    for frame in read_frames(folder):
        tally.add(frame)
    for event in (event for event, last in zip(events, is_end, strict=True) if last):
        tally.add(event)
    return tally


@contextmanager
def _told_if_unreadable(path: Path) -> Iterator[None]:
    """Whatever is wrong with the file is told as one kind of error, with what to do."""
    try:
        yield
    except (OSError, zstandard.ZstdError, msgspec.DecodeError) as error:
        raise SourceError(f"{path}: wanted what a finished run wrote: {error}; work on it again") from error
