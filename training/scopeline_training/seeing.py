"""Seeing: still pictures through the engine's own eyes, so that training and use cannot differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scopeline.crop import View
from scopeline.field_estimator import field_of_still
from scopeline.field_of_view import FieldOfView, Shape
from scopeline.picture import Picture, Pixels, Resizer, picture_from_rgb, rgb_pixels
from scopeline_training.recipe import InputPlan


def see_still(picture: Picture, plan: InputPlan, *, aspect: float | None = None) -> Pixels:
    """What a network is shown of one still, (size, size, 3) uint8 RGB. A dark still is taken as all field.

    Args:
        picture: The still.
        plan: Size and crop.
        aspect: Width over height before the file was squashed, if it was; it is stretched back first.
    """
    if aspect is not None:
        width = round(picture.height * aspect)
        picture = picture_from_rgb(Resizer(width, picture.height)(picture))
    field = field_of_still(rgb_pixels(picture)) or whole_field(picture.width, picture.height)
    return View(plan.crop, plan.size, plan.size)(picture, field)


def field_of_clip(pictures: Sequence[Picture]) -> FieldOfView:
    """The field shared by the pictures of one clip, from their brightest values, as the engine's tracker does it."""
    brightest = np.maximum.reduce([rgb_pixels(picture) for picture in pictures])
    return field_of_still(brightest) or whole_field(pictures[0].width, pictures[0].height)


def see_clip(pictures: Sequence[Picture], plan: InputPlan, field: FieldOfView | None = None) -> Pixels:
    """What a network is shown of a clip, (N, size, size, 3) uint8 RGB."""
    view, field = View(plan.crop, plan.size, plan.size), field or field_of_clip(pictures)
    return np.stack([view(picture, field) for picture in pictures])


def whole_field(width: int, height: int) -> FieldOfView:
    """The whole signal as field."""
    return FieldOfView(
        id=1, shape=Shape.FULL, x=0, y=0, width=width, height=height, signal_width=width, signal_height=height
    )
