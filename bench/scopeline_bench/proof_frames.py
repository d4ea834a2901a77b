"""Proof frames: real pictures for the parity gate on a machine that has no data: views of clips and stills in one file.

    python -m scopeline_bench.proof_frames DATA OUT.zip     packs 1200 pictures: of the clips, the rest of the stills

Views are cut by the engine's own eyes at 256 px and stored as JPEG, named `<clip>/<milliseconds>.jpg`, stills
`stills/<number>.jpg`; where they are used they are shrunk by area to each network's input."""

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
from scopeline.crop import CropKind, View
from scopeline.errors import SourceError
from scopeline.field_tracker import FieldTracker
from scopeline.parity import Stretch
from scopeline.picture import Pixels, picture_from_file
from scopeline.prepare import Preparer
from scopeline.seeing import see_still
from scopeline.sources.media import MediaSource

SIDE_PX: Final = 256
MOST: Final = 1200
_PER_CLIP: Final = 60
_STEP_S: Final = 0.2
_STILLS: Final = "stills"
_NO_PICTURES: Final = ("masks", "mask")
"""Folders whose images are answers, not questions."""


def pack(data: Path, out: Path) -> int:
    """Write the file; returns how many frames it holds."""
    count = 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:
        for clip in sorted((data / "videos").glob("*.mp4")):
            for time_s, view in _views(clip):
                if count < MOST:
                    packed.writestr(f"{clip.stem}/{round(time_s * 1000):08}.jpg", _jpeg(view))
                    count += 1
        view_of = View(CropKind.INSCRIBED, SIDE_PX, SIDE_PX)
        for still in _spread(_stills(data / "images"), MOST - count):
            view = see_still(picture_from_file(still), view_of)
            packed.writestr(f"{_STILLS}/{count:08}.jpg", _jpeg(view))
            count += 1
    return count


def _jpeg(view: Pixels) -> bytes:
    _, content = cv2.imencode(".jpg", view[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return content.tobytes()


def _stills(folder: Path) -> list[Path]:
    found = (path for kind in ("*.jpg", "*.png") for path in folder.rglob(kind))
    return sorted(path for path in found if not set(path.parts) & set(_NO_PICTURES))


def _spread(paths: list[Path], count: int) -> list[Path]:
    """So many of them at even distances, or all."""
    if count <= 0 or not paths:
        return []
    places = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int))
    return [paths[place] for place in places]


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
    """The frames of a file at width and height, (N, H, W, 3) uint8 RGB, and which follow each other in time: those of
    each clip, and no stills."""
    frames: list[Pixels] = []
    stretches: list[Stretch] = []
    with zipfile.ZipFile(packed) as file:
        for clip, names in groupby(sorted(file.namelist()), key=lambda name: name.partition("/")[0]):
            first, times_s = len(frames), []
            for name in names:
                picture = cv2.imdecode(np.frombuffer(file.read(name), np.uint8), cv2.IMREAD_COLOR)
                if picture is not None:
                    shrunk = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
                    frames.append(np.ascontiguousarray(shrunk[..., ::-1]).astype(np.uint8))
                    times_s.append(int(Path(name).stem) / 1000)
            if clip != _STILLS:
                stretches.append(Stretch(first, tuple(times_s)))
    return np.stack(frames), tuple(stretches)


if __name__ == "__main__":
    print(f"{pack(Path(sys.argv[1]), Path(sys.argv[2]))} frames in {sys.argv[2]}")
