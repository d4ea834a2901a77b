"""ScopeProfile: a field of view that a person has pinned down, so that nothing has to be found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from scopeline.errors import ConfigError
from scopeline.field_of_view import ROUND, FieldOfView, Shape
from scopeline.overlay import Box, Overlay, OverlayKind

_ASPECT_TOLERANCE = 0.01
_LINES = 180
"""Height at which it is judged whether an overlay covers the field."""


class PinnedOverlay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A box that the processor always draws, in pixels of the profile's signal."""

    kind: OverlayKind
    box: Box


class ScopeProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the picture lies in the signal of one processor in one setting.

    All numbers are pixels of the signal size that the profile names; another size of the same aspect is
    scaled.
    """

    name: str
    """What a person calls this processor and setting."""
    signal: tuple[int, int]
    """Width and height of the signal the numbers were taken from."""
    shape: Shape
    box: Box
    """x, y, width and height of the field."""
    circle: tuple[float, float, float] | None = None
    """Centre x, centre y and radius; for round shapes, and only for them."""
    outline: tuple[tuple[float, float], ...] = ()
    """Corners of an octagon, clockwise."""
    overlays: tuple[PinnedOverlay, ...] = ()

    def fits(self, width: int, height: int) -> bool:
        """Whether a signal of that size has the profile's aspect."""
        return abs(width * self.signal[1] / (height * self.signal[0]) - 1) <= _ASPECT_TOLERANCE

    def field(self, number: int, width: int, height: int) -> FieldOfView:
        """The pinned field for a signal of that size, with the overlays that cover some of it; text beside the field is
        left out.

        Raises:
            ConfigError: the signal's aspect is not the profile's, or the geometry does not lie within the
                signal.
        """
        if not self.fits(width, height):
            raise ConfigError(
                f"scope profile {self.name!r} is for {self.signal[0]}x{self.signal[1]} signals, the signal "
                f"has {width}x{height}: choose another profile, or none to have the field found"
            )
        across, down = width / self.signal[0], height / self.signal[1]
        x, y, w, h = _scaled(self.box, across, down)
        circle = self.circle and (self.circle[0] * across, self.circle[1] * down, self.circle[2] * down)
        try:
            field = FieldOfView(
                id=number, shape=self.shape, x=x, y=y, width=w, height=h, signal_width=width,
                signal_height=height, circle=circle,
                outline=tuple((px * across, py * down) for px, py in self.outline),
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(f"scope profile {self.name!r}: {error}") from error
        overlays = (Overlay(o.kind, *_scaled(o.box, across, down)) for o in self.overlays)
        return replace(field, overlays=tuple(overlay for overlay in overlays if _covers(overlay, field)))


def load_profile(path: Path) -> ScopeProfile:
    """A profile from its TOML file.

    Raises:
        ConfigError: the file cannot be read, has an unknown or missing key, or describes an impossible field.
    """
    try:
        profile = msgspec.toml.decode(path.read_bytes(), type=ScopeProfile)
    except OSError as error:
        raise ConfigError(f"{path}: wanted a scope profile, could not read it ({error.strerror})") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if min(profile.signal) < 1:
        raise ConfigError(f"{path}: signal must be a width and a height in pixels, got {profile.signal}")
    if (profile.shape in ROUND) != (profile.circle is not None):
        raise ConfigError(f"{path}: round shapes, and only they, need `circle`; shape is {profile.shape}")
    try:
        profile.field(1, *profile.signal)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return profile


def _covers(overlay: Overlay, field: FieldOfView) -> bool:
    """Whether an overlay hides any of the field, to half a percent of the signal's height."""
    width = max(1, round(field.signal_width * _LINES / field.signal_height))
    across, down = width / field.signal_width, _LINES / field.signal_height
    x, y, w, h = _scaled(overlay.box, across, down)
    return bool(field.mask(width, _LINES)[y : y + max(1, h), x : x + max(1, w)].any())


def _scaled(box: Box, across: float, down: float) -> Box:
    x, y, w, h = box
    left, top = round(x * across), round(y * down)
    return left, top, round((x + w) * across) - left, round((y + h) * down) - top
