"""Trial frames: what a plan is shown before it may judge, on a machine that has no data: a simulated procedure, seen as
the engine sees it, and hostile frames. Frames of one's own can be added.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scopeline.backends.tensorrt_forge import Shown
from scopeline.bundle import Bundle
from scopeline.errors import BackendError
from scopeline.field_tracker import FieldTracker
from scopeline.frame import Frame
from scopeline.hostile_frames import HOSTILE_COUNT, hostile_frames
from scopeline.parity import Stretch
from scopeline.picture import Pixels, picture_as_from_card
from scopeline.prepare import Preparer
from scopeline.simulation.procedure import simulate_procedure
from scopeline.simulation.renderer import Renderer

SIMULATED_COUNT: Final = 300
_FPS: Final = 5.0


def trial_frames(
    bundle: Bundle,
    extra: Path | None = None,
    *,
    simulated: int = SIMULATED_COUNT,
    hostile: int = HOSTILE_COUNT,
) -> Shown:
    """The frames for one bundle.

    Args:
        bundle: Whose input size and crop decide what they look like.
        extra: A .npy file of frames of one's own, (N, H, W, 3) uint8 RGB in the input size; none when left out.

    Raises:
        BackendError: the file does not hold such frames.
    """
    views, times_s = _simulated(bundle, simulated)
    parts = [np.stack(views)] if views else []
    words = [f"{len(views)} simulated"]
    if extra is not None:
        own = _own(bundle, extra)
        parts.append(own)
        words.append(f"{len(own)} of one's own")
    parts.append(hostile_frames((bundle.input.width, bundle.input.height), count=hostile))
    words.append(f"{hostile} hostile")
    stretches = (Stretch(0, tuple(times_s)),) if views else ()
    return Shown(np.concatenate(parts), stretches, ", ".join(words))


def _simulated(bundle: Bundle, count: int) -> tuple[Sequence[Pixels], Sequence[float]]:
    """Views of a procedure that the field of view was found in, and their stream times."""
    procedure = simulate_procedure(seed=0, duration_s=count / _FPS, fps=_FPS, width=480, height=384)
    renderer, preparer = Renderer(procedure), Preparer([bundle.input], FieldTracker())
    pixels = np.empty((procedure.height, procedure.width, 3), np.uint8)
    views: list[Pixels] = []
    times_s: list[float] = []
    for index in range(min(count, procedure.frame_count)):
        time_s = index / _FPS
        picture = picture_as_from_card(renderer.render(index, pixels))
        prepared = preparer.prepare(Frame(index, 0, time_s, picture))
        if prepared.reason is None:
            views.append(prepared.views[0].copy())
            times_s.append(time_s)
            preparer.release(prepared.views)
    return views, times_s


def _own(bundle: Bundle, path: Path) -> NDArray[np.uint8]:
    wanted = (bundle.input.height, bundle.input.width, 3)
    try:
        frames = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BackendError(f"{path}: wanted a .npy file of frames, it cannot be read: {error}") from error
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != wanted:
        raise BackendError(
            f"{path}: wanted (N, {', '.join(map(str, wanted))}) uint8 frames, got {frames.shape} {frames.dtype}"
        )
    return np.asarray(frames, np.uint8)
