"""YUV colour: how a picture's luma and chroma become RGB, as whole numbers for the kernel of `plane_shrinker`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scopeline.picture import Picture

_WEIGHTS: Final = {
    1: (0.2126, 0.0722),  # BT.709
    2: (0.299, 0.114),  # said by nobody: FFmpeg takes BT.601 then
    5: (0.299, 0.114),  # BT.470BG
    6: (0.299, 0.114),  # BT.601
    9: (0.2627, 0.0593),  # BT.2020, not constant luminance
}
"""FFmpeg's AVColorSpace -> weights of red and blue in luma (ITU-T H.273, table 4)."""
_FULL_RANGE: Final = 2
"""FFmpeg's AVColorRange of 0 to 255."""
_UNIT: Final = 8192


@dataclass(frozen=True, slots=True)
class Colour:
    """What one unit of luma or chroma adds to red, green and blue, in 1/8192."""

    of_luma: int
    of_red: int
    of_blue: int
    green_of_blue: int
    """Negative, as `green_of_red`: more chroma, less green."""
    green_of_red: int
    is_full: bool
    """Whether luma uses 0 to 255 instead of 16 to 235."""


def colour_of(picture: Picture) -> Colour | None:
    """The colour of a YUV picture of 8 bits; None for one whose colours the kernel does not know."""
    weights = _WEIGHTS.get(int(picture.colorspace))
    if weights is None:
        return None
    red, blue = weights
    green = 1 - red - blue
    is_full = int(picture.color_range) == _FULL_RANGE or picture.format.name.startswith("yuvj")
    luma, chroma = (1.0, 1.0) if is_full else (255 / 219, 255 / 224)
    return Colour(
        of_luma=round(_UNIT * luma),
        of_red=round(_UNIT * chroma * 2 * (1 - red)),
        of_blue=round(_UNIT * chroma * 2 * (1 - blue)),
        green_of_blue=-round(_UNIT * chroma * 2 * (1 - blue) * blue / green),
        green_of_red=-round(_UNIT * chroma * 2 * (1 - red) * red / green),
        is_full=is_full,
    )
