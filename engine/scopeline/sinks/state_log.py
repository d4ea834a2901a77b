"""StateLogSink: one JSON line per change of state, for whoever looks after the machine.

Frames, segments and the regular `running` are left out: a day makes some hundred lines. The file turns over by size.
It is opened, written and closed for each line, so that a log that was moved or deleted is simply begun again.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

import msgspec

from scopeline.wire import Message, StatusMessage, wall_clock

MOST_BYTES: Final = 1_000_000
KEPT: Final = 5
"""Older files beside the one that is written: `state.log.1` is the newest of them."""

_log = logging.getLogger(__name__)


class StateLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line."""

    event: str
    at_s: float
    """Seconds of the engine's monotonic clock, as `published_ns` of the message has them."""
    wall_unix_s: float | None = None
    """Clock time, only when the pipeline says `wall_clock = true`: it can identify a patient."""
    signal: str = ""
    what: str = ""
    """The incident or trouble."""
    text: str = ""
    captured: int = 0
    published: int = 0
    lost: dict[str, int] = {}
    damaged: dict[str, int] = {}
    latency_ms: dict[str, float] = {}
    session: str = ""
    version: str = ""
    config: str = ""


class StateLogSink:
    """Writes a line for every status message but `running`. Made, worked and closed by one thread.

    Nothing that the disk does reaches the run: what cannot be written is left out, and said once on standard error.
    The source's name is not written; a recording's may be a patient's.

    Args:
        path: The file; its folder is made when it does not exist.
        with_wall_clock: Whether lines carry the time of day, see `Publishing.wall_clock`.
        most_bytes: Size at which the file turns over.
        kept: Older files that are kept.
    """

    def __init__(
        self, path: Path, *, with_wall_clock: bool = False, most_bytes: int = MOST_BYTES, kept: int = KEPT
    ) -> None:
        self._path, self._with_wall_clock = path, with_wall_clock
        self._most_bytes, self._kept = most_bytes, kept
        self._fails = False

    def publish(self, message: Message) -> None:
        """Take one message."""
        if not isinstance(message, StatusMessage) or message.event == "running":
            return
        line = msgspec.json.encode(self._line(message)) + b"\n"
        try:
            self._append(line)
        except OSError as error:
            if not self._fails:
                _log.warning(
                    "%s: cannot write the state log (%s); the run goes on", self._path, error.strerror
                )
            self._fails = True
        else:
            self._fails = False

    def close(self) -> None:
        """Nothing is open."""

    def _line(self, message: StatusMessage) -> StateLine:
        starts = message.event == "started"
        return StateLine(
            event=message.event,
            at_s=round(message.published_ns / 1e9, 3),
            wall_unix_s=round(wall_clock(), 3) if self._with_wall_clock else None,
            signal=message.signal,
            what=message.incident or "",
            text=message.text,
            captured=message.ledger.captured,
            published=message.ledger.published,
            lost=message.ledger.lost,
            damaged=message.ledger.damaged,
            latency_ms=message.latency_ms or {},
            session=message.session if starts else "",
            version=message.version if starts else "",
            config=message.config if starts else "",
        )

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            is_full = file.tell() > 0 and file.tell() + len(line) > self._most_bytes
            if not is_full:
                file.write(line)
        if is_full:
            self._turn_over()
            self._path.write_bytes(line)

    def _turn_over(self) -> None:
        for number in range(self._kept, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            if older.exists():
                os.replace(older, self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
