from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.filter import Graph
from av.video.frame import VideoFrame

from fakes import MES, ORGAN, QUALITY, FakeBackend, fake_bundle
from scopeline.conclude import Concluder, Identity
from scopeline.config import BundleChoice, Pipeline
from scopeline.engine import Engine
from scopeline.field_tracker import FieldEvent, FieldTracker
from scopeline.frame import Frame
from scopeline.judge import Judge, Model
from scopeline.ledger import Ledger
from scopeline.notices import Incident, Notices, Signal, Trouble
from scopeline.picture import Picture
from scopeline.prepare import Preparer
from scopeline.sources.address import RawFeed
from scopeline.sources.open_feed import open_feed
from scopeline.sources.picture_pool import POOLED, PicturePool

SIZE = (64, 48, "yuv420p")
STALLS = 20
Hold = Callable[[Picture], object]


def painted(pool: PicturePool, grey: int, size: tuple[int, int, str] = SIZE) -> Picture:
    picture = pool.take(*size)
    for plane in range(len(picture.planes)):
        pixels_of(picture, plane)[:] = grey
    return picture


def pixels_of(picture: Picture, plane: int = 0) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(memoryview(picture.planes[plane]), np.uint8)


def where(picture: Picture) -> int:
    return picture.planes[0].buffer_ptr


def in_a_graph(picture: Picture) -> Graph:
    """A filter that looks at two pictures at a time keeps this one until the next comes."""
    graph = Graph()
    entrance = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 1000)
    )
    graph.link_nodes(entrance, graph.add("tmix", "frames=2"), graph.add("buffersink")).configure()
    picture.pts = 0
    graph.vpush(picture)
    return graph


def test_a_picture_that_was_let_go_lends_its_memory_to_the_next() -> None:
    pool = PicturePool()

    places = {where(pool.take(*SIZE)) for _ in range(100)}

    assert len(places) <= POOLED


@pytest.mark.parametrize(
    "hold",
    [
        pytest.param(lambda picture: picture, id="the picture"),
        pytest.param(lambda picture: memoryview(picture.planes[1]), id="a plane's memory"),
        pytest.param(pixels_of, id="an array over it"),
        pytest.param(in_a_graph, id="a filter graph"),
    ],
)
def test_nobody_else_gets_the_memory_of_a_picture_that_is_held(hold: Hold) -> None:
    pool = PicturePool(count=2)
    picture = painted(pool, 7)
    place, held = where(picture), hold(picture)
    del picture

    others = {where(painted(pool, 200)) for _ in range(20)}
    assert place not in others

    del held
    assert place in {where(pool.take(*SIZE)) for _ in range(20)}


def test_pictures_that_are_kept_beyond_the_pool_are_all_different_ones() -> None:
    pool = PicturePool(count=2)

    kept = [painted(pool, grey) for grey in range(7)]

    assert [int(pixels_of(picture).min()) for picture in kept] == list(range(7))
    assert [int(pixels_of(picture).max()) for picture in kept] == list(range(7))


def test_what_was_taken_beyond_the_pool_does_not_stay_in_it() -> None:
    pool = PicturePool(count=2)
    kept = [pool.take(*SIZE) for _ in range(7)]
    own = {where(picture) for picture in kept[:2]}

    kept.clear()

    assert {where(picture) for picture in [pool.take(*SIZE), pool.take(*SIZE)]} == own


def test_a_signal_that_changes_size_spoils_no_picture_of_the_old_one() -> None:
    pool = PicturePool(count=2)
    old = painted(pool, 7)

    new = [painted(pool, 200, (128, 96, "nv12")) for _ in range(5)]

    assert {(picture.width, picture.format.name) for picture in new} == {(128, "nv12")}
    assert (old.width, old.format.name) == (64, "yuv420p")
    assert np.all(pixels_of(old) == 7)


def test_a_picture_is_as_new_whatever_was_said_of_the_last_one() -> None:
    pool = PicturePool(count=1)
    last = pool.take(*SIZE)
    last.color_range, last.colorspace, last.pts = 2, 1, 17
    place = where(last)
    del last

    picture = pool.take(*SIZE)

    new = VideoFrame(*SIZE)
    assert where(picture) == place
    assert (picture.color_range, picture.colorspace, picture.pts) == (
        new.color_range,
        new.colorspace,
        new.pts,
    )


@pytest.mark.parametrize(
    "form",
    ["yuv420p", "yuvj422p", "yuyv422", "uyvy422", "nv12", "p010le", "yuv422p10le", "bgr24", "bgra", "gray"],
)
def test_lines_lie_as_ffmpeg_lays_them(form: str) -> None:
    picture, own = PicturePool().take(642, 358, form), VideoFrame(642, 358, form)

    assert picture.format.name == form
    assert [(plane.line_size, plane.buffer_size) for plane in picture.planes] == [
        (plane.line_size, plane.buffer_size) for plane in own.planes
    ]


class NextWriter(Notices):
    """Lets another program write into the pipe as soon as the feed is told to be lost."""

    def __init__(self, write: Callable[[], object]) -> None:
        super().__init__()
        self.writer = threading.Thread(target=write)

    def post(self, what: Signal | Incident | Trouble, text: str = "", *, at_ns: int | None = None) -> None:
        super().post(what, text, at_ns=at_ns)
        if what == Signal.RECONNECTING and self.writer.ident is None:
            self.writer.start()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_feed_that_comes_back_is_read_into_the_memory_it_had(tmp_path: Path) -> None:
    pipe = tmp_path / "card"
    os.mkfifo(pipe)
    picture = bytes(3 * 64 * 32)
    notices = NextWriter(lambda: pipe.write_bytes(picture * 10))
    feed = open_feed(RawFeed("card", pipe, 64, 32, "bgr24", None), notices)
    first_writer = threading.Thread(target=lambda: pipe.write_bytes(picture * 3))
    first_writer.start()

    frames = feed.frames()
    held = [next(frames).picture for _ in range(3)]
    places = {where(each) for each in held}
    after = [where(next(frames).picture)]
    held.clear()
    after += [where(next(frames).picture) for _ in range(6)]
    feed.close()
    assert next(frames, None) is None
    first_writer.join()
    notices.writer.join()

    assert places & set(after)


class PooledSource:
    """Paints as fast as it can what a live engine takes, each picture in its own grey, until it is closed."""

    name, duration_s = "pooled", None
    damaged: Mapping[str, int] = {}

    def __init__(self) -> None:
        self.places: set[int] = set()
        self._pool = PicturePool()
        self._made = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def frames(self) -> Iterator[Frame]:
        while not self._is_closed:
            picture = painted(self._pool, grey_of(self._made), (320, 240, "yuv420p"))
            self.places.add(where(picture))
            with self._changed:
                self._made += 1
                self._changed.notify_all()
            yield Frame(self._made - 1, self._made - 1, (self._made - 1) / 30, picture)

    def wait_for_more(self, count: int) -> None:
        """Return when so many more pictures were painted."""
        with self._changed:
            wanted = self._made + count
            self._changed.wait_for(lambda: self._made >= wanted)

    def close(self) -> None:
        self._is_closed = True


def grey_of(number: int) -> int:
    return number % 251


class StallingTracker(FieldTracker):
    """Stalls over every third picture until ten newer ones have come, and looks at it only then."""

    def __init__(self, source: PooledSource) -> None:
        super().__init__()
        self._source = source
        self.looked = self.stalled = 0
        self.spoilt: list[int] = []

    def observe(self, picture: Picture, time_s: float) -> FieldEvent | None:
        self.looked += 1
        if self.looked % 3 == 0:
            self._source.wait_for_more(10)
            self.stalled += 1
        pixels, number = pixels_of(picture), round(time_s * 30)
        if not int(pixels.min()) == int(pixels.max()) == grey_of(number):
            self.spoilt.append(number)
        if self.stalled == STALLS:
            self._source.close()
        return None


def test_an_engine_that_stalls_needs_no_more_buffers_than_the_pool_has_and_sees_no_picture_spoilt() -> None:
    source = PooledSource()
    tracker = StallingTracker(source)
    bundle = fake_bundle(QUALITY, ORGAN, MES)
    pipeline = Pipeline(name="test", bundles=(BundleChoice(path="nowhere"),))
    identity = Identity("session", source.name, "test", "sha256:0", {"fake": "sha256:0/fake/fp32"}, "0")
    engine = Engine(
        source,
        Preparer([bundle.input], tracker),
        Judge([Model(bundle, FakeBackend(lambda picture: {}), 0)], {}, usable_at=0.5),
        Concluder(identity, pipeline, bundle.heads),
        [],
        ledger=Ledger(),
        live=True,
    )

    report = engine.run()

    assert report.ledger.lost["late"] >= 8 * STALLS
    assert not tracker.spoilt
    assert len(source.places) <= POOLED
