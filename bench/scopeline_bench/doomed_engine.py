"""Doomed engine: a process that runs an engine with journal, publisher and replay until somebody kills it.

python -m scopeline_bench.doomed_engine '{"clip": "...", "bundle": "...", "folder": "..."}'
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import zmq

from scopeline.assemble import assemble
from scopeline.desk import Desk
from scopeline.journal import Journal
from scopeline.journal_keeper import JournalKeeper
from scopeline.notices import Notices
from scopeline.replay import Replayer
from scopeline.sinks.journal import JournalSink
from scopeline.sinks.zeromq import ZmqSink
from scopeline.sources.media import MediaSource
from scopeline_bench.contenders import Job, pipeline

SEGMENT_BYTES = 256 * 1024
"""A file ends every second or so: kills hit the change of files too."""
_KEEP_BYTES = 1 << 30
_PATIENCE_S = 60.0


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine reads and where it lives."""

    clip: str
    bundle: str
    folder: str
    """For `bus` and `replay` (sockets) and `journals`."""


def bus(folder: Path) -> str:
    """Where messages are published."""
    return f"ipc://{folder}/bus"


def replay(folder: Path) -> str:
    """Where missed ones are asked for."""
    return f"ipc://{folder}/replay"


def journals(folder: Path) -> Path:
    return folder / "journals"


def run(order: Order) -> None:
    """The engine as a live run has it, but for the size of the journal's files."""
    folder, notices = Path(order.folder), Notices()
    journal = Journal(journals(folder), version="bench", segment_bytes=SEGMENT_BYTES, keep_bytes=_KEEP_BYTES)

    def publisher() -> ZmqSink:
        sink = ZmqSink(bus(folder))
        sink.wait_for_subscriber(_PATIENCE_S)
        return sink

    with zmq.Context() as context, Desk(context, replay=(replay(folder), Replayer(journal))) as desk:
        engine = assemble(
            pipeline(Job(clip=order.clip, bundle=order.bundle, box=(0, 0, 1, 1))),
            MediaSource(order.clip, live=True, threads=1),
            [lambda: JournalSink(journal, notices), publisher],
            live=True,
            notices=notices,
            companions=[desk, JournalKeeper(journal, notices)],
            replay=desk.replay_address,
        )
        engine.run()


if __name__ == "__main__":
    run(msgspec.json.decode(sys.argv[1], type=Order))
