"""GPU resizer: takes the place of `picture.Resizer` where the kernel can, and leaves the rest to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scopeline.backends.plane_cut import plane_cut
from scopeline.backends.plane_shrinker import PlaneShrinker, shared_shrinker
from scopeline.backends.yuv_colour import colour_of
from scopeline.config import GpuRule
from scopeline.errors import BackendError
from scopeline.notices import Notices, Trouble
from scopeline.overlay import Box
from scopeline.picture import MakeResize, Picture, Pixels, Resizer


class GpuResizers:
    """Makes resizers on one device. When the GPU fails once, all of them work on the CPU from that picture on.

    Args:
        shrinker: What does the work.
        tell: Called with the error, once.
    """

    def __init__(self, shrinker: PlaneShrinker, tell: Callable[[BackendError], None]) -> None:
        self._shrinker, self._tell = shrinker, tell
        self._has_failed = False

    def __call__(self, width: int, height: int, crop: Box | None = None) -> GpuResizer:
        """As `Resizer`."""
        return GpuResizer(self, Resizer(width, height, crop))

    def shrink(self, picture: Picture, resizer: Resizer, out: Pixels) -> bool:
        """Whether the GPU made the view that `resizer` would make."""
        if self._has_failed:
            return False
        cut = plane_cut(picture, resizer.crop, width=resizer.width, height=resizer.height)
        colour = colour_of(picture)
        if cut is None or colour is None:
            return False
        try:
            self._shrinker.shrink(cut, colour, out)
        except BackendError as error:
            self._has_failed = True
            self._tell(error)
            return False
        return True


class GpuResizer:
    """Cuts a rectangle out of pictures and scales it, as `picture.Resizer` does. Not thread-safe."""

    def __init__(self, on_gpu: GpuResizers, on_cpu: Resizer) -> None:
        self._on_gpu, self._on_cpu = on_gpu, on_cpu

    def __call__(self, picture: Picture, out: Pixels | None = None) -> Pixels:
        """The cut and scaled picture, (height, width, 3) uint8 RGB, written into `out` if that is given.

        Raises:
            ValueError: the crop does not lie within the picture.
        """
        if out is None:
            out = np.empty((self._on_cpu.height, self._on_cpu.width, 3), np.uint8)
        if self._on_gpu.shrink(picture, self._on_cpu, out):
            return out
        return self._on_cpu(picture, out)


def resizers(rule: GpuRule, notices: Notices, *, live: bool) -> MakeResize:
    """What cuts and scales views in a pipeline: the CPU unless `preprocess` is set.

    A live run that finds no GPU, or loses it, tells so and goes on; a recording wants it from its beginning to its end,
    so that the same one gives the same answers.

    Raises:
        BackendError: a recording shall be worked on, and cuda-python, a driver or the device is missing; the resizers
            raise it too, when the device fails later.
    """
    if not rule.preprocess:
        return Resizer

    def tell(error: BackendError) -> None:
        if not live:
            raise error
        notices.post(Trouble.GPU_FAILED, f"{error}; views are made on the CPU")

    try:
        return GpuResizers(shared_shrinker(rule.device), tell)
    except BackendError as error:
        tell(error)
        return Resizer
