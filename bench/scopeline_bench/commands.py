"""Commands of the bench component, offered to the command line as entry points. Thin: work is imported late."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scopeline.errors import ConfigError

if TYPE_CHECKING:
    from scopeline_bench.watched_feed import PictureSize

_Out = Annotated[Path | None, typer.Option(help="Folder that gets a dated folder of results, bench/results.")]


def cost(
    frames: Annotated[int, typer.Option(help="Frames of the clip.", min=100)] = 1000,
    rounds: Annotated[int, typer.Option(help="How often each contender is run; they take turns.", min=1)] = 5,
    bundle: Annotated[
        str,
        typer.Option(help="Bundle folder, the name of one that ships, or 'mobilenet_v2' (random weights)."),
    ] = "colon",
    fps: Annotated[int, typer.Option(help="Frame rate of the clip, in Hz.", min=5)] = 60,
    mbit_s: Annotated[float, typer.Option(help="Bit rate of the clip; decoding costs by the bit.")] = 12.0,
    out: _Out = None,
) -> None:
    """Processor time per 1000 frames of a 1080p H.264 recording, against the plain loop and against the floor.

    The plain loop is what one writes first: PyAV to RGB, crop, resize, normalise, infer. The floor is bare decoding,
    cropping and inference, each measured alone. Same clip, crop, network, runtime, and one thread each. Exit code 1
    when a target is missed: 0.80 of the plain loop, 1.10 of the floor.
    """
    _need_extras()
    from scopeline_bench import cost as bench

    if not bench.main(bundle, frames=frames, rounds=rounds, fps=fps, mbit_s=mbit_s, out=out):
        raise typer.Exit(1)


def memory(
    frames: Annotated[int, typer.Option(help="Frames of the recording.", min=2000)] = 10_000,
    bundle: Annotated[str, typer.Option(help="Bundle folder, or the name of one that ships.")] = "colon",
    out: _Out = None,
) -> None:
    """Memory, threads and open files over one long run.

    Exit code 1 when memory grows by more than 1 % (2 MB at least) after the first thousand frames, or when a thread, a
    socket or a file is left open.
    """
    _need_extras()
    from scopeline_bench import memory as bench

    if not bench.main(bundle, frames=frames, out=out):
        raise typer.Exit(1)


def sleeper(
    sleep_s: Annotated[
        float, typer.Option(help="How long the sleeping subscriber sleeps, in seconds.")
    ] = 10.0,
    rounds: Annotated[
        int, typer.Option(help="Live runs with and without the sleeper; they take turns.", min=1)
    ] = 3,
    messages: Annotated[int, typer.Option(help="Frames of the run that counts messages.", min=100)] = 10_000,
    bundle: Annotated[str, typer.Option(help="Bundle folder, or the name of one that ships.")] = "colon",
    out: _Out = None,
) -> None:
    """Whether a subscriber that sleeps slows the engine, costs others messages, or goes unnoticed.

    Exit code 1 when a subscriber that keeps up missed a message, or one that slept does not know what it missed.
    """
    _need_extras()
    from scopeline_bench import sleeper as bench

    if not bench.main(bundle, sleep_s=sleep_s, rounds=rounds, messages=messages, out=out):
        raise typer.Exit(1)


def journal(
    kills: Annotated[int, typer.Option(help="Engines to kill.", min=1)] = 50,
    seed: Annotated[int, typer.Option(help="Decides the moments and the losses.")] = 1,
    bundle: Annotated[str, typer.Option(help="Bundle folder, or the name of one that ships.")] = "colon",
    out: _Out = None,
) -> None:
    """What is in the journal when an engine is killed with SIGKILL at a random moment, and what replay gives back.

    Exit code 1 when a journal does not open or is not whole, lacks a message that a subscriber had, or when replay
    gives anything but exactly the missing messages.
    """
    _need_extras()
    from scopeline_bench import journal_kill as bench

    if not bench.main(bundle, kills=kills, seed=seed, out=out):
        raise typer.Exit(1)


_Size = Annotated[str, typer.Option(help="Size of the pictures, as 1920x1080.")]
_Fps = Annotated[int, typer.Option(help="Pictures per second.", min=5)]
_PipelineName = Annotated[str, typer.Option(help="Pipeline file, or the name of one that ships.")]


def feeds(
    seconds: Annotated[float, typer.Option(help="How long each feed is measured, in seconds.", min=1)] = 60.0,
    only: Annotated[
        str | None, typer.Option(help="Some of raw,udp,tcp,rtsp,srt,rtmp,http; all when left out.")
    ] = None,
    size: _Size = "1920x1080",
    fps: _Fps = 30,
    pipeline: _PipelineName = "colonoscopy",
    out: _Out = None,
) -> None:
    """Picture made to result received, for each kind of live feed, sent on this machine by ffmpeg and GStreamer.

    A number is burnt into every picture; sender, engine and subscriber are processes of their own. Exit code 1 when a
    feed could not be measured, a ledger does not balance, a result did not arrive, or a run left something open.
    """
    _need_extras()
    from scopeline_bench import feeds as bench
    from scopeline_bench.transmission import kinds_named

    kinds = kinds_named(only)
    if not bench.main(kinds, seconds=seconds, size=_picture_size(size, fps), pipeline=pipeline, out=out):
        raise typer.Exit(1)


def churn(
    times: Annotated[int, typer.Option(help="How often each sender is killed.", min=1)] = 20,
    only: Annotated[str, typer.Option(help="Feeds, as for bench feeds.")] = "udp,rtsp",
    seed: Annotated[int, typer.Option(help="Draws the moments.")] = 1,
    size: _Size = "1920x1080",
    fps: _Fps = 30,
    pipeline: _PipelineName = "colonoscopy",
    out: _Out = None,
) -> None:
    """Kill the sender of a live feed at random moments: how soon it is told, how soon results come again.

    Exit code 1 when a recovery failed, a death was told later than 0.5 s, memory grew, something stayed open, or the
    ledger does not balance.
    """
    _need_extras()
    from scopeline_bench import churn as bench
    from scopeline_bench.transmission import kinds_named

    kinds = kinds_named(only)
    if not bench.main(
        kinds, deaths=times, seed=seed, size=_picture_size(size, fps), pipeline=pipeline, out=out
    ):
        raise typer.Exit(1)


def soak(
    minutes: Annotated[int, typer.Option(help="How long, after one minute of warm-up.", min=2)] = 30,
    feed: Annotated[str, typer.Option(help="One of raw, udp, tcp, rtsp, srt, rtmp, http.")] = "udp",
    size: _Size = "1920x1080",
    fps: _Fps = 30,
    pipeline: _PipelineName = "colonoscopy",
    out: _Out = None,
) -> None:
    """One live feed for a long time: latency by the minute, memory, threads, ledger. Ctrl-C keeps what was measured.

    Exit code 1 when p99 of the last five minutes lies beyond the noise of the first five, memory grew, something stayed
    open, or the ledger does not balance.
    """
    _need_extras()
    from scopeline_bench import soak as bench
    from scopeline_bench.transmission import kinds_named

    (kind,) = kinds_named(feed)
    if not bench.main(kind, minutes=minutes, size=_picture_size(size, fps), pipeline=pipeline, out=out):
        raise typer.Exit(1)


def _picture_size(size: str, fps: int) -> PictureSize:
    from scopeline.sources.address import parse_size
    from scopeline_bench.watched_feed import PictureSize

    width_px, height_px = parse_size(size)
    return PictureSize(width_px, height_px, fps)


def fuzz(
    messages: Annotated[
        int, typer.Option(help="Messages of garbage, all sockets together.", min=1000)
    ] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed sends the same.")] = 0,
    out: _Out = None,
) -> None:
    """Whether strangers can do anything to a live engine: garbage at its sockets, other machines without keys.

    A real `scopeline live` gets random and mutated messages on control, replay and publishing sockets. Then one that
    listens on a non-loopback address of a network namespace is visited from another, with and without keys (needs root
    and `ip`; skipped with the reason where that is not to be had). Exit code 1 when anything had an effect.
    """
    _need_extras()
    from scopeline_bench import fuzz as bench

    if not bench.main(messages=messages, seed=seed, out=out):
        raise typer.Exit(1)


def _need_extras() -> None:
    missing = [name for name in ("onnx", "psutil") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the bench needs {' and '.join(missing)}, which the runtime does not bring: in the checkout, "
            'pip install -c constraints.txt -e ".[training,cpu-fast,dev]"'
        )
