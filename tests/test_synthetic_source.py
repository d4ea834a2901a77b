"""The synthetic feed behaves like a capture card."""

from __future__ import annotations

import numpy as np
import pytest

from scopeline.picture import rgb_pixels
from scopeline.simulation.barcode import read
from scopeline.simulation.procedure import simulate_procedure
from scopeline.simulation.renderer import Renderer
from scopeline.sources.pace import Pace
from scopeline.sources.synthetic import SyntheticSource

PROCEDURE = simulate_procedure(seed=1, duration_s=3, fps=10, width=320, height=240)


class ScriptedPace(Pace):
    """A clock that stands where the last wait ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ns = 5_000_000_000

    def now_ns(self) -> int:
        return self.ns

    def wait_until(self, deadline_ns: int) -> bool:
        self.ns = max(self.ns, deadline_ns)
        return super().wait_until(deadline_ns)


def test_every_frame_comes_once_in_order_with_the_time_of_the_stream() -> None:
    frames = list(SyntheticSource(PROCEDURE).frames())
    assert [frame.seq for frame in frames] == list(range(30))
    assert [frame.time_s for frame in frames] == [k / 10 for k in range(30)]
    assert [read(rgb_pixels(frame.picture)) for frame in frames] == list(range(30))
    stamps = [frame.captured_ns for frame in frames]
    assert stamps == sorted(stamps)


def test_the_pictures_have_a_cards_format_and_the_rendered_colours() -> None:
    frame = next(SyntheticSource(PROCEDURE).frames())
    assert frame.picture.format.name == "yuv420p"
    difference = rgb_pixels(frame.picture).astype(int) - Renderer(PROCEDURE).render(0)
    assert np.abs(difference).mean() < 3


def test_a_live_feed_delivers_each_frame_when_its_time_has_come() -> None:
    source = SyntheticSource(PROCEDURE, live=True, pace=ScriptedPace())
    stamps = [frame.captured_ns for frame in source.frames()]
    assert stamps == [5_000_000_000 + k * 100_000_000 for k in range(30)]


@pytest.mark.parametrize("live", [False, True])
def test_closing_ends_the_feed_and_may_be_done_twice(live: bool) -> None:
    source = SyntheticSource(PROCEDURE, live=live, pace=ScriptedPace())
    frames = source.frames()
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []


def test_it_says_how_long_it_is_and_that_nothing_is_damaged() -> None:
    source = SyntheticSource(PROCEDURE)
    assert source.duration_s == 3
    assert source.damaged == {}


def test_an_odd_size_is_refused() -> None:
    with pytest.raises(ValueError, match="got 321x240"):
        SyntheticSource(simulate_procedure(width=321, height=240))
