"""`scopeline bench meter`: the bench itself, checked against faults that it plants in a feed.

A sender that holds pictures back by known times, makes some that it never sends and swaps others goes through the same
pipe, engine, socket and arithmetic as every other feed. Twice: once more at a fifth of the rate, where a meter that
counts the wait for a picture would show the longer pause.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from rich.console import Console

from scopeline_bench.engine_process import EngineProcess
from scopeline_bench.filed import Filed
from scopeline_bench.journeys import Account, Times, account, journeys, times
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.page import verdict
from scopeline_bench.painter import Plant
from scopeline_bench.report import Rows, describe
from scopeline_bench.sender import Sender
from scopeline_bench.stage import progress_bar
from scopeline_bench.stamps import Rows64
from scopeline_bench.watched_feed import PictureSize, watched_feed

LIMIT_MS: Final = 1.0
_SIZE: Final = PictureSize(640, 480, 10)
_HELD_S: Final = (0.0, 0.005, 0.020, 0.045)
"""Held back in turn; all shorter than the period, so that none delays the next."""
_PLANTED, _MARGIN = 240, 20
"""Pictures in which something is planted, after and before some that are left alone."""
_LOST_EVERY, _SWAPPED_EVERY = 17, 23


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was planted and what the bench said of it."""

    what: str
    planted: float
    found: float
    allowed: float

    @property
    def is_right(self) -> bool:
        return abs(self.found - self.planted) <= self.allowed


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """Both runs."""

    checks: list[Check]
    fast_ms: Times
    """Captured to received at the faster rate."""
    slow_ms: Times
    """The same at a pause of 200 ms between pictures."""


def main(*, page: Path | None, out: Path | None) -> bool:
    """Measure, print, save; whether everything planted was found."""
    console, machine = Console(), this_machine()
    with progress_bar(console) as progress:
        task = progress.add_task("planted faults, then a slower feed", total=2)
        with watched_feed("raw", _SIZE, "demo", plants()) as feed:
            _listen(feed.engine, feed.sender, (_PLANTED + 2 * _MARGIN))
            checks, fast_ms = _checks(feed.sender, feed.engine)
        progress.advance(task)
        slow = PictureSize(_SIZE.width_px, _SIZE.height_px, 5)
        with watched_feed("raw", slow, "demo") as feed:
            _listen(feed.engine, feed.sender, 40)
            heard = _finished(feed.engine, feed.sender)
            slow_ms = times((heard[:, 3] - heard[:, 1]) / 1e6)
        progress.advance(task)
    checked = Checked(checks=[*checks, pacing_check(fast_ms, slow_ms)], fast_ms=fast_ms, slow_ms=slow_ms)
    is_right = all(check.is_right for check in checked.checks)
    notes = _notes(checked, machine)
    Filed(
        name="meter",
        title="Scopeline: the meter, checked",
        lead="Delays, losses and swaps planted in a feed, and what the bench says of it.",
        machine=machine,
        tables=[check_table(checked)],
        notes=notes,
        figures=checked,
        before=[verdict(notes[0], is_good=is_right)],
    ).file(console, out, page)
    return is_right


def plants() -> dict[int, Plant]:
    """What is planted, by place: losses and swaps never touch each other or each other's neighbours."""
    found: dict[int, Plant] = {}
    for place in range(_MARGIN, _MARGIN + _PLANTED):
        found[place] = Plant(held_s=_HELD_S[place % len(_HELD_S)])
    for place in range(_MARGIN, _MARGIN + _PLANTED, _LOST_EVERY):
        found[place] = Plant(is_lost=True)
    for place in range(_MARGIN + 8, _MARGIN + _PLANTED - 1, _SWAPPED_EVERY):
        if not (found[place].is_lost or found[place + 1].is_lost):
            found[place], found[place + 1] = Plant(ahead=1), Plant(ahead=-1)
    return found


def delay_checks(planted: dict[int, Plant], made: Rows64, captured: Rows64, heard: Rows64) -> list[Check]:
    """The time from made to captured, by how long pictures were held; what an unheld one takes is taken off."""
    found = journeys(made, captured, heard)
    taken_ms = (found.captured_ns - found.made_ns) / 1e6
    held_ms = np.array(
        [planted.get(int(number), Plant(is_lost=True)).held_s * 1e3 for number in found.number]
    )
    plain = np.array([number in planted and not planted[number].ahead for number in found.number.tolist()])
    base_ms = float(np.median(taken_ms[plain & (held_ms == 0)]))
    return [
        Check(
            what=f"delay of {held_s * 1e3:g} ms, median of {int((held_ms == held_s * 1e3).sum())} pictures",
            planted=held_s * 1e3,
            found=round(float(np.median(taken_ms[held_ms == held_s * 1e3])) - base_ms, 3),
            allowed=LIMIT_MS,
        )
        for held_s in _HELD_S[1:]
    ]


def count_checks(planted: dict[int, Plant], counts: Account) -> list[Check]:
    """Losses and swaps, to the frame."""
    lost = sum(plant.is_lost for plant in planted.values())
    swapped = sum(plant.ahead == 1 for plant in planted.values())
    wanted = {
        "pictures made and never captured": (lost, counts.never_captured),
        "pictures that came after a later one": (swapped, counts.reordered),
        "pictures that came twice": (0, counts.repeated),
        "pictures whose number cannot be read": (0, counts.unreadable),
        "frames without a result": (0, counts.captured - counts.received),
    }
    return [Check(what=what, planted=a, found=b, allowed=0) for what, (a, b) in wanted.items()]


def pacing_check(fast_ms: Times, slow_ms: Times) -> Check:
    """A feed's own pause must not be in its latency: at twice the pause the median may not rise by a tenth of that."""
    pause_ms = 1000 / _SIZE.fps
    return Check(
        what=f"rise of the median latency at a pause of {2 * pause_ms:g} instead of {pause_ms:g} ms",
        planted=0,
        found=round(slow_ms.p50 - fast_ms.p50, 3),
        allowed=pause_ms / 10,
    )


def check_table(checked: Checked) -> Rows:
    rows = []
    for check in checked.checks:
        verdict = "right" if check.is_right else "WRONG"
        rows.append((check.what, f"{check.planted:g}", f"{check.found:g}", f"{check.allowed:g}", verdict))
    return Rows(
        title="planted and found; ms or pictures",
        columns=("what", "planted", "found", "may differ by", ""),
        rows=tuple(rows),
    )


def _checks(sender: Sender, engine: EngineProcess) -> tuple[list[Check], Times]:
    heard, made, captured = _finished(engine, sender), sender.made(), engine.captured()
    checks = delay_checks(plants(), made, captured, heard)
    checks += count_checks(plants(), account(made, captured, heard))
    return checks, times((heard[:, 3] - heard[:, 1]) / 1e6)


def _listen(engine: EngineProcess, sender: Sender, pictures: int) -> None:
    """Until so many pictures were made."""
    while not engine.has_ended and len(sender.made()) < pictures:
        engine.listen_for(1.0)


def _finished(engine: EngineProcess, sender: Sender) -> Rows64:
    """Every result, when the run has ended."""
    sender.kill()
    engine.listen_for(1.0)
    engine.finish()
    return engine.heard


def _notes(checked: Checked, machine: Machine) -> list[str]:
    verdict = (
        "The meter is right." if all(check.is_right for check in checked.checks) else "THE METER IS WRONG."
    )
    return [
        verdict,
        f"Captured to received, p50 / p95 / p99 / max: {checked.fast_ms} ms at {_SIZE.fps} pictures/s, "
        f"{checked.slow_ms} ms at 5 pictures/s; {_SIZE.width_px}x{_SIZE.height_px}, pipeline demo.",
        describe(machine, load()),
    ]
