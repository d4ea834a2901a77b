"""Clip: recordings with a known content, made once and kept in a cache folder.

The pictures are the synthetic procedure's without its disturbances, because a frame that is refused costs less than
one that is judged. Few pictures are encoded; a longer recording repeats their packets with growing time stamps, which
costs a decoder exactly as much as new ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer

from scopeline.picture import picture_from_rgb
from scopeline.simulation.barcode import burn
from scopeline.simulation.procedure import simulate_procedure
from scopeline.simulation.renderer import Renderer

_VERSION = 1
"""Part of the file name: a clip that was made differently is another one."""


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """What a recording should be."""

    width_px: int
    height_px: int
    fps: int
    frames: int
    mbit_s: float
    screen: str = "hd-circle"
    loop: int = 240
    """Pictures that are really drawn and encoded; the rest repeats them."""
    is_numbered: bool = False
    """Each picture of the loop carries its number as a bar code."""

    @property
    def loop_name(self) -> str:
        size = f"{self.width_px}x{self.height_px}-{self.fps}fps-{self.mbit_s:g}mbit"
        return f"v{_VERSION}-{size}-{self.screen}-{self.loop}{'-numbered' if self.is_numbered else ''}.mp4"

    @property
    def name(self) -> str:
        return self.loop_name.replace(".mp4", f"-repeated-{self.frames}.mp4")


FULL_HD = ClipPlan(1920, 1080, 60, 1000, 12.0)
SMALL = ClipPlan(640, 480, 25, 10_000, 2.5, screen="sd-octagon")


def cache_folder() -> Path:
    """Where clips are kept: `SCOPELINE_CACHE`, else the user's cache folder."""
    home = os.environ.get("SCOPELINE_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "scopeline-bench"


def clip(plan: ClipPlan, folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """The recording, made if the folder does not have it yet; two runs side by side should not both make it.

    Args:
        progress: Called with pictures drawn and pictures to draw.
    """
    folder.mkdir(parents=True, exist_ok=True)
    loop = folder / plan.loop_name
    if not loop.is_file():
        _finished(loop, lambda part: _encode_loop(plan, part, progress))
    path = folder / plan.name
    if not path.is_file():
        _finished(path, lambda part: _repeat(loop, part, plan))
    return path


def _finished(path: Path, write: Callable[[Path], None]) -> None:
    """Whoever finds the name finds a whole file, also where two processes write it."""
    part = path.with_suffix(f".{os.getpid()}.part.mp4")
    write(part)
    part.replace(path)


def _encode_loop(plan: ClipPlan, path: Path, progress: Callable[[int, int], None] | None) -> None:
    procedure = simulate_procedure(
        seed=11,
        duration_s=plan.loop / plan.fps,
        fps=plan.fps,
        width=plan.width_px,
        height=plan.height_px,
        screen=plan.screen,
    )
    renderer = Renderer(replace(procedure, disturbances=(), static_stretches=()))
    pixels = np.empty((plan.height_px, plan.width_px, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=plan.fps, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = plan.width_px, plan.height_px, "yuv420p"
        stream.bit_rate = round(plan.mbit_s * 1e6)
        for index in range(plan.loop):
            shown = renderer.render(index, out=pixels)
            if plan.is_numbered:
                burn(shown, index)
            picture = picture_from_rgb(shown)
            picture.pts, picture.time_base = index, Fraction(1, plan.fps)
            container.mux(stream.encode(picture))
            if progress is not None:
                progress(index + 1, plan.loop)
        container.mux(stream.encode())


def _repeat(loop: Path, path: Path, plan: ClipPlan) -> None:
    """The loop's packets again and again, until there are as many as frames wanted."""
    written = 0
    with av.open(str(path), "w") as output:
        while written < plan.frames:
            with av.open(str(loop)) as source:
                written += _append(source, output, plan, written)


def _append(source: InputContainer, output: OutputContainer, plan: ClipPlan, before: int) -> int:
    origin = source.streams.video[0]
    stream = output.streams.video[0] if output.streams.video else output.add_stream_from_template(origin)
    shift = round(Fraction(before, plan.fps) / (origin.time_base or Fraction(1, plan.fps)))
    count = 0
    for packet in source.demux(origin):
        if packet.dts is None or packet.pts is None or before + count >= plan.frames:
            continue  # the empty packet at the end
        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
        output.mux(packet)
        count += 1
    return count
