"""Compared: what a comparison measured, and what is wanted of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from scopeline_bench.peers import NEWEST, ROBOFLOW, PeerLive
from scopeline_bench.report import Spread, spread
from scopeline_bench.spent import Spent

OURS: Final = "Scopeline"
FLOOR: Final = "floor"
AGAINST_NEWEST, AGAINST_ROBOFLOW, AGAINST_CHEAPEST, AGAINST_FLOOR = 1.0, 0.7, 0.8, 1.1


class ComparePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int
    seconds: float
    fps: int
    frames: int


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One ratio that is wanted."""

    what: str
    limit: float
    found: Spread

    @property
    def is_reached(self) -> bool:
        return self.found.median <= self.limit


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured, by name and round."""

    plan: ComparePlan
    recording: dict[str, list[Spent]]
    live: dict[str, list[PeerLive]]
    versions: dict[str, str]
    missing: dict[str, str]
    """Peers that could not be run, with why."""
    wrong: dict[str, str]
    """Peers that did not judge every picture of the recording once and in order."""
    unaccounted: int
    """Frames of Scopeline's own live runs for which nobody answers."""
    loads: list[float]

    def cpu(self, name: str) -> list[float]:
        return [spent.cpu_s_per_1000 for spent in self.recording[name]]

    def p99(self, name: str) -> list[float]:
        return [run.made_to_received.p99 for run in self.live[name]]

    @property
    def cheapest(self) -> str | None:
        """The peer that took the least processor time for a recording, by its median."""
        peers = [name for name in self.recording if name not in (OURS, FLOOR) and name not in self.wrong]
        return min(peers, key=lambda name: spread(self.cpu(name)).median, default=None)

    @property
    def is_as_wanted(self) -> bool:
        """Every target reached, every frame accounted for."""
        return all(target.is_reached for target in self.targets()) and not self.unaccounted

    def targets(self) -> list[Target]:
        """What is wanted and what was found, each round with itself."""
        found = []
        if self.live.get(OURS):
            for peer, limit in ((NEWEST, AGAINST_NEWEST), (ROBOFLOW, AGAINST_ROBOFLOW)):
                if self.live.get(peer):
                    ratio = ratios(self.p99(OURS), self.p99(peer))
                    found.append(Target(what=f"live, p99 age / {peer}", limit=limit, found=ratio))
        if self.recording.get(OURS):
            if self.cheapest is not None:
                ratio = ratios(self.cpu(OURS), self.cpu(self.cheapest))
                what = f"recording, processor time / {self.cheapest}, the cheapest peer"
                found.append(Target(what=what, limit=AGAINST_CHEAPEST, found=ratio))
            ratio = ratios(self.cpu(OURS), self.cpu(FLOOR))
            found.append(Target(what="recording, processor time / floor", limit=AGAINST_FLOOR, found=ratio))
        return found


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Each round with itself; a round that only one of them finished is left out."""
    return spread([a / b for a, b in zip(ours, theirs, strict=False)])
