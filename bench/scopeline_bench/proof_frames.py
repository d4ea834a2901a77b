"""Proof frames: real pictures for the parity gate on a machine that has no data: views of clips in one small file.

    python -m scopeline_bench.proof_frames DATA OUT.zip     packs up to 1200 frames of the clips under DATA

Views are cut by the engine's own eyes at 256 px and stored as JPEG, named `<clip>/<milliseconds>.jpg`; where they are
used they are shrunk by area to each network's input."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from scopeline.bundle import Input
from scopeline.crop import CropKind
from scopeline.errors import SourceError
from scopeline.field_tracker import FieldTracker
from scopeline.parity import Stretch
from scopeline.picture import Pixels
from scopeline.prepare import Preparer
from scopeline.sources.media import MediaSource

SIDE_PX: Final = 256
MOST: Final = 1200
_PER_CLIP: Final = 60
_STEP_S: Final = 0.2


def pack(data: Path, out: Path) -> int:
    """Write the file; returns how many frames it holds."""
    count = 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:
        for clip in sorted((data / "videos").glob("*.mp4")):
            for time_s, view in _views(clip):
                done, jpeg = cv2.imencode(".jpg", view[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
                if done and count < MOST:
                    packed.writestr(f"{clip.stem}/{round(time_s * 1000):08}.jpg", jpeg.tobytes())
                    count += 1
    return count


def _views(clip: Path) -> Iterator[tuple[float, Pixels]]:
    """At most `_PER_CLIP` views, five per second, of a clip in which a field of view is found."""
    preparer = Preparer([Input(width=SIDE_PX, height=SIDE_PX, crop=CropKind.INSCRIBED)], FieldTracker())
    source = MediaSource(str(clip), threads=1)
    given, next_s = 0, 0.0
    try:
        for frame in source.frames():
            if given == _PER_CLIP:
                return
            prepared = preparer.prepare(frame)
            if prepared.reason is None and frame.time_s >= next_s:
                given, next_s = given + 1, frame.time_s + _STEP_S
                yield frame.time_s, prepared.views[0].copy()
            preparer.release(prepared.views)
    except SourceError:
        return
    finally:
        source.close()


def read_frames(packed: Path, size: tuple[int, int]) -> tuple[Pixels, tuple[Stretch, ...]]:
    """The frames of a file at width and height, (N, H, W, 3) uint8 RGB, and which follow each other in time."""
    frames: list[Pixels] = []
    stretches: list[Stretch] = []
    with zipfile.ZipFile(packed) as file:
        for _, names in groupby(sorted(file.namelist()), key=lambda name: name.partition("/")[0]):
            first, times_s = len(frames), []
            for name in names:
                picture = cv2.imdecode(np.frombuffer(file.read(name), np.uint8), cv2.IMREAD_COLOR)
                if picture is not None:
                    shrunk = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
                    frames.append(np.ascontiguousarray(shrunk[..., ::-1]).astype(np.uint8))
                    times_s.append(int(Path(name).stem) / 1000)
            stretches.append(Stretch(first, tuple(times_s)))
    return np.stack(frames), tuple(stretches)


if __name__ == "__main__":
    print(f"{pack(Path(sys.argv[1]), Path(sys.argv[2]))} frames in {sys.argv[2]}")
