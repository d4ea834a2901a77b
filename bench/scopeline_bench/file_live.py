"""File live: what `scopeline live` spends on a recording that it replays at its own pace."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import msgspec

from scopeline.notices import Notices
from scopeline.sources.address import parse_address
from scopeline.sources.open_feed import open_feed
from scopeline.station import StationPlan, station
from scopeline_bench.contenders import Job, pipeline
from scopeline_bench.spent import Meter, Spent


class LiveSpent(msgspec.Struct, frozen=True, kw_only=True):
    """A live run over a recording."""

    spent: Spent
    captured: int
    published: int

    @property
    def cpu_s_per_1000(self) -> float:
        return self.spent.cpu_s_per_1000


def scopeline_live(job: Job) -> LiveSpent:
    """The engine as `scopeline live` runs it, with a socket that nobody listens to, a journal, replay and control."""
    notices = Notices()
    with tempfile.TemporaryDirectory(prefix="scopeline-") as place:
        folder = Path(place)
        plan = StationPlan(
            publish=f"ipc://{folder}/bus",
            control=f"ipc://{folder}/control",
            replay=f"ipc://{folder}/replay",
            journal=folder / "journal",
        )
        with (
            closing(open_feed(parse_address(job.clip), notices)) as source,
            station(pipeline(job), source, notices, plan) as (engine, _),
        ):
            meter = Meter()
            ledger = engine.run().ledger
            spent = meter.spent(ledger.captured, ledger.published)
    return LiveSpent(spent=spent, captured=ledger.captured, published=ledger.published)
