"""Bar code: the frame's number, burnt into the picture's lower right corner.

It lets a test or a bench compare what a result says with the picture it was made from, through any encoder:
two rows of 17 black and white blocks, 8 px each up to 800 lines (half a macroblock: the code fills whole
ones). The corner is free on every screen that Scopeline draws: fields are cut or round there, or end above.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scopeline.picture import Pixels

NUMBER_BITS = 24
_CHECK_BITS = 8
_COLUMNS = (NUMBER_BITS + _CHECK_BITS) // 2 + 1  # the first column is a fixed mark, white over black
_MACROBLOCK_PX = 16
_BLACK, _WHITE = 16, 235
# Blocks between these grey levels are neither: the picture holds no code, or one too damaged to trust.
_BLACK_MAX, _WHITE_MIN = 90, 160

Bits = NDArray[np.bool_]


def block_px(height: int) -> int:
    """Side of one block in pixels for pictures of this height."""
    return 8 * max(1, round(height / 540))


def code_box(width: int, height: int) -> tuple[int, int, int, int]:
    """x, y, width and height of the code in a picture, aligned to macroblocks.

    Raises:
        ValueError: the picture is too small to carry the code.
    """
    side = block_px(height)
    code_w, code_h = _COLUMNS * side, 2 * side
    x = (width - code_w) // _MACROBLOCK_PX * _MACROBLOCK_PX
    y = (height - code_h) // _MACROBLOCK_PX * _MACROBLOCK_PX
    if x < 0 or y < 0:
        raise ValueError(f"the bar code needs {code_w}x{code_h} pixels, the picture has {width}x{height}")
    return x, y, code_w, code_h


def burn(pixels: Pixels, number: int) -> None:
    """Writes `number` into (H, W, 3) pixels in place.

    Raises:
        ValueError: the number does not fit 24 bits, or the picture is too small.
    """
    if not 0 <= number < 1 << NUMBER_BITS:
        raise ValueError(f"the frame number must be in 0..{(1 << NUMBER_BITS) - 1}, got {number}")
    x, y, width, height = code_box(pixels.shape[1], pixels.shape[0])
    grey = np.where(_encode(number), _WHITE, _BLACK).astype(np.uint8)
    side = height // 2
    pixels[y : y + height, x : x + width] = grey.repeat(side, 0).repeat(side, 1)[..., None]


def read(pixels: Pixels) -> int | None:
    """The number burnt into (H, W, 3) pixels, or None when there is none that can be trusted."""
    x, y, width, height = code_box(pixels.shape[1], pixels.shape[0])
    side = height // 2
    code = pixels[y : y + height, x : x + width].reshape(2, side, _COLUMNS, side, 3)
    edge = side // 4  # the encoder smears block edges; the middle stays true
    levels = code[:, edge : side - edge, :, edge : side - edge].mean(axis=(1, 3, 4))
    if np.any((levels > _BLACK_MAX) & (levels < _WHITE_MIN)):
        return None
    return _decode(levels >= _WHITE_MIN)


def _encode(number: int) -> Bits:
    word = number << _CHECK_BITS | _check(number)
    count = NUMBER_BITS + _CHECK_BITS
    bits = np.array([word >> (count - 1 - k) & 1 for k in range(count)], bool).reshape(2, -1)
    return np.concatenate([np.array([[True], [False]]), bits], axis=1)


def _decode(blocks: Bits) -> int | None:
    if not blocks[0, 0] or blocks[1, 0]:
        return None
    word = 0
    for bit in blocks[:, 1:].reshape(-1):
        word = word << 1 | int(bit)
    number, check = word >> _CHECK_BITS, word & (1 << _CHECK_BITS) - 1
    return number if check == _check(number) else None


def _check(number: int) -> int:
    """CRC-8 with polynomial 0x07, started at 0xFF so that an all-black code is not number 0."""
    crc = 0xFF
    for byte in number.to_bytes(3, "big"):
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc
