"""Series: several runs of one recipe, one after the other, and one table at the end. What is done is not run again."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from scopeline.errors import ConfigError, SinkError
from scopeline_training.experiment import Experiment
from scopeline_training.mask_scores import mask_scores
from scopeline_training.run_options import RunOptions
from scopeline_training.run_record import lacking
from scopeline_training.running import RunResult, run_experiment
from scopeline_training.scores import overall_scores
from scopeline_training.toml_text import toml_text

DONE = "result.json"
SHOWN = ("balanced accuracy", "macro F1", "macro AUROC", "Dice", "IoU")
"""Figures that a table has."""


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a series."""

    name: str
    """Of its folder."""
    settings: dict[str, str]
    """What makes it differ, for the table."""
    experiment: Experiment


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to; also the mark that it is done."""

    settings: dict[str, str]
    sizes: dict[str, int]
    """Part of the split -> pictures."""
    lacking: str = ""
    """Labels without a picture in a part, as "nose in val"."""
    figures: dict[str, str]
    """With intervals, by head and name."""
    epochs: int
    recipe_sha256: str
    data_sha256: str
    bundle_sha256: str


def run_series(
    members: Sequence[Member], out: Path, *, command: str, beside: Path | None, options: RunOptions,
    console: Console | None = None,
) -> list[Row]:  # fmt: skip
    """Runs what is not done yet, and shows and writes the table of all: `table.csv` in `out`.

    Raises:
        ConfigError: a folder holds the result of another recipe.
    """
    console = console or Console()
    rows = []
    for number, member in enumerate(members, start=1):
        text = toml_text(msgspec.to_builtins(member.experiment))
        folder = out / member.name
        row = _done(folder, text)
        said = ", ".join(f"{key} {value}" for key, value in member.settings.items())
        console.print(f"[bold]{number} of {len(members)}[/]: {said}{'' if row is None else ' (done before)'}")
        if row is None:
            result = run_experiment(
                member.experiment, folder, recipe=text, command=command, beside=beside, console=console,
                options=_options(options, folder),
            )  # fmt: skip
            if result is None:  # a helping process of a fit on several devices
                continue
            row = _row(member, result)
            (folder / DONE).write_bytes(msgspec.json.format(msgspec.json.encode(row)))
        rows.append(row)
    _write(out / "table.csv", rows)
    console.print(_table(rows))
    return rows


def _options(options: RunOptions, folder: Path) -> RunOptions:
    """The options, with what an interrupted run left taken up."""
    return RunOptions(
        force=options.force,
        resume=(folder / "fits").is_dir(),
        go_on_from=options.go_on_from,
        limit=options.limit,
    )


def _done(folder: Path, text: str) -> Row | None:
    path = folder / DONE
    if not path.is_file():
        return None
    row = msgspec.json.decode(path.read_bytes(), type=Row)
    before = (folder / "recipe.toml").read_text("utf-8")
    if before != text:
        raise ConfigError(
            f"{folder}: holds a run of another recipe; choose another --out, or remove the folder"
        )
    return row


def _row(member: Member, result: RunResult) -> Row:
    figures = {}
    for answers in result.answers:
        for figure in overall_scores(answers):
            if figure.name in SHOWN:
                figures[f"{answers.head}: {figure.name}"] = str(figure)
    for masks in result.masks:
        for figure in mask_scores(masks):
            if figure.name in SHOWN:
                figures[f"{masks.head}: {figure.name}"] = str(figure)
    sizes = {f"{name} pictures": count for name, count in result.sizes.items()}
    return Row(
        settings=member.settings, sizes=sizes, lacking=lacking(result.record.split), figures=figures,
        epochs=result.epochs, recipe_sha256=result.record.recipe_sha256, data_sha256=result.record.data_sha256,
        bundle_sha256=result.bundle_sha256,
    )  # fmt: skip


def _cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    settings = _all_keys([row.settings for row in rows])
    sizes = _all_keys([row.sizes for row in rows])
    figures = _all_keys([row.figures for row in rows])
    lacks = ["lacking"] if any(row.lacking for row in rows) else []
    header = [*settings, *sizes, *lacks, "epochs", *figures]
    lines = [
        [
            *(row.settings.get(name, "") for name in settings),
            *(str(row.sizes.get(name, "")) for name in sizes),
            *(row.lacking for _ in lacks),
            str(row.epochs),
            *(row.figures.get(name, "") for name in figures),
        ]
        for row in rows
    ]
    return header, lines


def _all_keys(tables: Sequence[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(key for table in tables for key in table))


def _write(path: Path, rows: Sequence[Row]) -> None:
    header, lines = _cells(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            hashes = [[*line, row.bundle_sha256] for line, row in zip(lines, rows, strict=True)]
            csv.writer(file).writerows([[*header, "bundle sha256"], *hashes])
    except OSError as error:
        raise SinkError(f"{path}: cannot write the table ({error.strerror})") from error


def _table(rows: Sequence[Row]) -> Table:
    """What fits a terminal: the settings that differ, and each head's first figure without its interval."""
    header, lines = _cells(rows)
    leading: dict[str, str] = {}
    for name in _all_keys([row.figures for row in rows]):
        leading.setdefault(name.partition(":")[0], name)
    differ = [
        name
        for name in _all_keys([row.settings for row in rows])
        if len({row.settings.get(name) for row in rows}) > 1
    ]
    table = Table(
        box=SIMPLE_HEAD, caption="all columns, with 95 % intervals from resampling groups: table.csv"
    )
    for name in (*differ, *leading.values()):
        table.add_column(name, justify="right" if name in leading.values() else "left")
    for line in lines:
        said = dict(zip(header, line, strict=True))
        figures = (said[name].partition(" (")[0] for name in leading.values())
        table.add_row(*(said[name] for name in differ), *figures)
    return table
