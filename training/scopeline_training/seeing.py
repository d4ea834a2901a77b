"""Seeing: still pictures through the engine's own eyes, in the size and crop of a recipe."""

from __future__ import annotations

from collections.abc import Sequence

from scopeline import seeing
from scopeline.crop import View
from scopeline.field_of_view import FieldOfView
from scopeline.picture import Picture, Pixels
from scopeline.seeing import field_of_clip, whole_field
from scopeline_training.recipe import InputPlan

__all__ = ["field_of_clip", "see_clip", "see_still", "whole_field"]


def see_still(picture: Picture, plan: InputPlan, *, aspect: float | None = None) -> Pixels:
    """What a network is shown of one still, see `scopeline.seeing`."""
    return seeing.see_still(picture, _view(plan), aspect=aspect)


def see_clip(pictures: Sequence[Picture], plan: InputPlan, field: FieldOfView | None = None) -> Pixels:
    """What a network is shown of a clip, see `scopeline.seeing`."""
    return seeing.see_clip(pictures, _view(plan), field)


def _view(plan: InputPlan) -> View:
    return View(plan.crop, plan.size, plan.size)
