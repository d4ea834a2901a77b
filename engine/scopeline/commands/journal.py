"""`scopeline journal`: what the journals of past runs hold, whether they are whole, and results from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from scopeline.errors import JournalError
from scopeline.journal_files import SessionFolder, default_journal, numbered_files, session_folders
from scopeline.journal_reader import JournalReader, Verdict
from scopeline.journal_summary import Happening, JournalSummary, summarise_journal
from scopeline.replace_file import replace_file
from scopeline.sinks.folder import FolderSink

journal = typer.Typer(
    no_args_is_help=True, help="Journals of past runs: list, verify, summarise, export. Research use only."
)

_RESEARCH = "research use only; not a medical device"
_Folder = Annotated[
    Path, typer.Argument(help="A session's folder, or a folder of journals: then its newest session.")
]
_OwnFolder = Annotated[
    Path,
    typer.Argument(
        help="A session's folder, or a folder of journals: then its newest session.",
        default_factory=default_journal,
        show_default="where live writes them",
    ),
]


@journal.command("list")
def list_journals(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of journals.", default_factory=default_journal, show_default="where live writes them"
        ),
    ],
) -> None:
    """Show the sessions in a folder of journals, the newest last."""
    table = Table(title=f"journals in {folder}", title_justify="left", box=SIMPLE_HEAD, caption=_RESEARCH)
    for column in ("session", "version", "files", "MB", "last written"):
        table.add_column(column, justify="right" if column in ("files", "MB") else "left", no_wrap=True)
    for each in _sessions(folder):
        written = datetime.fromtimestamp(each.changed_ns / 1e9).isoformat(" ", "seconds")
        version = _version(each)
        table.add_row(each.session, version, str(len(each.files)), f"{each.bytes / 1e6:.1f}", written)
    Console().print(table)


@journal.command("verify")
def verify(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A session's folder, or a folder of journals: then all of them.",
            default_factory=default_journal,
            show_default="where live writes them",
        ),
    ],
    noted: Annotated[
        str | None,
        typer.Option(help="A head that was noted earlier; that the journal still has it is checked as well."),
    ] = None,
) -> None:
    """Walk the chain of every record and say where it breaks.

    A part of a record at the end is what a killed process or a power cut
    leaves: it is told and is no fault. Note the head somewhere else: with
    it can be proved later that nothing up to there was changed or cut off.

    Exit codes: 0 whole, 1 something was changed, removed or damaged.
    """
    console = Console(soft_wrap=True)
    paths = [folder] if _is_session(folder) else [each.path for each in _sessions(folder)]
    verdicts = [(path, JournalReader(path).verify(noted)) for path in paths]
    for path, verdict in verdicts:
        _show_verdict(console, path, verdict)
    console.print(_RESEARCH, style="dim")
    if not all(verdict.intact for _, verdict in verdicts):
        raise typer.Exit(1)


@journal.command("summary")
def summary(folder: _OwnFolder) -> None:
    """Summarise a run from its journal: how it ended, frames and losses, latency, weather, marks, segments."""
    console = Console(soft_wrap=True)
    told, _, verdict = summarise_journal(JournalReader(_chosen(folder)))
    _show_summary(console, told, verdict)
    console.print(_RESEARCH, style="dim")


@journal.command("export")
def export(
    folder: _Folder,
    out: Annotated[Path, typer.Argument(help="Folder for the results; made when it does not exist.")],
) -> None:
    """Write a run's results from its journal, as `batch` writes them: frames, segments, chapters, summary.

    journal.json beside them has the weather, incidents and marks.
    """
    reader = JournalReader(_chosen(folder))
    sink = FolderSink(out)
    try:
        for message in reader.messages():
            sink.publish(message)
    finally:
        sink.close()
    told, _, _ = summarise_journal(reader)
    replace_file(out / "journal.json", msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    Console(soft_wrap=True).print(f"wrote {sum(told.messages.values())} messages to {out}; {_RESEARCH}")


def _is_session(folder: Path) -> bool:
    try:
        return bool(numbered_files(folder))
    except OSError as error:
        raise JournalError(f"{folder}: cannot be read ({error.strerror or error})") from error


def _sessions(folder: Path) -> list[SessionFolder]:
    try:
        found = session_folders(folder)
    except OSError as error:
        raise JournalError(f"{folder}: cannot be read ({error.strerror or error})") from error
    if not found:
        raise JournalError(f"{folder}: wanted a folder of journals, one folder per session in it; found none")
    return found


def _chosen(folder: Path) -> Path:
    return folder if _is_session(folder) else _sessions(folder)[-1].path


def _version(each: SessionFolder) -> str:
    first = next(iter(JournalReader(each.path).records()), None)
    if first is None or first.kind != b"header":
        return "?"
    return str(msgspec.json.decode(first.payload).get("version", "?"))


def _show_verdict(console: Console, path: Path, verdict: Verdict) -> None:
    word = "[green]whole[/]" if verdict.intact else f"[bold red]{verdict.faults_found} faults[/]"
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict.records.items()))
    console.print(f"{path.name}: {word}; {verdict.files} files, {counts}", highlight=False)
    for fault in verdict.faults:
        text = f"  file {fault.file}, byte {fault.offset}: {fault.kind}: {fault.text}"
        console.print(text, highlight=False, markup=False)
    for note in _notes(verdict):
        console.print(f"  {note}", highlight=False, markup=False)
    console.print(f"  head {verdict.head}", highlight=False)


def _notes(verdict: Verdict) -> list[str]:
    notes = []
    if verdict.torn_bytes:
        notes.append(
            f"ends with {verdict.torn_bytes} bytes of a record that was never finished: killed, or a power cut"
        )
    if verdict.ended is None:
        notes.append("has no end: the run was cut off, or still goes on")
    if verdict.dropped:
        notes.append(f"files 1 to {verdict.dropped} were dropped for room")
    if verdict.unwritten:
        notes.append(
            f"{verdict.unwritten} messages were published and not written: the disk did not take them"
        )
    return notes


def _show_summary(console: Console, told: JournalSummary, verdict: Verdict) -> None:
    results, ledger = told.results, told.ledger
    lines = [
        ("session", f"{told.session}, Scopeline {told.version}"),
        ("source", f"{results.source}, pipeline {results.pipeline}"),
        ("ended", told.ended),
        (
            "journal",
            "whole" if told.intact else f"{verdict.faults_found} faults, see scopeline journal verify",
        ),
        ("messages", _counts(told.messages)),
        ("not in the journal", _counts(told.absent) or "none"),
        ("length", f"{results.stream_s:.1f} s of stream in {results.seconds:.1f} s"),
        ("frames", f"{results.frames.published} published, {results.frames.usable} judged"),
        ("not judged", _counts(results.frames.unusable) or "none"),
    ]
    if ledger is not None:
        lost = _counts(ledger.lost) or "none"
        lines.append(("ledger", f"{ledger.captured} captured, {ledger.in_flight} in flight, lost: {lost}"))
        lines.append(("damaged packets", _counts(ledger.damaged) or "none"))
    lines.append(("latency", ", ".join(f"{name} {value:g} ms" for name, value in told.latency_ms.items())))
    table = Table(box=None, show_header=False, title="run", title_justify="left")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in lines:
        table.add_row(name, text)
    console.print(table)
    for title, happenings in (
        ("weather", told.weather),
        ("incidents", told.incidents),
        ("troubles", told.troubles),
        ("marks", told.marks),
    ):
        if happenings:
            console.print(_happenings(title, happenings))
    if results.segments:
        console.print(_segments(told))


def _happenings(title: str, happenings: Sequence[Happening]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("at, s", justify="right")
    table.add_column("what", no_wrap=True)
    table.add_column("text")
    for each in happenings:
        table.add_row(f"{each.at_s:.1f}", each.what, each.text)
    return table


def _segments(told: JournalSummary) -> Table:
    table = Table(title="segments", title_justify="left", box=SIMPLE_HEAD)
    for column in ("number", "location", "from, s", "to, s", "MES", "worst", "usable", "state"):
        table.add_column(column, justify="left" if column in ("location", "state") else "right")
    for row in told.results.segments:
        table.add_row(
            str(row.number),
            row.location or "-",
            f"{row.start_s:.1f}",
            f"{row.end_s:.1f}",
            "-" if row.mes_dominant is None else str(row.mes_dominant),
            "-" if row.mes_worst is None else str(row.mes_worst),
            "-" if row.usable_share is None else f"{100 * row.usable_share:.0f} %",
            row.state,
        )
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
