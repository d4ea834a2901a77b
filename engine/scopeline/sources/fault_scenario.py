"""Fault scenario: what shall happen to a feed and when, read from TOML or drawn from a seed.

# a hiccup and a lost cable
seed = 7
[[faults]]
kind = "burst"
at_s = 4.0
duration_s = 0.2
[[faults]]
kind = "no_signal"
at_s = 9.0
duration_s = 3.0
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias, get_args

import msgspec
import numpy as np

from scopeline.errors import ConfigError

_Time: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
_Share: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1)]
_Side: TypeAlias = Annotated[int, msgspec.Meta(ge=16, le=8192, multiple_of=2)]
_Level: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=255)]


class _Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    at_s: _Time
    """When it begins, in seconds of the wrapped source's stream time."""

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def end_s(self) -> float:
        return self.at_s


class _Lasting(_Fault, frozen=True, kw_only=True):
    duration_s: _Time

    @property
    def end_s(self) -> float:
        return self.at_s + self.duration_s

    def is_on(self, time_s: float) -> bool:
        return self.at_s <= time_s < self.end_s


class Drop(_Lasting, frozen=True, kw_only=True, tag="drop"):
    """Frames are lost before us."""

    share: _Share = 1.0
    numbered: bool = True
    """Whether the frame numbers show it; otherwise only the stamps do."""


class Burst(_Lasting, frozen=True, kw_only=True, tag="burst"):
    """Frames are held and come together at the end."""


class Stall(_Lasting, frozen=True, kw_only=True, tag="stall"):
    """Nothing comes, and what was made in the meantime never does."""


class Freeze(_Lasting, frozen=True, kw_only=True, tag="freeze"):
    """The first picture is repeated."""


class Black(_Lasting, frozen=True, kw_only=True, tag="black"):
    """Black pictures."""


class Bars(_Lasting, frozen=True, kw_only=True, tag="bars"):
    """A test card."""


class NoSignal(_Lasting, frozen=True, kw_only=True, tag="no_signal"):
    """The card's own screen, one colour with a text."""

    colour: tuple[_Level, _Level, _Level] = (0, 0, 200)
    """RGB."""


class Damage(_Lasting, frozen=True, kw_only=True, tag="damage"):
    """Packets that cannot be decoded; counted in the source's `damaged`."""

    share: _Share = 0.5


class Size(_Lasting, frozen=True, kw_only=True, tag="size"):
    """Pictures of another size."""

    width_px: _Side
    height_px: _Side


class Jump(_Fault, frozen=True, kw_only=True, tag="jump"):
    """The stream's own stamps jump and stay there."""

    by_s: float


class Wrap(_Fault, frozen=True, kw_only=True, tag="wrap"):
    """The stream's own stamps, a 33-bit counter at 90 kHz, begin at 0 again."""


class Disconnect(_Lasting, frozen=True, kw_only=True, tag="disconnect"):
    """The connection is lost; the source says so and comes back with stamps from 0."""


class Slow(_Lasting, frozen=True, kw_only=True, tag="slow"):
    """Each frame takes longer to read than to make; what piled up is read as fast as it goes afterwards."""

    slower: Annotated[float, msgspec.Meta(gt=1)] = 2.0
    """Reading time over the interval between frames."""


Fault: TypeAlias = (
    Drop | Burst | Stall | Freeze | Black | Bars | NoSignal | Damage | Size | Jump | Wrap | Disconnect | Slow
)
KINDS: tuple[str, ...] = tuple(str(each.__struct_config__.tag) for each in get_args(Fault))


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall happen to a feed."""

    seed: int = 0
    """Of everything random: which frames are lost, by how much each one is late."""
    jitter_s: _Time = 0.0
    """Every frame comes late by up to so much, never before the one ahead of it."""
    faults: tuple[Fault, ...] = ()


def read_scenario(path: Path) -> Scenario:
    """The scenario in a TOML file.

    Raises:
        ConfigError: the file cannot be read or is wrong; the message names the file and the place.
    """
    try:
        return decode_scenario(path.read_bytes(), origin=str(path))
    except OSError as error:
        raise ConfigError(f"{path}: the scenario cannot be read ({error.strerror})") from error


def decode_scenario(content: bytes, *, origin: str) -> Scenario:
    """A scenario from TOML text; `origin` is what error messages call it.

    Raises:
        ConfigError: as `read_scenario`.
    """
    try:
        scenario = msgspec.toml.decode(content, type=Scenario)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{origin}: {error}") from error
    wraps = [fault for fault in scenario.faults if isinstance(fault, Wrap)]
    if len(wraps) > 1:
        raise ConfigError(f"{origin}: a 33-bit counter wraps once in 26 hours, got {len(wraps)} wraps")
    return scenario


def random_scenario(
    seed: int, *, starts_s: Sequence[float] = (4.0,), kinds: Sequence[str] = KINDS
) -> Scenario:
    """A scenario drawn from a seed: one fault within a second after each start, of a length at which it can be told.

    What nobody could tell within half a second is left out: a freeze, black, a test card or a stall of less than 0.5 s,
    a reader that is slower by less than half.

    Args:
        seed: Of the scenario.
        starts_s: Earliest starts, in seconds of stream time; faults last up to 2.5 s.
        kinds: What may happen; `KINDS`.
    """
    rng = np.random.default_rng((seed, 7))
    left = list(kinds)
    faults = []
    for start_s in starts_s:
        kind = left[int(rng.integers(len(left)))]
        if kind == "wrap":
            left = [each for each in left if each != "wrap"]
        faults.append(_draw(rng, kind, round(start_s + float(rng.uniform(0, 1)), 3)))
    return Scenario(seed=seed, jitter_s=float(rng.choice([0.0, 0.01, 0.02])), faults=tuple(faults))


def _draw(rng: np.random.Generator, kind: str, at_s: float) -> Fault:
    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 3)

    match kind:
        case "drop" if rng.random() < 0.5:
            return Drop(at_s=at_s, duration_s=between(0.1, 0.28), numbered=bool(rng.random() < 0.5))
        case "drop":
            return Drop(
                at_s=at_s,
                duration_s=between(1, 2.5),
                share=between(0.2, 0.4),
                numbered=bool(rng.random() < 0.5),
            )
        case "burst":
            return Burst(at_s=at_s, duration_s=between(0.22, 0.3))
        case "damage":
            return Damage(at_s=at_s, duration_s=between(0.5, 2.5), share=between(0.3, 0.9))
        case "size":
            width_px, height_px = ((160, 128), (400, 240), (640, 512))[int(rng.integers(3))]
            return Size(at_s=at_s, duration_s=between(0.5, 2.5), width_px=width_px, height_px=height_px)
        case "jump":
            return Jump(at_s=at_s, by_s=float(rng.choice([-1, 1])) * between(0.7, 5000))
        case "wrap":
            return Wrap(at_s=at_s)
        case "slow":
            slower = between(
                1.5, 3
            )  # read for 3.4 s at most: what piled up is gone when the next fault begins
            return Slow(at_s=at_s, duration_s=between(1, 3.4 / slower), slower=slower)
        case "no_signal":
            colour = ((0, 0, 200), (0, 0, 255), (20, 60, 140), (0, 130, 0), (110, 110, 110))[
                int(rng.integers(5))
            ]
            return NoSignal(at_s=at_s, duration_s=between(0.5, 2.5), colour=colour)
    plain: dict[str, type[Stall | Freeze | Black | Bars | Disconnect]] = {
        "stall": Stall,
        "freeze": Freeze,
        "black": Black,
        "bars": Bars,
        "disconnect": Disconnect,
    }
    return plain[kind](at_s=at_s, duration_s=between(0.5, 2.5))
