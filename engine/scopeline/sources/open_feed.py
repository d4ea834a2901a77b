"""Open feed: from an address to a source that delivers its frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scopeline.devices import explain_device
from scopeline.errors import SourceError
from scopeline.notices import Notices
from scopeline.ports import Source
from scopeline.simulation.procedure import simulate_procedure
from scopeline.sources.address import (
    FeedAddress,
    LibraryFeed,
    ProgramFeed,
    RawFeed,
    RecordingFeed,
    SyntheticFeed,
)
from scopeline.sources.capture_child import Order
from scopeline.sources.child_connection import ChildConnection
from scopeline.sources.connection import Connection
from scopeline.sources.feed import Feed
from scopeline.sources.media import MediaSource
from scopeline.sources.picture_pool import PicturePool
from scopeline.sources.raw_pipe import STANDARD_INPUT, RawPipe
from scopeline.sources.synthetic import SyntheticSource
from scopeline.sources.system_ffmpeg import NUT_OPTIONS, ffmpeg_command, find_ffmpeg

_SYNTHETIC_SEED = 7


def open_feed(address: FeedAddress, notices: Notices) -> Source:
    """A source that is ready to be read. Devices and streams are opened when it is, and again for ever.

    Raises:
        SourceError: a recording that cannot be read, or a system ffmpeg that is missing or cannot open such feeds.
        ConfigError: raw pictures of a size or format that cannot be.
    """
    match address:
        case SyntheticFeed():
            return SyntheticSource(simulate_procedure(seed=_SYNTHETIC_SEED), live=True)
        case RecordingFeed(place=place):
            return MediaSource(place, live=True)
        case _:
            return Feed(address.name, _connector(address), notices)


def _connector(address: LibraryFeed | ProgramFeed | RawFeed) -> Callable[[], Connection]:
    """What makes the next connection; what can be known to be wrong is found out here and now."""
    pool = PicturePool()
    match address:
        case LibraryFeed(place=place, format=form, options=options):
            order = Order(place=place, format=form, options=dict(options))
            return lambda: _device(order, pool) if form == "v4l2" else ChildConnection(order, pool)
        case ProgramFeed():
            command = ffmpeg_command(address, find_ffmpeg(address))
            piped = Order(command=tuple(command), options=dict(NUT_OPTIONS))
            return lambda: ChildConnection(piped, pool)
        case RawFeed():
            path = STANDARD_INPUT if address.path is None else str(address.path)
            size = (address.pixel_format, address.width_px, address.height_px)
            return lambda: RawPipe(path, *size, pool)


def _device(order: Order, pool: PicturePool) -> Connection:
    """A connection to a card; what stands in its way is said better here than by FFmpeg."""
    if why := explain_device(Path(order.place)):
        raise SourceError(why)
    return ChildConnection(order, pool)
