"""Manifest: what became of every recording of an archive, from which inputs, one JSON object per line.

Lines are added as recordings end and the newest of a recording counts; a line that a crash cut short is ignored. At the
start of a call the file is written anew with one line each. What is *done* is decided by the folders of results, which
carry the same hashes: a manifest that was lost costs nothing but the reasons of failures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from scopeline.batch import Job, Outcome, State
from scopeline.errors import ConfigError
from scopeline.replace_file import cannot_write, replace_file
from scopeline.summary import Inputs

MANIFEST: Final = "manifest.jsonl"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A recording as it stands."""

    place: str
    """Hash of its path: names it, and says nothing of the path."""
    file: str
    folder: str
    """Name of its folder of results."""
    state: State
    reason: str = ""
    inputs: Inputs | None
    """The hashes that decide its results: video, pipeline, models, marks, profile, version and code. Null when it
    cannot be read."""
    metadata: dict[str, str] = {}


class Manifest:
    """The manifest of one folder of results. Written by one thread; two runs may share it.

    Raises:
        ConfigError: the folder cannot be made.
        SinkError: it cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / MANIFEST
        self._encoder = msgspec.json.Encoder()
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or str(error)
            raise ConfigError(
                f"{out}: wanted a folder for results, cannot make it ({why}); name another with --out"
            ) from error
        entries = read_manifest(self._path)
        if entries:
            lines = [self._encoder.encode(entry) for entry in entries.values()]
            replace_file(self._path, b"\n".join([*lines, b""]))

    def add(self, outcome: Outcome) -> None:
        """Write down what became of a recording."""
        job = outcome.job
        # A line goes out in one write to the end of the file: those of two runs do not mix.
        line = self._encoder.encode(entry_of(job, outcome.state, outcome.reason)) + b"\n"
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)
        except OSError as error:
            raise cannot_write(self._path, error) from error


def entry_of(job: Job, state: State, reason: str) -> Entry:
    return Entry(
        place=job.place,
        file=job.video.name,
        folder=job.folder.name,
        state="done" if state == "already done" else state,
        reason=reason,
        inputs=job.inputs,
        metadata=dict(job.metadata),
    )


def read_manifest(path: Path) -> dict[str, Entry]:
    """The newest entry of every recording, by place; lines that cannot be read are left out."""
    decoder = msgspec.json.Decoder(Entry)
    entries: dict[str, Entry] = {}
    for line in _lines(path):
        try:
            entry = decoder.decode(line)
        except msgspec.DecodeError:
            continue
        entries.pop(entry.place, None)
        entries[entry.place] = entry
    return entries


def _lines(path: Path) -> Iterable[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise cannot_write(path, error) from error
