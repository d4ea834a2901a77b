"""Commands of the bench component, offered to the command line as entry points. Thin: work is imported late."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scopeline.errors import ConfigError
from scopeline.extras import how_to_install

if TYPE_CHECKING:
    from scopeline_bench.watched_feed import PictureSize

_Out = Annotated[Path | None, typer.Option(help="Folder that gets a dated folder of results, bench/results.")]


_Page = Annotated[Path | None, typer.Option(help="HTML file to write, one that needs nothing else.")]
_Bundle = Annotated[str, typer.Option(help="Bundle folder, or the name of one that ships.")]


def cost(
    frames: Annotated[int, typer.Option(help="Frames of the clip.", min=100)] = 1000,
    rounds: Annotated[int, typer.Option(help="How often each contender is run; they take turns.", min=1)] = 5,
    bundle: Annotated[
        str,
        typer.Option(help="Bundle folder, the name of one that ships, or 'mobilenet_v2' (random weights)."),
    ] = "colon",
    fps: Annotated[int, typer.Option(help="Frame rate of the clip, in Hz.", min=5)] = 60,
    mbit_s: Annotated[float, typer.Option(help="Bit rate of the clip; decoding costs by the bit.")] = 12.0,
    page: _Page = None,
    out: _Out = None,
) -> None:
    """Processor time per 1000 frames of a 1080p H.264 recording, against the plain loop and against the floor.

    The plain loop is what one writes first: PyAV to RGB, crop, resize, normalise, infer. The floor is bare decoding,
    cropping and inference, each measured alone. Same clip, crop, network, runtime, core, and one thread each. Exit
    code 1 when a target is missed: 0.80 of the plain loop, 1.10 of the floor.
    """
    _need_extras()
    from scopeline_bench import cost as bench

    if not bench.main(bundle, frames=frames, rounds=rounds, fps=fps, mbit_s=mbit_s, page=page, out=out):
        raise typer.Exit(1)


def memory(
    frames: Annotated[int, typer.Option(help="Frames of the recording.", min=2000)] = 10_000,
    bundle: _Bundle = "colon",
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
    bundle: _Bundle = "colon",
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
    bundle: _Bundle = "colon",
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


def live(
    fps: Annotated[str, typer.Option(help="Pictures per second, one run each: 25,30,50,60.")] = "30",
    source: Annotated[
        str | None,
        typer.Option(help="Anything that scopeline live takes; a bar-coded synthetic feed when left out."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long each run is measured, in seconds.", min=2)] = 60.0,
    quick: Annotated[bool, typer.Option("--quick", help="20 s each.")] = False,
    full: Annotated[bool, typer.Option("--full", help="10,000 pictures each.")] = False,
    paused_subscriber: Annotated[
        bool, typer.Option("--paused-subscriber", help="A second subscriber is there and never reads.")
    ] = False,
    busy: Annotated[bool, typer.Option("--busy", help="A second process keeps a core busy.")] = False,
    size: _Size = "1920x1080",
    pipeline: _PipelineName = "colonoscopy",
    page: _Page = None,
    out: _Out = None,
) -> None:
    """Latency of the live engine, from the stamp at capture to the result received by another process.

    p50 to p99.9 and maximum with their intervals, jitter, deadline misses, output rate, stages, queue depths, and every
    frame accounted for. Exit code 1 when one is not, or a run left something open.
    """
    _need_extras()
    from scopeline_bench import live as bench
    from scopeline_bench.live_run import LivePlan

    rates = [int(each) for each in fps.split(",")]
    plans = [
        LivePlan(
            fps=rate,
            seconds=1.05 * bench.FULL_FRAMES / rate if full else bench.QUICK_S if quick else seconds,
            pipeline=pipeline,
            size_px=_size_px(size),
            source=source,
            company=(*(("paused",) if paused_subscriber else ()), *(("busy",) if busy else ())),
        )
        for rate in (rates if source is None else rates[:1])
    ]
    if not bench.main(plans, page=page, out=out):
        raise typer.Exit(1)


def meter(page: _Page = None, out: _Out = None) -> None:
    """Whether the bench measures rightly: planted delays, losses and reorderings through a real engine.

    Exit code 1 when a delay is more than 1 ms off, a frame is miscounted, or a feed's own pace shows in its latency.
    """
    _need_extras()
    from scopeline_bench import meter as bench

    if not bench.main(page=page, out=out):
        raise typer.Exit(1)


def file(
    clip: Annotated[
        Path | None, typer.Argument(help="A recording; drawn ones of 1080p and 640x480 when left out.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames of a drawn clip.", min=100)] = 1000,
    rounds: Annotated[int, typer.Option(help="How often each way is run; they take turns.", min=1)] = 3,
    batches: Annotated[str, typer.Option(help="Frames per inference that are tried.")] = "1,2,4,8",
    bundle: _Bundle = "colon",
    page: _Page = None,
    out: _Out = None,
) -> None:
    """Frames per second and processor seconds per 1000 frames of a recording, against the plain loop of the same run.

    Batch sizes, where the processor time goes, and how many more frames a processor second gives in bulk than live.
    Exit code 1 when that is less than 1.5 times as many on any clip.
    """
    _need_extras()
    from scopeline_bench import file as bench

    sizes = [int(each) for each in batches.split(",")]
    if not bench.main(clip, bundle, frames=frames, rounds=rounds, batches=sizes, page=page, out=out):
        raise typer.Exit(1)


def compare(
    rounds: Annotated[int, typer.Option(help="How often each is run; they take turns.", min=1)] = 3,
    seconds: Annotated[
        float, typer.Option(help="How long each live run is measured, in seconds.", min=2)
    ] = 15.0,
    fps: _Fps = 30,
    frames: Annotated[int, typer.Option(help="Frames of the recording.", min=100)] = 600,
    environments: Annotated[
        Path | None,
        typer.Option(help="Folder of the peers' environments (python bench/peers/make.py FOLDER)."),
    ] = None,
    page: _Page = None,
    out: _Out = None,
) -> None:
    """Scopeline beside what else one could use: same pictures, same network, same runtime options, taking turns.

    Live: picture made to result received by another process. Recording: processor time. Peers that are not installed
    are named. Exit code 1 when a target is missed: live p99 no worse than the newest-frame thread's and at most 0.7 of
    Roboflow's, processor time at most 0.8 of the cheapest peer's.
    """
    _need_extras()
    from scopeline_bench import compare as bench
    from scopeline_bench.compared import ComparePlan

    plan = ComparePlan(rounds=rounds, seconds=seconds, fps=fps, frames=frames)
    if not bench.main(plan, environments, page=page, out=out):
        raise typer.Exit(1)


def bus(
    seconds: Annotated[
        float, typer.Option(help="How long the slow subscriber reads, in seconds.", min=3)
    ] = 15.0,
    picture: Annotated[Path | None, typer.Option(help="SVG file to write: age against time.")] = None,
    environments: Annotated[
        Path | None, typer.Option(help="Folder of the peers' environments, for imagezmq.")
    ] = None,
    page: _Page = None,
    out: _Out = None,
) -> None:
    """From publisher to subscriber: delay, throughput, and how old what is seen is by a subscriber 3x too slow.

    Scopeline's sink and subscriber beside plain PUB/SUB and imagezmq. Exit code 1 when a message to a subscriber that
    keeps up was lost, or the slow one that asks for the newest saw something older than half a second.
    """
    _need_extras()
    from scopeline_bench import bus as bench

    if not bench.main(seconds=seconds, picture=picture, environments=environments, page=page, out=out):
        raise typer.Exit(1)


def gate(
    base: Annotated[str, typer.Argument(help="A commit to compare the working tree with.")],
    rounds: Annotated[int, typer.Option(help="Rounds over all stages in each session.", min=3)] = 3,
    only: Annotated[str, typer.Option(help="Some stages, by a part of their names.")] = "",
    plant: Annotated[
        str | None,
        typer.Option(help="STAGE=SHARE: slow one stage down by a share (0.2), to try the gate itself."),
    ] = None,
    page: _Page = None,
    out: _Out = None,
) -> None:
    """Fail when a stage has become slower than in BASE by more than the noise that this very run measures.

    Sessions of three fresh engines, the working tree's and twice the base's, timed in turn, stage by stage; what the
    base differs from itself is the noise. Exit code 1 when a stage is slower by 5 % more than noise explains, or cannot
    be done any more; 0 also where noise leaves a stage undecided, which the table says.
    """
    _need_extras()
    from scopeline_bench import gate as bench

    if not bench.main(base, rounds=rounds, only=only, plant=plant, page=page, out=out):
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
    from scopeline_bench.watched_feed import PictureSize

    return PictureSize(*_size_px(size), fps)


def _size_px(size: str) -> tuple[int, int]:
    from scopeline.sources.address import parse_size

    return parse_size(size)


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
            f"the bench needs {' and '.join(missing)}, which the runtime does not bring: "
            f"{how_to_install('training,cpu-fast,dev')}"
        )
