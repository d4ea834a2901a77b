"""NVDEC: a GPU's own video decoder, through FFmpeg, for recordings in bulk. What it cannot decode the CPU decodes.

FFmpeg and not PyNvVideoCodec: PyAV's wheel has NVDEC built in (`av.codec.hwaccel.hwdevices_available()` names `cuda`),
finds the driver when it is asked for and not before, and keeps our demuxer, our time stamps and our count of damage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import av
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext

from scopeline.errors import SourceError
from scopeline.picture import Picture

_ITS_FORMATS: Final = ("nv12", "p010le", "p016le")
"""What comes back for 4:2:0, which recordings have; FFmpeg's own decoders of them do not interleave chroma."""


class Nvdec:
    """The decoder of one GPU, for one recording.

    Args:
        device: Number of the GPU.
        tell: Called once, with the reason, when the CPU decodes instead.
    """

    def __init__(self, device: int, tell: Callable[[str], None]) -> None:
        self._device, self._tell = device, tell
        self._has_given_up = False

    def accelerator(self) -> HWAccel:
        """What PyAV opens a container with. A stream that the device refuses later, by its profile or its size, is
        decoded on the CPU without a word from FFmpeg; `look` notices."""
        return HWAccel("cuda", device=str(self._device), allow_software_fallback=True)

    def look(self, name: str, context: VideoCodecContext, first: Picture) -> None:
        """Look at the first picture of a recording: did it come from the device?"""
        if not context.is_hwaccel:
            self.give_up(f"{name}: the GPU has no decoder for {context.name}")
        elif first.format.name not in _ITS_FORMATS:
            self.give_up(
                f"{name}: the GPU's decoder refuses this kind of {context.name} ({first.format.name})"
            )

    def stopped(self, name: str, context: VideoCodecContext, error: av.FFmpegError) -> SourceError | None:
        """What to raise where the device, and not the recording, is to blame for an error in decoding. The rest of the
        recording would else be counted as damage."""
        if self._has_given_up or not context.is_hwaccel or isinstance(error, av.InvalidDataError):
            return None
        return SourceError(
            f"{name}: the GPU's decoder stopped half-way ({error.strerror}); run the same command again, "
            "or set decode = false below [gpu]"
        )

    def give_up(self, why: str) -> None:
        """Tell once that the CPU decodes."""
        if not self._has_given_up:
            self._has_given_up = True
            self._tell(f"{why}; the CPU decodes")
