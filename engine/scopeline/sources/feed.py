"""Feed: a live source that never gives up. A lost connection is weather: told, and tried again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from scopeline.errors import SourceError
from scopeline.frame import Frame
from scopeline.notices import Incident, Notices, Signal
from scopeline.sources.connection import Arrival, Connection
from scopeline.sources.live_timeline import LiveTimeline
from scopeline.sources.pace import Pace

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 2.0
"""Between two attempts. A room waits for its picture: the usual half a minute is for servers."""


class Feed:
    """Frames of one connection after the other, numbered and timed as one stream, until it is closed.

    Args:
        name: What a person would call it.
        connect: Makes a connection; called again after each that ended.
        notices: Where it is told that a connection is sought, was lost, or says strange times.
        pace: The clock, and the wait between two attempts.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        notices: Notices,
        *,
        pace: Pace | None = None,
    ) -> None:
        self.name = name
        self.duration_s: float | None = None
        self.connections = 0
        """How many have delivered a picture so far."""
        self._connect, self._notices, self._pace = connect, notices, pace or Pace()
        self._damaged: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._closed = threading.Event()

    @property
    def damaged(self) -> Mapping[str, int]:
        """What never became a frame, by reason, over all connections."""
        with self._lock:
            return self._damaged + Counter(self._connection.damaged if self._connection else {})

    def frames(self) -> Iterator[Frame]:
        """Frames for ever, across every loss of the connection, until `close`."""
        seq, wait_s = 0, FIRST_WAIT_S
        timeline = LiveTimeline()
        self._notices.post(Signal.CONNECTING, f"opening {self.name}")
        while not self._closed.is_set():
            why, is_final = "the sender ended the stream", False
            try:
                for number, arrival in enumerate(self._arrivals()):
                    time_s, jumped = timeline.next(arrival.stamp_s, arrival.captured_ns)
                    if number == 0:
                        self.connections += 1
                        wait_s = FIRST_WAIT_S
                    if jumped:
                        self._notices.post(
                            Incident.TIME_JUMPED,
                            f"the stream's stamps jumped to {arrival.stamp_s} s; time goes on by the clock",
                            at_ns=arrival.captured_ns,
                        )
                    yield Frame(seq, arrival.captured_ns, time_s, arrival.picture)
                    seq += 1
            except SourceError as error:
                why = str(error)
            finally:
                is_final = self._leave()
            if is_final or self._closed.is_set():
                return
            self._notices.post(
                Signal.RECONNECTING if self.connections else Signal.CONNECTING,
                f"{why if why.startswith(self.name) else f'{self.name}: {why}'}; trying again",
            )
            timeline.reconnected()
            if not self._pace.wait_until(self._pace.now_ns() + round(wait_s * 1e9)):
                return
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def close(self) -> None:
        """Make `frames` return within a second. From any thread, any number of times, also in a signal handler."""
        self._closed.set()
        self._pace.stop()
        connection = self._connection  # without the lock: a signal handler may have interrupted its holder
        if connection is not None:
            connection.interrupt()

    def _arrivals(self) -> Iterator[Arrival]:
        connection = self._connect()
        with self._lock:
            self._connection = connection
        if self._closed.is_set():  # closed while it was being made
            return
        yield from connection.arrivals()

    def _leave(self) -> bool:
        """Close the connection and keep its damage; whether it was the last."""
        connection = self._connection
        if connection is None:
            return False
        connection.interrupt()
        connection.close()
        with self._lock:
            self._connection = None
            self._damaged += Counter(connection.damaged)
        return connection.is_final
