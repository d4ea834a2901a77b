"""FolderSink: writes a run's results into a folder that is valid at every moment.

`frames.jsonl.zst` grows by whole Zstandard frames; the other files are replaced in one step. Whatever ends
the process, the folder can be read up to the last block.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from scopeline.chapters import chapters_webvtt
from scopeline.replace_file import cannot_write, replace_file
from scopeline.results_folder import CHAPTERS, EVENTS, FRAMES, SEGMENTS, SUMMARY
from scopeline.segment_table import segments_csv
from scopeline.summary import Recording, Summary, summarize
from scopeline.tally import Tally
from scopeline.wire import Encoder, FrameMessage, Message

BLOCK_FRAMES: Final = 1000
BLOCK_NS: Final = 2_000_000_000
"""A block ends after so many frames or so long, whichever comes first: what a killed process can lose."""
LEVEL: Final = 1
"""Of 1148 bytes of random answers per frame level 1 left 99 in 4 µs, level 3 112 in 8, level 9 101 in 38."""


class FolderSink:
    """Writes frames as they come, and segments, chapters and summary with every block and at the end.

    Made, worked and closed by one thread.

    Args:
        folder: Made when it does not exist; files of earlier runs in it are replaced.
        recording: What is read, for the summary; None for a live feed.
        tally: Where the messages are added up; a caller that gives one can read it when the run is over.

    Raises:
        SinkError: the folder cannot be written.
    """

    def __init__(
        self, folder: Path, *, recording: Recording | None = None, tally: Tally | None = None
    ) -> None:
        self._folder, self._recording = folder, recording
        self._tally = tally or Tally()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            claim(folder, recording)
            self._log = FrameLog(folder / FRAMES)
        except OSError as error:
            raise cannot_write(folder, error) from error
        self._write_tables(durable=False)

    def publish(self, message: Message) -> None:
        """Take one message.

        Raises:
            SinkError: the disk is full or gone.
        """
        self._tally.add(message)
        if not isinstance(message, FrameMessage):
            return
        try:
            ended = self._log.append(message)
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        if ended:
            self._write_tables(durable=False)

    def close(self) -> None:
        """Write what is left; `complete` then says whether the source came to its end.

        Raises:
            SinkError: the disk is full or gone.
        """
        try:
            self._log.close()
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        self._write_tables(durable=True)

    def _write_tables(self, *, durable: bool) -> None:
        write_tables(self._folder, self._tally, summarize(self._tally, self._recording), durable=durable)


class FrameLog:
    """frames.jsonl.zst: one message per line, one Zstandard frame with a checksum per block.

    A block is compressed as its messages come and written in one piece when it ends, so that a truncated file
    decompresses up to its last whole block and no message pays for the compression of a thousand.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._encoder = Encoder()
        self._begin()

    def append(self, message: FrameMessage) -> bool:
        """Add one line; True when that ended a block."""
        if self._lines == 0:
            self._began_ns = message.published_ns
        self._pieces.append(self._block.compress(self._encoder.encode(message)[1] + b"\n"))
        self._lines += 1
        if self._lines < BLOCK_FRAMES and message.published_ns - self._began_ns < BLOCK_NS:
            return False
        self._end()
        return True

    def close(self) -> None:
        try:
            if self._lines:
                self._end()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def _begin(self) -> None:
        self._lines, self._began_ns = 0, 0
        self._pieces: list[bytes] = []
        self._block = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()

    def _end(self) -> None:
        block = b"".join([*self._pieces, self._block.flush()])
        self._begin()  # first: a block that cannot be written is given up, and not flushed again by `close`
        while block:  # an unbuffered write may take less than it is given, when the disk fills up
            block = block[self._file.write(block) :]


def claim(folder: Path, recording: Recording | None) -> None:
    """Write a summary of nothing yet, before any other file: whoever finds the folder can see whose it is, however the
    process that filled it ended.

    Raises:
        SinkError: the folder cannot be written.
    """
    replace_file(folder / SUMMARY, _pretty_json(summarize(Tally(), recording)), durable=False)


def write_tables(folder: Path, tally: Tally, summary: Summary, *, durable: bool = True) -> None:
    """Replace segments.csv, chapters.vtt, events.jsonl and, last, summary.json.

    Raises:
        SinkError: the folder cannot be written.
    """
    segments = tally.segments
    replace_file(folder / SEGMENTS, segments_csv(segments).encode(), durable=durable)
    replace_file(folder / CHAPTERS, chapters_webvtt(segments).encode(), durable=durable)
    encoder = Encoder()
    events = b"".join(encoder.encode(event)[1] + b"\n" for event in tally.events)
    replace_file(folder / EVENTS, events, durable=durable)
    replace_file(folder / SUMMARY, _pretty_json(summary), durable=durable)


def _pretty_json(summary: Summary) -> bytes:
    return msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"
