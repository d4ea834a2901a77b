"""GPU decoding: a recording in bulk, decoded on the CPU and by NVDEC: how long it takes, how much processor time, and
whether the pictures are the same."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import msgspec

from scopeline.assemble import assemble
from scopeline.config import BundleChoice, Pipeline
from scopeline.picture import Picture
from scopeline.sources.media import MediaSource
from scopeline.sources.nvdec import Nvdec

_FPS: Final = 25
_ENCODERS: Final = {
    "libx264": {"preset": "veryfast", "crf": "16"},
    "libx265": {"preset": "ultrafast", "crf": "18", "x265-params": "log-level=none"},
}
"""Fine enough for the bit rate of a recorder; fast, because encoding is not what is measured."""
_COMPARED: Final = 50
"""Pictures of which every pixel counts for `pictures`."""


class Decoding(msgspec.Struct, frozen=True, kw_only=True):
    """One way of decoding."""

    frames: int
    decode_s: float
    """Wall time of decoding alone, on one thread."""
    decode_cpu_s: float
    run_s: float
    """Wall time of a whole run in bulk."""
    run_cpu_s: float
    pictures: str
    """Hash of the first pictures' pixels."""
    told: list[str]
    """Why NVDEC did not decode, if it did not."""


class DecodingBoth(msgspec.Struct, frozen=True, kw_only=True):
    """A recording decoded both ways."""

    codec: str
    cpu: Decoding
    nvdec: Decoding


def write_recording(path: Path, pictures: Sequence[Picture], *, codec: str, frames: int) -> Path:
    """A 1080p recording of pictures to and fro, as a hospital's recorder would compress it."""
    order = [*pictures, *pictures[-2:0:-1]]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=_FPS, options=_ENCODERS[codec])
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = order[0].width, order[0].height, "yuv420p"
        for number in range(frames):
            picture = order[number % len(order)]
            picture.pts, picture.time_base = number, Fraction(1, _FPS)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def run_decode(recording: Path, bundles: Sequence[Path], *, backend: str, precision: str) -> DecodingBoth:
    """Both ways, one after the other."""
    choices = tuple(
        BundleChoice(path=str(bundle.resolve()), backend=backend, precision=precision) for bundle in bundles
    )
    with av.open(str(recording)) as opened:
        codec = opened.streams.video[0].codec_context.name
    return DecodingBoth(
        codec=codec, cpu=_one(recording, choices, on_gpu=False), nvdec=_one(recording, choices, on_gpu=True)
    )


def _one(recording: Path, choices: tuple[BundleChoice, ...], *, on_gpu: bool) -> Decoding:
    told: list[str] = []

    def source() -> MediaSource:
        return MediaSource(recording, threads=1, nvdec=Nvdec(0, told.append) if on_gpu else None)

    pictures = hashlib.sha256()
    for number, frame in enumerate(source().frames()):
        if number == _COMPARED:
            break
        planes = frame.picture.reformat(format="yuv420p").to_ndarray()
        pictures.update(planes.tobytes())
    (frames, decode_s, decode_cpu_s) = _timed(lambda: sum(1 for _ in source().frames()))
    pipeline = Pipeline(name="decode", bundles=choices)
    engine = assemble(pipeline, source(), [], live=False, bulk=True)
    _, run_s, run_cpu_s = _timed(lambda: engine.run().ledger.published)
    return Decoding(
        frames=frames,
        decode_s=decode_s,
        decode_cpu_s=decode_cpu_s,
        run_s=run_s,
        run_cpu_s=run_cpu_s,
        pictures=pictures.hexdigest()[:12],
        told=told[:1],
    )


def _timed(work: Callable[[], int]) -> tuple[int, float, float]:
    """What it gives, seconds on the wall and of the processor."""
    start_ns, start_cpu_s = time.monotonic_ns(), time.process_time()
    made = work()
    return made, (time.monotonic_ns() - start_ns) / 1e9, time.process_time() - start_cpu_s
