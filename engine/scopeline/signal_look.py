"""Signal look: what one picture after the other says of the feed: black, a test card, a card without signal, frozen."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scopeline.field_of_view import FieldOfView
from scopeline.notices import Signal
from scopeline.picture import Picture
from scopeline.quality import has_colour_bars
from scopeline.samples import Channel, Sampler, Samples, yuv_to_rgb

_ALMOST_S = 1e-6


class SignalLook:
    """Names what a feed shows while it shows no live picture. One look belongs to one feed.

    Each state is named once it has lasted (`LASTS_S`; a freeze `Repeats.AFTER_S`) and left with the first picture that
    is otherwise: a black frame at a cut is no weather. Looks at some rows of the whole signal in the card's own
    pixels. Never named: what is merely dark, white (overexposed) or the red of a lens against the wall.
    """

    LASTS_S = 0.2

    def __init__(self) -> None:
        self._sampler = Sampler()
        self._repeats = Repeats()
        self._named: Signal | None = None
        self._maybe: Signal | None = None
        self._since_s = 0.0

    def look(self, picture: Picture, time_s: float, field: FieldOfView | None = None) -> Signal | None:
        """`BLACK`, `COLOUR_BARS`, `NO_SIGNAL`, `FROZEN`, or None for a live picture. In order, every frame there is.

        Args:
            picture: The whole signal, of any pixel format.
            time_s: Stream time in seconds.
            field: Where the scope's picture is: what is drawn around it (a clock) is no life, and black around it no
                picture. The whole signal if None.
        """
        samples = self._sampler.sample(picture)
        frozen = self._repeats.check(samples, time_s, _shares(field))
        shown = _shown(samples, _shares(field))
        if shown is not self._maybe:
            self._maybe, self._since_s = shown, time_s
        elif shown is not None and time_s - self._since_s >= self.LASTS_S - _ALMOST_S:
            self._named = shown
            return shown
        if frozen:
            self._named = Signal.FROZEN
        elif shown is None:
            self._named = None
        return self._named  # from one weather to the next there is no fair moment between


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the signal, in shares of its height and width."""

    top: float = 0.0
    bottom: float = 1.0
    left: float = 0.0
    right: float = 1.0

    def rows(self, count: int) -> slice:
        return _span(self.top, self.bottom, count)

    def columns(self, count: int) -> slice:
        return _span(self.left, self.right, count)


_WHOLE = _Part()


def _span(start: float, end: float, count: int) -> slice:
    first = round(start * count)
    return slice(first, max(round(end * count), first + 1))


def _shares(field: FieldOfView | None) -> _Part:
    if field is None:
        return _WHOLE
    width, height = field.signal_width, field.signal_height
    return _Part(
        field.y / height, (field.y + field.height) / height, field.x / width, (field.x + field.width) / width
    )


class Repeats:
    """Finds the picture that repeats. Belongs to one feed.

    A repeat changes nothing: raw cards repeat every byte, H.264 skips every block once it has refined the picture.
    Measured on whole rows: behind an encoder at crf 18 to 28 a freeze changes no pixel, or the same 1 to 4 in 1000 over
    and over; a scope held still changes others each time, 3 in 1000 at crf 28 and hundreds at crf 18. Points scattered
    over the picture do not tell them apart. A clock that ticks on lies in a small box; what moves elsewhere in the
    meantime is life.
    """

    AFTER_S = 0.25
    """The picture stands from its first showing: repeats of a rate conversion are shorter (5 pictures a second on)."""
    REPEATS = 2
    FLICKER, NEW_FLICKER = 0.01, 0.0002
    """Shares of the pixels: so many may change again and again, so many may begin to in one step."""
    BOX_HEIGHT, BOX_WIDTH = 0.08, 0.30
    """Shares of the part that is looked at, in which a line of text may change."""
    MOVED = 1.8
    """Mean absolute difference in grey levels that no key frame of a frozen picture makes (up to 1.6 was measured)."""
    CHANGED = 0.5
    """Share of pixels that two frames of a frozen picture in succession never both change."""
    REFRESH_S = 0.8
    """After a key frame, a frozen picture stands again within so long."""
    LIVE_SHARE = 0.02
    """Less of the picture that is neither black nor burnt out says nothing: those repeat by themselves."""

    def __init__(self) -> None:
        self._before: Channel | None = None
        self._light: Channel | None = None
        self._since_s = self._before_s = 0.0
        self._count = 0
        self._box: tuple[int, int, int, int] | None = None
        self._flicker: NDArray[np.bool_] | None = None
        self._is_frozen = False
        self._until_s = float("inf")
        self._changed_much = False

    def check(self, samples: Samples, time_s: float, part: _Part) -> bool:
        """Whether the picture is frozen."""
        rows, light = samples.whole_rows(), samples.light()
        before, light_before = self._before, self._light
        self._before, self._light = rows, light
        if before is None or light_before is None or before.shape != rows.shape:
            self._restart(time_s)
            self._is_frozen = False
        else:
            within = part.rows(len(rows)), part.columns(rows.shape[1])
            changed = rows[within] != before[within]
            count = int(np.count_nonzero(changed))
            if count and not self._is_small(changed, count):
                self._restart(time_s, changed if count <= self.FLICKER * changed.size else None)
                self._count = -1
                self._thaw(light, light_before, count / changed.size, time_s, part)
            self._count += 1
            stands = (
                self._count >= self.REPEATS
                and time_s - self._since_s >= self.AFTER_S - _ALMOST_S
                and self._has_life(light, part, full_range=samples.full_range)
            )
            if stands:
                self._is_frozen, self._until_s, self._changed_much = True, float("inf"), False
        self._before_s = time_s
        return self._is_frozen

    def _restart(self, time_s: float, flicker: NDArray[np.bool_] | None = None) -> None:
        self._since_s, self._count, self._box, self._flicker = time_s, 0, None, flicker

    def _is_small(self, changed: NDArray[np.bool_], count: int) -> bool:
        """Whether what changed is no more than the encoder's flicker or a clock."""
        if count > self.FLICKER * changed.size:
            return False
        if self._flicker is None or self._flicker.shape != changed.shape:
            self._flicker = np.zeros_like(changed)
        new = changed & ~self._flicker
        if np.count_nonzero(new) <= self.NEW_FLICKER * new.size:
            self._flicker |= new
            return True
        return self._is_a_clock(new)

    def _is_a_clock(self, changed: NDArray[np.bool_]) -> bool:
        height, width = changed.shape
        down, across = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        box = int(down[0]), int(down[-1]), int(across[0]), int(across[-1])
        if self._box is not None:
            old = self._box
            box = min(old[0], box[0]), max(old[1], box[1]), min(old[2], box[2]), max(old[3], box[3])
        if box[1] - box[0] >= max(self.BOX_HEIGHT * height, 2) or box[3] - box[2] >= self.BOX_WIDTH * width:
            return False
        self._box = box
        return True

    def _thaw(self, light: Channel, before: Channel, share: float, time_s: float, part: _Part) -> None:
        """A frozen picture changed: it is live again, or this is a key frame of it."""
        if not self._is_frozen:
            return
        within = part.rows(len(light)), part.columns(light.shape[1])
        step = np.abs(light[within].astype(np.int16) - before[within]).mean()
        much = share >= self.CHANGED
        if self._until_s == float("inf"):
            self._until_s = time_s + self.REFRESH_S
        if step >= self.MOVED or (much and self._changed_much) or time_s > self._until_s:
            self._is_frozen, self._until_s, self._changed_much = False, float("inf"), False
        else:
            self._changed_much = much

    def _has_life(self, light: Channel, part: _Part, *, full_range: bool) -> bool:
        seen = light[part.rows(len(light)), part.columns(light.shape[1])]
        dark, burnt = (6, 249) if full_range else (20, 231)
        live = np.count_nonzero((seen > dark) & (seen < burnt))
        return bool(live >= self.LIVE_SHARE * seen.size)


BLACK_LIGHT = 12
"""RGB value up to which a pixel is black; the noise of an analogue input reaches it. A simulated room with its light
turned down has a median of 16, and shapes in it."""
EVEN_BLACK_LIGHT, EVEN = 24, 6
"""Nearly black and even, within so many levels: black of limited range that was taken for full (16)."""
BLACK_SHARE = 0.985
FLAT_SHARE = 0.85
"""A card's own screen: one colour, but for the text "no signal"."""
DARK = 40
"""Brightest channel of a colour that is no card's."""
FLAT = 4
"""Levels around that colour: noise and coding."""


def _shown(samples: Samples, part: _Part) -> Signal | None:
    """What one picture by itself looks like."""
    light = samples.light()
    seen = light[part.rows(len(light)), part.columns(light.shape[1])]
    if _is_black(seen, full_range=samples.full_range):
        colour = _usual_colour(samples, part)
        if max(colour) - min(colour) <= 24 and max(colour) <= DARK:
            return Signal.BLACK
    if _is_flat(light) and all(_is_flat(each) for each in samples.colours()):
        return _name_of_flat(_usual_colour(samples, _WHOLE))
    if _rows_are_alike(light) and has_colour_bars(samples.rgb()):
        return Signal.COLOUR_BARS
    return None


def _is_black(light: Channel, *, full_range: bool) -> bool:
    dark, even = (
        (value if full_range else 16 + value * 219 // 255) for value in (BLACK_LIGHT, EVEN_BLACK_LIGHT)
    )
    most = BLACK_SHARE * light.size
    if np.count_nonzero(light <= dark) >= most:
        return True
    return bool(np.count_nonzero(light <= even) >= most and _most_lie_close(light, BLACK_SHARE, EVEN))


def _is_flat(channel: Channel) -> bool:
    """Whether nearly all samples lie close together. A few first: most pictures need no more."""
    return _most_lie_close(channel[::8, ::8], 0.7) and _most_lie_close(channel, FLAT_SHARE)


def _most_lie_close(values: Channel, share: float, within: int = 2 * FLAT) -> bool:
    ordered = np.sort(values, axis=None)
    count = int(share * len(ordered))
    return bool((ordered[count:] - ordered[: len(ordered) - count]).min() <= within)


def _usual_colour(samples: Samples, part: _Part) -> tuple[int, int, int]:
    """Median RGB of a part."""

    def middle(channel: Channel) -> int:
        return int(np.median(channel[part.rows(len(channel)), part.columns(channel.shape[1])]))

    colours = samples.colours()
    if len(colours) == 3:
        return middle(colours[0]), middle(colours[1]), middle(colours[2])
    light = middle(samples.light())
    if not colours:
        return light, light, light
    points = [np.array([value], np.uint8) for value in (light, *(middle(each) for each in colours))]
    red, green, blue = yuv_to_rgb(points[0], points[1], points[2], samples.full_range)[0].tolist()
    return red, green, blue


def _name_of_flat(colour: tuple[int, int, int]) -> Signal | None:
    red, green, blue = colour
    if max(colour) <= DARK:  # dark, and not wholly black
        return None
    if min(colour) > 200:  # overexposed
        return None
    if red >= green and red > blue + 25:  # a lens against the wall
        return None
    return Signal.NO_SIGNAL


def _rows_are_alike(light: Channel) -> bool:
    """Whether the upper half's rows could be those of upright bars; decides for nearly every picture."""
    first, second, third = (light[len(light) * at // 16] for at in (1, 4, 8))
    if int(first.max()) - int(first.min()) < 60:
        return False
    most = 4.0 * first.size
    return bool(cv2.norm(first, third, cv2.NORM_L1) <= most and cv2.norm(first, second, cv2.NORM_L1) <= most)
