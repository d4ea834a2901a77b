"""Whether hours change anything: latency per minute, memory, threads, descriptors and the ledger over one long run."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress

from scopeline.notices import Signal
from scopeline_bench.engine_process import Change, Weight
from scopeline_bench.journeys import Account, Times, account
from scopeline_bench.machine import Machine, load, this_machine
from scopeline_bench.memory import GROWTH_MB, GROWTH_SHARE
from scopeline_bench.report import Rows, describe, publish, save
from scopeline_bench.stage import progress_bar
from scopeline_bench.tapped_engine import EngineReport
from scopeline_bench.transmission import WHAT, FeedKind
from scopeline_bench.watched_feed import PictureSize, WatchedFeed, watched_feed

WARM_UP_S = 60.0
COMPARED = 5
"""Minutes at either end that are compared."""
NOISE_SHARE = 0.10
"""Latency has drifted when the middle one of the last minutes' p99 is higher than every one of the first minutes', and
by more than this share: the first alone happens once in twelve runs in which nothing drifts."""


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """One minute of the run, the warm-up not counted."""

    made_to_received: Times
    captured_to_published: Times
    """The engine's part."""
    published_to_received: Times
    """The socket, and the bench's own wait for a processor."""
    rss_mb: float
    """Median of the readings."""
    children_rss_mb: float
    threads: int
    """Lowest reading, of threads as of descriptors: what comes and goes is no leak."""
    files: int
    load: float


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """Everything so far."""

    kind: FeedKind
    size: str
    planned: int
    minutes: list[Minute]
    weights: list[Weight]
    changes: list[Change]
    reasons: dict[str, int]
    account: Account | None = None
    """None until the end."""
    report: EngineReport | None = None

    @property
    def ends(self) -> tuple[list[Minute], list[Minute]]:
        """The first and the last minutes, at most half of all each."""
        count = min(COMPARED, len(self.minutes) // 2)
        return self.minutes[:count], self.minutes[-count:] if count else []

    @property
    def has_drifted(self) -> bool:
        """Whether p99 at the end is beyond the noise of the beginning."""
        first, last = ([minute.made_to_received.p99 for minute in end] for end in self.ends)
        if not first:
            return False
        now = statistics.median(last)
        return now > max(first) and now > (1 + NOISE_SHARE) * statistics.median(first)

    @property
    def growth_mb(self) -> float:
        """Median resident memory of the last minutes less that of the first."""
        first, last = ([minute.rss_mb for minute in end] for end in self.ends)
        return statistics.median(last) - statistics.median(first) if first else 0.0

    @property
    def slope_mb_per_hour(self) -> float:
        """Least-squares growth of the resident memory, all readings after the warm-up."""
        if len(self.minutes) < 2:
            return 0.0
        hours = np.arange(len(self.minutes)) / 60
        return float(np.polyfit(hours, [minute.rss_mb for minute in self.minutes], 1)[0])

    @property
    def is_flat(self) -> bool:
        held = [minute.rss_mb for minute in self.minutes[:1]]
        return self.growth_mb <= max(GROWTH_MB, GROWTH_SHARE * sum(held))

    @property
    def is_clean(self) -> bool:
        """No more threads and descriptors in the last minutes than in the first ones, and none after the end."""
        first, last = self.ends
        more = bool(first) and (
            min(minute.threads for minute in last) > max(minute.threads for minute in first)
            or min(minute.files for minute in last) > max(minute.files for minute in first)
        )
        return not more and not (self.report and self.report.left_over)

    @property
    def is_right(self) -> bool:
        balances = self.report is not None and self.report.balances
        return balances and not self.has_drifted and self.is_flat and self.is_clean


def main(kind: FeedKind, *, minutes: int, size: PictureSize, pipeline: str, out: Path | None) -> bool:
    """Measure, print, save, after every minute too; whether nothing drifted, grew or was left behind."""
    console, machine = Console(), this_machine()

    def keep(soak: Soak) -> None:
        if out is not None:
            save("soak", out, machine, _tables(soak), _notes(soak, machine), soak)

    with progress_bar(console) as progress:
        soak = measure_soak(
            kind, minutes=minutes, size=size, pipeline=pipeline, progress=progress, on_minute=keep
        )
    publish("soak", console, out, machine, _tables(soak), _notes(soak, machine), soak)
    return soak.is_right


def measure_soak(
    kind: FeedKind,
    *,
    minutes: int,
    size: PictureSize,
    pipeline: str,
    progress: Progress | None = None,
    on_minute: Callable[[Soak], None] = lambda soak: None,
    warm_up_s: float = WARM_UP_S,
    minute_s: float = 60.0,
) -> Soak:
    """Watch one feed for so many minutes. Ctrl-C ends it early and keeps what was measured.

    Raises:
        SourceError: the machine cannot send the feed, no result came, or the engine failed.
    """
    soak = Soak(kind=kind, size=str(size), planned=minutes, minutes=[], weights=[], changes=[], reasons={})
    task = progress.add_task(f"{kind}: minutes", total=minutes) if progress else None
    with watched_feed(kind, size, pipeline) as feed:
        try:
            feed.engine.listen_for(warm_up_s)
            for _ in range(minutes):
                soak = _after_a_minute(soak, feed, minute_s)
                on_minute(soak)
                if progress and task is not None:
                    progress.advance(task)
                if feed.engine.has_ended:
                    break
        except KeyboardInterrupt:
            pass
        report = feed.engine.finish()
        feed.sender.kill()
        made, captured, heard = feed.sender.made(), feed.engine.captured(), feed.engine.heard
    return msgspec.structs.replace(
        soak, report=report, account=account(made, captured, heard), changes=feed.engine.changes
    )


def _after_a_minute(soak: Soak, feed: WatchedFeed, minute_s: float) -> Soak:
    from_ns = time.monotonic_ns()
    feed.engine.listen_for(minute_s)
    to_ns = time.monotonic_ns()
    legs = feed.journeys().between(from_ns, to_ns).legs()
    held = feed.engine.weight_since(from_ns)
    minute = Minute(
        made_to_received=legs["made to received"],
        captured_to_published=legs["captured to published"],
        published_to_received=legs["published to received"],
        rss_mb=held.rss_mb,
        children_rss_mb=held.children_rss_mb,
        threads=held.threads,
        files=held.files,
        load=load(),
    )
    return msgspec.structs.replace(
        soak,
        minutes=[*soak.minutes, minute],
        weights=feed.engine.weights,
        changes=feed.engine.changes,
        reasons=feed.engine.reasons,
    )


def _tables(soak: Soak) -> list[Rows]:
    rows = []
    for place, minute in enumerate(soak.minutes):
        legs = (minute.captured_to_published, minute.published_to_received)
        whole = minute.made_to_received
        rows.append(
            (
                f"{place + 1}",
                *(f"{value:.1f}" for value in (whole.p50, whole.p99, whole.max, *(leg.p99 for leg in legs))),
                f"{whole.count}",
                f"{minute.rss_mb:.1f}",
                *map(str, (minute.threads, minute.files)),
                f"{minute.load:.0f}",
            )
        )
    return [
        Rows(
            title=f"{soak.kind}: made to result; engine: captured to published; wire: published to received; ms",
            columns=(
                *("minute", "p50", "p99", "max", "engine p99", "wire p99", "results"),
                *("MB", "threads", "files", "load"),
            ),
            rows=tuple(rows),
        )
    ]


def _notes(soak: Soak, machine: Machine) -> list[str]:
    first, last = soak.ends
    notes = [f"{soak.kind}: {WHAT[soak.kind]}; {soak.size}; {len(soak.minutes)} of {soak.planned} minutes."]
    if first:
        before, after = ([minute.made_to_received.p99 for minute in end] for end in (first, last))
        notes.append(
            f"{'p99 HAS DRIFTED' if soak.has_drifted else 'p99 is what it was'}: last {len(last)} minutes "
            f"{statistics.median(after):.1f} ({min(after):.1f}-{max(after):.1f}) ms, first {len(first)} "
            f"{statistics.median(before):.1f} ({min(before):.1f}-{max(before):.1f}) ms; one minute of warm-up before."
        )
        notes.append(
            f"memory {'flat' if soak.is_flat else 'NOT FLAT'}: {first[0].rss_mb:.1f} MB in the first minute, "
            f"{last[-1].rss_mb:.1f} in the last, {soak.growth_mb:+.1f} between the ends, slope "
            f"{soak.slope_mb_per_hour:+.1f} MB per hour; {'nothing' if soak.is_clean else 'SOMETHING'} left behind."
        )
    if soak.report is None or soak.account is None:
        notes.append("STILL RUNNING, OR BROKEN OFF: figures up to here.")
    else:
        ledger, engine = soak.report.ledger, soak.report.latency_ms
        notes.append(
            f"engine, captured to published, whole run: p50 {engine['p50']:.1f}, p99 {engine['p99']:.1f}, "
            f"max {engine['max']:.1f} ms."
        )
        notes.append(
            f"ledger {'balances' if soak.report.balances else 'DOES NOT BALANCE'}: captured {ledger.captured}, "
            f"published {ledger.published}, lost {ledger.lost}, damaged {ledger.damaged}; made {soak.account.made}, "
            f"left out by the sender {soak.account.left_out}, "
            f"never captured {soak.account.never_captured}, received {soak.account.received}, judged "
            f"{soak.account.judged}; not judged: {soak.reasons}."
        )
    told = Counter(change.what for change in soak.changes if change.what != Signal.RUNNING)
    return [*notes, f"told on the way: {dict(told) or 'nothing'}.", describe(machine, load())]
