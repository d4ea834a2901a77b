"""JournalSink: every message into the journal, before anybody else gets it; whatever the disk does."""

from __future__ import annotations

import errno
from typing import Final

from scopeline.journal import Journal
from scopeline.notices import Notices, Trouble
from scopeline.wire import Encoder, Message

RETRY_NS: Final = 5_000_000_000
"""After a failure the disk is left alone for so long, reckoned in `published_ns`."""

_ADVICE: Final = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room within the quota",
    errno.EFBIG: "raise the limit on file sizes",
    errno.EROFS: "mount the disk for writing",
    errno.EACCES: "let this user write there",
    errno.EPERM: "let this user write there",
    errno.EEXIST: "something else lies in its place: move that, or name another folder",
    errno.ENOTDIR: "something else lies in its place: move that, or name another folder",
    errno.EIO: "check the disk",
}


class JournalSink:
    """Appends each message to a journal. Made, worked and closed by one thread.

    Stands before every other sink: then no subscriber has what the journal has not. `publish` never raises for the
    disk's sake: a journal that fails is a notice, once, and what it misses is counted and told in the journal as soon
    as it can be written again. The payload is JSON also where MessagePack is published.
    """

    def __init__(self, journal: Journal, notices: Notices) -> None:
        self._journal, self._notices = journal, notices
        self._encoder = Encoder()
        self._failure = ""
        """Why writing failed; empty while it works."""
        self._retry_ns = 0

    def publish(self, message: Message) -> None:
        """Write one message, or count it as missed."""
        topic, payload = self._encoder.encode(message)
        if self._failure and message.published_ns < self._retry_ns:
            self._journal.skip(topic.decode(), message.seq, self._failure)
            return
        missing = self._journal.missing
        try:
            self._journal.append(message.session, topic.decode(), message.seq, payload)
        except OSError as error:
            self._fail(error, message.published_ns)
            return
        if self._failure:
            self._failure = ""
            self._notices.post(
                Trouble.JOURNAL_WORKS_AGAIN,
                f"the journal is written again; {missing} messages are not in it",
                at_ns=message.published_ns,
            )

    def close(self) -> None:
        """Write what is to be told and wait for the disk; what it refuses then nobody is left to be told."""
        try:
            self._journal.close()
        except OSError as error:
            self._fail(error, self._retry_ns)

    def _fail(self, error: OSError, now_ns: int) -> None:
        self._retry_ns = now_ns + RETRY_NS
        before, self._failure = self._failure, error.strerror or str(error)
        if before:
            return
        advice = _ADVICE.get(error.errno or 0, "see that the folder is there and can be written")
        self._notices.post(
            Trouble.JOURNAL_FAILED,
            f"the journal in {self._journal.folder.name!r} cannot be written ({self._failure}): publishing goes on "
            f"and tries again every {RETRY_NS // 1_000_000_000} s; {advice}",
            at_ns=now_ns,
        )
