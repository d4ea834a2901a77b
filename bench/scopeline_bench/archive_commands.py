"""`scopeline bench archive`, `long` and `cluster`: batches that are killed, long, or on many machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_Out = Annotated[Path | None, typer.Option(help="Folder that gets a dated folder of results, bench/results.")]
_Pipeline = Annotated[
    str, typer.Option("--pipeline", "-p", help="Pipeline file, or the name of one that ships.")
]


def archive(
    clips: Annotated[int, typer.Option(min=1, help="Recordings that are whole.")] = 195,
    broken: Annotated[int, typer.Option(min=0, help="Recordings that are not.")] = 5,
    kills: Annotated[int, typer.Option(min=0, help="How often the batch is killed at a random moment.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    seconds: Annotated[float, typer.Option(min=2, help="Length of a drawn clip.")] = 6.0,
    real: Annotated[Path | None, typer.Option(help="Folder of real recordings to be among them.")] = None,
    pipeline: _Pipeline = "colonoscopy",
    chunk_minutes: Annotated[float, typer.Option(help="As of `scopeline batch`.")] = 5.0,
    out: _Out = None,
) -> None:
    """An archive with broken recordings in it, undisturbed and killed with `kill -9` at random moments.

    Exit code 1 unless every whole clip has results, every broken one a reason, and the results of the killed and
    resumed run are those of the undisturbed one, byte for byte but for run stamps.
    """
    from scopeline_bench import archive as bench

    right = bench.main(
        clips=clips,
        broken=broken,
        kills=kills,
        workers=workers,
        seconds=seconds,
        real=real,
        pipeline=pipeline,
        chunk_minutes=chunk_minutes,
        out=out,
    )
    if not right:
        raise typer.Exit(1)


def long(
    minutes: Annotated[float, typer.Option(min=1, help="Length of the recording.")] = 120.0,
    fps: Annotated[
        int,
        typer.Option(
            min=1, help="Frame rate of the recording, in Hz; 5 makes two hours affordable on few cores."
        ),
    ] = 25,
    workers: Annotated[int, typer.Option(min=1, help="Processes of the run in pieces.")] = 2,
    chunk_minutes: Annotated[float, typer.Option(help="As of `scopeline batch`.")] = 5.0,
    pipeline: _Pipeline = "colonoscopy",
    work: Annotated[
        Path | None, typer.Option(help="Folder that keeps what was done; the same command goes on.")
    ] = None,
    out: _Out = None,
) -> None:
    """One long 1080p recording in pieces and in one pass: memory over time, and whether the results are the same.

    Exit code 1 when they are not, or when the largest process grows by more than 5 % (10 MB at least) after the first
    fifth of a run.
    """
    from scopeline_bench import long_recording as bench

    if not bench.main(
        minutes=minutes,
        fps=fps,
        workers=workers,
        chunk_minutes=chunk_minutes,
        pipeline=pipeline,
        work=work,
        out=out,
    ):
        raise typer.Exit(1)


def cluster(
    clips: Annotated[int, typer.Option(min=2, help="Recordings.")] = 24,
    seconds: Annotated[float, typer.Option(min=2, help="Length of a drawn clip.")] = 20.0,
    pipeline: _Pipeline = "colonoscopy",
    chunk_minutes: Annotated[float, typer.Option(help="As of `scopeline batch`.")] = 5.0,
    out: _Out = None,
) -> None:
    """Local workers and a Ray cluster of two nodes on this machine, one of which is killed on the way.

    Needs the extra `ray`. Exit code 1 unless all runs give the same results, run stamps left out.
    """
    from scopeline_bench import cluster as bench

    if not bench.main(clips=clips, seconds=seconds, pipeline=pipeline, chunk_minutes=chunk_minutes, out=out):
        raise typer.Exit(1)
