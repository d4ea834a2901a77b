"""`scopeline doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scopeline.doctor import Finding, State, cpu_path_works, examine

_MARKS: Final[dict[State, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "optional": ("optional", "yellow"),
    "problem": ("problem", "bold red"),
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what this machine has, what is missing and how to get it.

    Ends with exit code 0 when video can be judged on the CPU, 1 when something is in the way.
    """
    findings = examine()
    works = cpu_path_works(findings)
    if as_json:
        print(
            json.dumps({"cpu_path": works, "findings": [asdict(finding) for finding in findings]}, indent=1)
        )
    else:
        _print(Console(), findings, works)
    if not works:
        raise typer.Exit(1)


def _print(console: Console, findings: list[Finding], works: bool) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, colour = _MARKS[finding.state]
        words = Text(finding.found)
        if finding.remedy:
            words.append(f"\n→ {finding.remedy}", style=colour)
        table.add_row(Text(mark, style=colour), Text(finding.name, style="bold"), words)
    console.print(table)
    verdict = "Video can be judged on the CPU of this machine." if works else "A problem above is in the way."
    console.print(Text(f"\n{verdict}", style="bold green" if works else "bold red"))
