"""Device options: what a capture device is asked for when a person left it open.

Left to itself FFmpeg takes the first uncompressed format that a card has, which from a USB 2 grabber is 1080p at five
pictures a second.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from scopeline.devices import Machine, choose_format, device_modes
from scopeline.errors import ConfigError
from scopeline.sources.address import FeedOptions


def device_options(
    text: str, said: FeedOptions, *, system: str = sys.platform, machine: Machine | None = None
) -> tuple[FeedOptions, str]:
    """The options with format, size and rate of a capture device filled in, and the reason for people.

    Unchanged, with an empty reason, for everything that is no capture device, and for one whose modes cannot be known
    now: it may be plugged in later.

    Raises:
        ConfigError: the device does not offer what was said; says what it offers.
    """
    if not text.startswith(("/dev/video", "/dev/v4l/", "v4l2:", "dshow:")):
        return said, ""
    modes = device_modes(text, system, machine)
    if not modes:
        return said, ""
    try:
        choice = choose_format(
            modes, size_px=said.size_px, rate_hz=said.rate_hz, input_format=said.input_format
        )
    except ConfigError as error:
        raise ConfigError(f"{text}: {error}") from error
    filled = replace(said, size_px=choice.size_px, rate_hz=choice.rate_hz, input_format=choice.input_format)
    return filled, choice.why
