"""JournalKeeper: makes a journal safe against power cuts, and small enough, beside the thread that writes it."""

from __future__ import annotations

import threading
from typing import Final

from scopeline.journal import Journal
from scopeline.notices import Notices, Trouble

EVERY_S: Final = 5.0
"""What a power cut can take."""


class JournalKeeper:
    """A companion that syncs every five seconds and deletes what is beyond the bound.

    The publishing thread never waits for the disk: `docs/journal.md`, "Cost", has the measurement.
    """

    name = "journal"

    def __init__(self, journal: Journal, notices: Notices) -> None:
        self._journal, self._notices = journal, notices
        self._stopped = threading.Event()
        self._failing = False

    def work(self) -> None:
        """Tend the journal until `stop`; troubles are posted, never raised."""
        while not self._stopped.wait(EVERY_S):
            self.tend()

    def tend(self) -> None:
        """Sync and make room once."""
        try:
            self._journal.sync()
            self._journal.make_room()
        except OSError as error:
            if not self._journal.records:
                return  # nothing was ever written, and whoever tries to has said so
            if not self._failing:
                reason = error.strerror or str(error)
                now = "is not written either" if self._journal.missing else "goes on being written"
                self._notices.post(
                    Trouble.JOURNAL_FAILED,
                    f"the journal is not safe against a power cut, or cannot be kept within its bound ({reason}); "
                    f"what is published {now}; check the disk",
                )
            self._failing = True
            return
        if self._failing:
            self._failing = False
            self._notices.post(
                Trouble.JOURNAL_WORKS_AGAIN,
                "the disk takes the journal again; what it refused may be gone after a power cut",
            )

    def stop(self) -> None:
        self._stopped.set()
