"""Pictures: a sample's pixels and mask, seen through the engine's own eyes and kept on disk.

Nothing is cropped here by other code than the engine's `View`, so that training and use cannot differ; a test
compares the bits. What was seen once lies as PNG (lossless) in a cache whose keys are contents: the image file,
the plan, and the code that crops. A changed file or a changed crop can therefore never be served from it.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache as remembered
from pathlib import Path
from threading import get_ident
from typing import Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline import crop, field_estimator, overlay
from scopeline.crop import CropKind, View
from scopeline.errors import ConfigError, SinkError
from scopeline.field_estimator import field_of_still
from scopeline.field_of_view import FieldOfView
from scopeline.picture import Picture, Pixels, Resizer, picture_from_file, picture_from_rgb, rgb_pixels
from scopeline_training.catalogue import Sample, file_sha256
from scopeline_training.recipe import InputPlan
from scopeline_training.seeing import see_still, whole_field

CACHE_VARIABLE = "SCOPELINE_CACHE"
FOREGROUND = 127
"""JPEG masks are grey at their edges: above this is foreground (Kvasir-SEG's masks hold values from 0 to 255)."""

CropName = Literal["none", "inscribed", "masked", "disc2square", "box"]
MaskPixels = NDArray[np.uint8]
"""(H, W) uint8 class numbers."""


class PicturePlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a file becomes an input. `none` scales the whole file: for pictures that have no border, as OCT."""

    size: int = 224
    """Width and height in pixels."""
    crop: CropName = "inscribed"
    aspect: float | None = None
    """Width over height before the files were squashed, if they were; they are stretched back first."""


def load_pixels(sample: Sample, plan: PicturePlan | InputPlan, *, cache: Path | None = None) -> Pixels:
    """What a network is shown of a sample's picture, (size, size, 3) uint8 RGB; grey files have three like channels.

    Args:
        cache: Folder of what was seen before; `cache_folder()` if None.

    Raises:
        SourceError: the file cannot be decoded.
        ConfigError: there is no such file.
    """
    return _load(sample.path, _plan(plan), cache)


def load_second(sample: Sample, plan: PicturePlan | InputPlan, *, cache: Path | None = None) -> Pixels:
    """The other picture of a dual input, like `load_pixels`.

    Raises:
        ConfigError: the sample has one picture only. It is never taken twice.
    """
    if sample.second is None:
        raise ConfigError(
            f"{sample.path}: wanted a second picture for a dual input, got none in the data set"
        )
    return _load(sample.second, _plan(plan), cache)


def load_mask(
    sample: Sample, plan: PicturePlan | InputPlan, *, threshold: int | None = FOREGROUND
) -> MaskPixels:
    """The mask where `load_pixels` shows its scene, (size, size) uint8, nearest neighbours, 0 beyond the picture.

    That of a picture in which there is nothing to mark is 0 everywhere.

    Args:
        threshold: Values above count as 1, others as 0; None keeps the values of a many-class mask.

    Raises:
        ConfigError: the sample has no mask, or its file cannot be read.
    """
    if sample.is_clear:
        return np.zeros((plan.size, plan.size), np.uint8)
    if sample.mask is None:
        raise ConfigError(f"{sample.path}: wanted a mask, got none in the data set")
    values = cv2.imread(str(sample.mask), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if values is None:
        raise ConfigError(f"{sample.mask}: wanted a mask image, could not decode it")
    plan = _plan(plan)
    rows, columns, shown = _places(_stretched(picture_from_file(sample.path), plan), plan)
    # The mask may have another size than its picture: places are told as shares of the picture.
    row = np.minimum((rows * values.shape[0]).astype(np.intp), values.shape[0] - 1)
    column = np.minimum((columns * values.shape[1]).astype(np.intp), values.shape[1] - 1)
    cut = np.where(shown, values[row, column], 0).astype(np.uint8)
    return cut if threshold is None else (cut > threshold).astype(np.uint8)


def field_of_sample(sample: Sample) -> FieldOfView:
    """The field of view of a sample's picture, found by the engine; the whole picture where it is dark."""
    picture = picture_from_file(sample.path)
    return field_of_still(rgb_pixels(picture)) or whole_field(picture.width, picture.height)


def cache_folder() -> Path:
    """Where seen pictures are kept: below `$SCOPELINE_CACHE`, `$XDG_CACHE_HOME/scopeline` or `~/.cache/scopeline`."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]) / "pictures"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scopeline" / "pictures"


def see(path: Path, plan: PicturePlan) -> Pixels:
    """What a network is shown of an image file, without the cache."""
    picture = picture_from_file(path)
    if plan.crop == "none":
        return Resizer(plan.size, plan.size)(picture)
    return see_still(picture, InputPlan(size=plan.size, crop=CropKind(plan.crop)), aspect=plan.aspect)


def _load(path: Path, plan: PicturePlan, cache: Path | None) -> Pixels:
    facts = (file_sha256(path), msgspec.json.encode(plan).decode(), _code_sha256())
    key = hashlib.sha256(msgspec.json.encode(facts)).hexdigest()
    kept = (cache or cache_folder()) / key[:2] / f"{key}.png"
    if kept.is_file():
        found = cv2.imread(str(kept), cv2.IMREAD_COLOR_RGB)
        if found is not None and found.shape == (plan.size, plan.size, 3):
            return np.asarray(found, np.uint8)
    pixels = see(path, plan)
    _keep(kept, pixels)
    return pixels


def _keep(kept: Path, pixels: Pixels) -> None:
    _, code = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    beside = kept.with_suffix(f".{os.getpid()}-{get_ident()}")  # several workers may see the same file first
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(code.tobytes())
        os.replace(beside, kept)
    except OSError as error:
        raise SinkError(
            f"{kept}: cannot keep a picture ({error.strerror}); make room, or set {CACHE_VARIABLE} to a folder"
        ) from error


@remembered
def _code_sha256() -> str:
    """Of the code that decides what is seen: keys must change with it."""
    files = (crop.__file__, field_estimator.__file__, overlay.__file__, __file__)
    return hashlib.sha256(b"".join(Path(each).read_bytes() for each in files)).hexdigest()


def _plan(plan: PicturePlan | InputPlan) -> PicturePlan:
    return plan if isinstance(plan, PicturePlan) else PicturePlan(size=plan.size, crop=plan.crop.value)


def _stretched(picture: Picture, plan: PicturePlan) -> Picture:
    if plan.aspect is None or plan.crop == "none":
        return picture
    return picture_from_rgb(Resizer(round(picture.height * plan.aspect), picture.height)(picture))


def _places(
    picture: Picture, plan: PicturePlan
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """For every pixel of the view: row and column of its centre as a share of the picture, and whether it is there."""
    field = whole_field(picture.width, picture.height)
    u = np.broadcast_to((np.arange(plan.size) + 0.5)[None, :], (plan.size, plan.size)).astype(np.float64)
    v = u.T
    box, target = field.box, (0, 0, plan.size, plan.size)
    if plan.crop != "none":
        field = field_of_still(rgb_pixels(picture)) or field
        placement = View(CropKind(plan.crop), plan.size, plan.size).placement(field)
        box, target = placement.source, placement.target
    across, down = (u - target[0]) / target[2], (v - target[1]) / target[3]
    if plan.crop == "disc2square":  # the mapping of `scopeline.crop`, whose test compares both
        side, up = 2 * across - 1, 2 * down - 1
        across = (side * np.sqrt(1 - up**2 / 2) + 1) / 2
        down = (up * np.sqrt(1 - side**2 / 2) + 1) / 2
    shown = (across >= 0) & (across < 1) & (down >= 0) & (down < 1)
    rows = (box[1] + down.clip(0, 1) * box[3]) / picture.height
    columns = (box[0] + across.clip(0, 1) * box[2]) / picture.width
    return rows, columns, shown
