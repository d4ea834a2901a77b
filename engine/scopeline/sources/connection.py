"""Connection: one attempt at a live feed, and what arrives over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from scopeline.picture import Picture


@dataclass(frozen=True, slots=True)
class Arrival:
    """One picture as a connection delivered it."""

    picture: Picture
    captured_ns: int
    stamp_s: float | None
    """The stream's own stamp, where it has one."""


class Connection(Protocol):
    """One attempt at a feed: opened by its constructor or at the first picture, ended for good by its end."""

    is_final: bool
    """True when what ended will not come back, as standard input."""

    @property
    def damaged(self) -> Mapping[str, int]:
        """Damage of this connection, by reason."""
        ...

    def arrivals(self) -> Iterator[Arrival]:
        """Pictures until it ends.

        Raises:
            SourceError: it could not be opened or broke; the text says why.
        """
        ...

    def interrupt(self) -> None:
        """Make a waiting `arrivals` return within a second. From any thread, any number of times, also in a signal
        handler and before `arrivals`."""
        ...

    def close(self) -> None:
        """Give back what it holds; called once, by the thread that reads."""
        ...
