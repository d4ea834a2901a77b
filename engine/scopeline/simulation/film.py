"""Film: a simulated procedure as a video file, with its truth beside it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer

from scopeline.errors import SinkError
from scopeline.picture import picture_from_rgb
from scopeline.replace_file import cannot_write
from scopeline.simulation.procedure import Procedure, write_truth
from scopeline.simulation.renderer import Renderer

_ENDINGS = (".mp4", ".mkv", ".mov", ".avi", ".ts")


def render_video(
    procedure: Procedure,
    path: Path,
    *,
    crf: int = 18,
    preset: str = "veryfast",
    progress: Callable[[int], None] | None = None,
) -> tuple[Path, ...]:
    """Writes the procedure as H.264 in the container that `path` names, and its truth files beside it.

    Args:
        procedure: Width and height must be even, since colour is stored at half size.
        path: The video file; the truth goes to `<stem>.frames.csv`, `<stem>.segments.csv` and
            `<stem>.procedure.json`.
        crf: libx264's constant rate factor; 18 is close to lossless for the eye.
        preset: libx264's speed.
        progress: Called with the number of frames done, after every frame.

    Returns:
        What was written: the video, then the truth files.

    Raises:
        ValueError: width or height are odd.
        SinkError: the file cannot be written there, or its ending names no container for H.264.
    """
    if procedure.width % 2 or procedure.height % 2:
        raise ValueError(f"H.264 wants an even width and height, got {procedure.width}x{procedure.height}")
    renderer = Renderer(procedure)
    with _opened(path) as container:
        rate = Fraction(procedure.fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": preset})
        stream.width, stream.height, stream.pix_fmt = procedure.width, procedure.height, "yuv420p"
        stream.time_base = 1 / rate
        for index, pixels in enumerate(renderer.frames()):
            picture = picture_from_rgb(pixels)
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(picture))
            if progress is not None:
                progress(index + 1)
        container.mux(stream.encode())
    return path, *write_truth(procedure, path.with_suffix(""))


def _opened(path: Path) -> OutputContainer:
    """The container, refused before the first frame is rendered and not after."""
    if path.suffix not in _ENDINGS:
        raise SinkError(
            f"{path}: wanted a video file's name, ending in one of {', '.join(_ENDINGS)}, got {path.name!r}"
        )
    try:
        path.touch()
    except OSError as error:
        raise cannot_write(path, error) from error
    return av.open(str(path), "w")
