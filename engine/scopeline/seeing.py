"""Seeing: stills and whole clips through the engine's own eyes, for tools that have no stream.

Training, calibration and the runtime use the same field finder and the same crop, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scopeline.crop import View
from scopeline.field_estimator import field_of_still
from scopeline.field_of_view import FieldOfView, Shape
from scopeline.picture import Picture, Pixels, Resizer, picture_from_rgb, rgb_pixels


def see_still(picture: Picture, view: View, *, aspect: float | None = None) -> Pixels:
    """What a network is shown of one still, (H, W, 3) uint8 RGB. A dark still is taken as all field.

    Args:
        picture: The still.
        view: Size and crop.
        aspect: Width over height before the file was squashed, if it was; it is stretched back first.
    """
    if aspect is not None:
        width = round(picture.height * aspect)
        picture = picture_from_rgb(Resizer(width, picture.height)(picture))
    field = field_of_still(rgb_pixels(picture)) or whole_field(picture.width, picture.height)
    return view(picture, field)


def field_of_clip(pictures: Sequence[Picture]) -> FieldOfView:
    """The field shared by the pictures of one clip, from their brightest values, as the engine's tracker does it."""
    brightest = np.maximum.reduce([rgb_pixels(picture) for picture in pictures])
    return field_of_still(brightest) or whole_field(pictures[0].width, pictures[0].height)


def see_clip(pictures: Sequence[Picture], view: View, field: FieldOfView | None = None) -> Pixels:
    """What a network is shown of a clip, (N, H, W, 3) uint8 RGB."""
    field = field or field_of_clip(pictures)
    return np.stack([view(picture, field) for picture in pictures])


def whole_field(width: int, height: int) -> FieldOfView:
    """The whole signal as field."""
    return FieldOfView(
        id=1, shape=Shape.FULL, x=0, y=0, width=width, height=height, signal_width=width, signal_height=height
    )
