"""The fault source: what it does to frames is exactly what its scenario says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from scopeline.errors import ConfigError
from scopeline.frame import Frame
from scopeline.notices import Incident, Notices, Signal
from scopeline.picture import picture_as_from_card, rgb_pixels
from scopeline.sources.card_screens import colour_bars
from scopeline.sources.fault_scenario import (
    KINDS,
    Bars,
    Black,
    Burst,
    Damage,
    Disconnect,
    Drop,
    Fault,
    Freeze,
    Jump,
    NoSignal,
    Scenario,
    Size,
    Slow,
    Stall,
    Wrap,
    decode_scenario,
    random_scenario,
    read_scenario,
)
from scopeline.sources.faults import FaultSource
from scopeline.sources.pace import Pace

FPS = 25
START_NS = 5_000_000_000


class Numbered:
    """Pictures whose brightness is their number."""

    def __init__(self, count: int) -> None:
        self.name, self.duration_s = "numbered", count / FPS
        self.damaged: Mapping[str, int] = {"corrupt picture": 1}
        self.is_closed = False
        self._count = count

    def frames(self) -> Iterator[Frame]:
        for index in range(self._count):
            if self.is_closed:
                return
            pixels = np.full((32, 48, 3), 20 + index % 200, np.uint8)
            yield Frame(index, 77, index / FPS, picture_as_from_card(pixels))

    def close(self) -> None:
        self.is_closed = True


class FakePace(Pace):
    """A clock that goes forward when it is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.at_ns = START_NS
        self.waits: list[int] = []

    def now_ns(self) -> int:
        return self.at_ns

    def wait_until(self, deadline_ns: int) -> bool:
        self.waits.append(deadline_ns)
        self.at_ns = max(self.at_ns, deadline_ns)
        return True


def played(
    *faults: Fault, count: int = 100, jitter_s: float = 0.0, notices: Notices | None = None
) -> list[Frame]:
    scenario = Scenario(seed=3, jitter_s=jitter_s, faults=faults)
    return list(FaultSource(Numbered(count), scenario, notices or Notices(), pace=FakePace()).frames())


def shown(frames: Sequence[Frame]) -> list[int]:
    """Which of the numbered pictures each frame shows."""
    return [round(float(rgb_pixels(frame.picture).mean()) - 20) for frame in frames]


def arrivals_s(frames: Sequence[Frame]) -> list[float]:
    return [(frame.captured_ns - START_NS) / 1e9 for frame in frames]


def test_without_a_fault_every_frame_arrives_when_it_was_made() -> None:
    frames = played()
    assert [frame.seq for frame in frames] == list(range(100))
    assert shown(frames) == pytest.approx(list(range(100)), abs=1)
    assert arrivals_s(frames) == pytest.approx([index / FPS for index in range(100)], abs=1e-6)
    assert [frame.time_s for frame in frames] == pytest.approx([index / FPS for index in range(100)])


def test_jitter_makes_frames_late_but_never_overtakes() -> None:
    frames = played(jitter_s=0.06)
    late = [at_s - index / FPS for index, at_s in enumerate(arrivals_s(frames))]
    assert min(late) >= 0
    assert 0.04 < max(late) <= 0.06 + 0.01
    assert arrivals_s(frames) == sorted(arrivals_s(frames))


@pytest.mark.parametrize("numbered", [True, False])
def test_drops_lose_frames_and_show_in_the_numbers_where_the_feed_has_any(numbered: bool) -> None:
    frames = played(Drop(at_s=1, duration_s=0.2, numbered=numbered))
    assert len(frames) == 95
    assert frames[25].seq == (30 if numbered else 25)
    assert frames[25].time_s == pytest.approx(1.2)


def test_a_share_of_drops_is_the_same_for_the_same_seed() -> None:
    fault = Drop(at_s=0, duration_s=4, share=0.3)
    first, second = played(fault), played(fault)
    assert [frame.seq for frame in first] == [frame.seq for frame in second]
    assert 60 <= len(first) <= 80


def test_a_burst_holds_frames_and_loses_none() -> None:
    frames = played(Burst(at_s=1, duration_s=0.2))
    assert len(frames) == 100
    assert arrivals_s(frames)[25:31] == pytest.approx([1.2, 1.201, 1.202, 1.203, 1.204, 1.205])
    assert frames[27].time_s == pytest.approx(27 / FPS)


def test_a_stall_is_silence_and_what_was_made_in_it_is_gone() -> None:
    frames = played(Stall(at_s=1, duration_s=1))
    assert arrivals_s(frames)[24:26] == pytest.approx([0.96, 2.0])
    assert [frame.seq for frame in frames] == list(range(75))


def test_a_freeze_repeats_the_very_same_picture() -> None:
    frames = played(Freeze(at_s=1, duration_s=1))
    assert len({id(frame.picture) for frame in frames[25:50]}) == 1
    assert shown(frames)[24:27] == pytest.approx([24, 25, 25], abs=1)
    assert shown(frames)[50] == pytest.approx(50, abs=1)


def test_black_bars_and_the_cards_screen_come_in_the_feeds_own_format() -> None:
    frames = played(
        Black(at_s=1, duration_s=0.2),
        Bars(at_s=2, duration_s=0.2),
        NoSignal(at_s=3, duration_s=0.2, colour=(10, 20, 200)),
    )
    assert {frame.picture.format.name for frame in frames} == {"yuv420p"}
    assert rgb_pixels(frames[25].picture).max() <= 2
    wanted = colour_bars(48, 32)[8].astype(int)
    assert np.median(np.abs(rgb_pixels(frames[50].picture)[8] - wanted)) <= 6
    assert rgb_pixels(frames[75].picture)[2, 2] == pytest.approx((10, 20, 200), abs=6)


def test_damage_is_counted_beside_that_of_the_source() -> None:
    source = FaultSource(
        Numbered(100), Scenario(faults=(Damage(at_s=1, duration_s=1, share=1),)), Notices(), pace=FakePace()
    )
    assert len(list(source.frames())) == 75
    assert source.damaged == {"damaged packet": 25, "corrupt picture": 1}


def test_another_size_comes_and_goes() -> None:
    frames = played(Size(at_s=1, duration_s=1, width_px=64, height_px=20))
    sizes = [(frame.picture.width, frame.picture.height) for frame in frames]
    assert sizes == [(48, 32)] * 25 + [(64, 20)] * 25 + [(48, 32)] * 50


@pytest.mark.parametrize("fault", [Jump(at_s=2, by_s=-900), Jump(at_s=2, by_s=40), Wrap(at_s=2)])
def test_stamps_that_jump_are_told_and_stream_time_goes_on(fault: Fault) -> None:
    notices = Notices()
    frames = played(fault, notices=notices)
    (notice,) = notices.take()
    assert (notice.what, notice.at_ns) == (Incident.TIME_JUMPED, START_NS + 2_000_000_000)
    assert [frame.time_s for frame in frames] == pytest.approx([index / FPS for index in range(100)])


def test_a_lost_connection_is_told_when_it_is_lost_and_frames_come_again() -> None:
    notices = Notices()
    frames = played(Disconnect(at_s=1, duration_s=1), notices=notices)
    (notice,) = notices.take()
    assert (notice.what, notice.at_ns) == (Signal.RECONNECTING, START_NS + 1_000_000_000)
    assert arrivals_s(frames)[24:26] == pytest.approx([0.96, 2.0])
    assert frames[25].time_s == pytest.approx(2.0)


def test_slow_reads_pile_up_and_are_caught_up_afterwards() -> None:
    frames = played(Slow(at_s=1, duration_s=0.4, slower=2))
    assert len(frames) == 100
    assert arrivals_s(frames)[24:28] == pytest.approx([0.96, 1.04, 1.12, 1.20])
    assert arrivals_s(frames)[-1] == pytest.approx(99 / FPS)


def test_live_every_frame_is_waited_for() -> None:
    pace = FakePace()
    source = FaultSource(
        Numbered(50), Scenario(faults=(Stall(at_s=1, duration_s=0.5),)), Notices(), live=True, pace=pace
    )
    frames = list(source.frames())
    assert [frame.captured_ns for frame in frames] == pace.waits
    assert arrivals_s(frames)[24:26] == pytest.approx([0.96, 1.52])


def test_close_ends_a_wait_and_the_wrapped_source() -> None:
    inner = Numbered(50)
    source = FaultSource(inner, Scenario(), Notices(), live=True)
    frames = source.frames()
    next(frames)
    source.close()
    assert list(frames) == []
    assert inner.is_closed


def test_a_scenario_file_is_read_and_played() -> None:
    scenario = read_scenario(Path(__file__).parent / "data" / "feed_faults.toml")
    assert [fault.kind for fault in scenario.faults] == [
        "drop", "burst", "freeze", "no_signal", "disconnect", "size", "jump", "stall",
    ]  # fmt: skip
    notices = Notices()
    assert len(played(*scenario.faults, count=300, notices=notices)) > 150
    assert [notice.what for notice in notices.take()] == [Signal.RECONNECTING, Incident.TIME_JUMPED]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[[faults]]\nkind = "drop"\nat_s = 1\nduration_s = 1\nshares = 0.5', r"shares.*faults\[0\]"),
        ('[[faults]]\nkind = "fire"\nat_s = 1', r"fire.*faults\[0\]"),
        ('[[faults]]\nkind = "black"\nat_s = 1', r"duration_s.*faults\[0\]"),
        ('[[faults]]\nkind = "slow"\nat_s = 1\nduration_s = 1\nslower = 0.5', r"faults\[0\]\.slower"),
        ("[[faults]", r"x\.toml"),
        ('[[faults]]\nkind = "wrap"\nat_s = 1\n[[faults]]\nkind = "wrap"\nat_s = 2', "2 wraps"),
    ],
)
def test_a_wrong_scenario_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ConfigError, match=place) as refused:
        decode_scenario(text.encode(), origin="x.toml")
    assert str(refused.value).startswith("x.toml: ")


def test_a_scenario_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read_scenario(tmp_path / "none.toml")


def test_random_scenarios_hold_every_kind_and_repeat_with_their_seed() -> None:
    drawn = [random_scenario(seed, starts_s=(3, 8)) for seed in range(100)]
    assert {fault.kind for scenario in drawn for fault in scenario.faults} == set(KINDS)
    assert drawn == [random_scenario(seed, starts_s=(3, 8)) for seed in range(100)]
    assert all(3 <= first.at_s <= 4 and 8 <= second.at_s <= 9 for first, second in (s.faults for s in drawn))
    assert {fault.kind for fault in random_scenario(1, starts_s=(1, 5, 9), kinds=["stall"]).faults} == {
        "stall"
    }
