"""Profile choice: which of the known scope profiles a found field is, if any.

A profile is never believed, only recognised: it must be for a signal of exactly this size, and what the tracker has
found must agree with it. Then its geometry, read from a whole clip, takes the place of the one found in a few pictures,
and its text areas are known. When the tracker finds another field later, that one is compared anew, and the profile is
given up where it no longer agrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from scopeline.errors import ConfigError
from scopeline.field_of_view import FieldOfView
from scopeline.overlay import OverlayKind
from scopeline.scope_profile import ScopeProfile, load_profile

AUTO: Final = "auto"
NONE: Final = "none"
AGREES_AT = 0.98
"""Intersection over union of the two outlines (not of their boxes: an octagon that fills the signal has the box of a
full field). The tracker's last lock on nineteen clips came within 0.983 to 1 of the profile that belongs to it, and of
no other. A profile that is shifted by more than 1 % of the field's width no longer agrees.

What a profile brings is little, and it does no harm (`scopeline evaluate profiles`, IoU of boxes with those drawn by
hand): more than 0.001 in four clips of nineteen, 0.018 at most, each the one that its profile was fitted on; 0.002 less
in another; nothing in those whose profile was fitted on another clip. It is the default because results then say which
processor was recognised, or why none, and because text within the field is known only to a profile."""

_LINES = 180


@dataclass(frozen=True, slots=True)
class Choice:
    """A field, and where its geometry comes from."""

    field: FieldOfView
    profile: str | None
    """File name of the profile taken; None when the field stays as it was found."""
    text: str
    """The same for people, with the reason."""


class ProfileChoice:
    """Recognises profiles. Pure; one may serve many trackers.

    Args:
        profiles: By the name that a pipeline would call them.
    """

    def __init__(self, profiles: Mapping[str, ScopeProfile]) -> None:
        self._profiles = dict(profiles)

    def settle(self, found: FieldOfView) -> Choice:
        """The profile that agrees best with a found field, or the field itself.

        Position display and black boxes stay as they were found, because they come and go; text is the profile's.
        """
        size = (found.signal_width, found.signal_height)
        fitting = {name: each for name, each in self._profiles.items() if each.signal == size}
        if not fitting:
            return Choice(
                found,
                None,
                f"no scope profile is for {size[0]}x{size[1]} signals; the field is found by itself",
            )
        fields = {name: profile.field(found.id, *size) for name, profile in fitting.items()}
        agreement = {name: outline_iou(found, field) for name, field in fields.items()}
        best = max(agreement, key=lambda name: agreement[name])
        if agreement[best] < AGREES_AT:
            return Choice(
                found,
                None,
                f"no scope profile for {size[0]}x{size[1]} signals agrees (best {best}, IoU {agreement[best]:.3f}, "
                f"wanted {AGREES_AT}); the field is found by itself",
            )
        field = fields[best]
        text = tuple(overlay for overlay in field.overlays if overlay.kind is OverlayKind.TEXT)
        return Choice(
            replace(field, overlays=(*found.overlays, *text)),
            best,
            f"scope profile {best} agrees (IoU {agreement[best]:.3f})",
        )


def load_choice(folder: Path) -> ProfileChoice:
    """All profiles of a folder.

    Raises:
        ConfigError: one of them is damaged.
    """
    return ProfileChoice({path.stem: load_profile(path) for path in profile_files(folder)})


def profile_files(folder: Path) -> list[Path]:
    """The profiles of a folder, in the order of their names.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: wanted the folder of scope profiles, there is none; reinstall Scopeline"
        )
    return sorted(folder.glob("*.toml"))


def outline_iou(first: FieldOfView, second: FieldOfView) -> float:
    """Intersection over union of two fields' outlines within one signal, 0..1, to about 0.001."""
    width = max(1, round(first.signal_width * _LINES / first.signal_height))
    one, other = first.mask(width, _LINES), second.mask(width, _LINES)
    both = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / both if both else 0.0
