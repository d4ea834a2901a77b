"""Range chart: one row per thing, on it dots with their ranges, bars or a band of noise, all on one axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from scopeline_bench.chart import COLOURS, WIDTH, Axis, Mark, svg, text

_LEFT, _RIGHT, _TOP = 200, 24, 44
_Place = Callable[[float], float]
_APART: Final = 6
"""Between the dots of a row, downwards, so that their ranges can be told apart."""
_PER_CHARACTER: Final = 6.6
"""Width of a character at the right end, in px."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One figure and the range in which it was found."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing: what was found of it."""

    name: str
    dots: Sequence[Dot]
    """One per name in the legend."""
    band: tuple[float, float] | None = None
    """What would be noise."""
    words: str = ""
    """At the right end."""
    is_bold: bool = False


def range_chart(
    title: str,
    rows: Sequence[Row],
    x: Axis,
    *,
    legend: Sequence[str] = (),
    marks: Sequence[Mark] = (),
    bars: bool = False,
) -> str:
    """Rows below each other.

    Args:
        title: Above it.
        rows: From top to bottom.
        x: What the dots stand on.
        legend: What the dots of a row are, in their order; left out when there is one.
        marks: Upright reference lines.
        bars: Whether a bar reaches from the low end to a row's first dot.
    """
    right = WIDTH - _RIGHT - _PER_CHARACTER * max((len(row.words) for row in rows), default=0)
    height = max(26, 8 + _APART * max((len(row.dots) for row in rows), default=0) + 6)
    bottom = _TOP + height * len(rows) + 4

    def place(value: float) -> float:
        return _LEFT + max(0.0, min(1.0, x.place(value))) * (right - _LEFT)

    inside = []
    for tick in x.ticks():
        inside.append(_upright(place(tick), bottom, "stroke='#e4e4e4'"))
        inside.append(text(place(tick), bottom + 16, f"{tick:g}", "middle"))
    inside.append(text((_LEFT + right) / 2, bottom + 34, x.title, "middle"))
    for number, row in enumerate(rows):
        middle = _TOP + height * (number + 0.5)
        inside += _drawn(row, middle, place, bars=bars)
        inside.append(text(right + 10, middle + 4, row.words, "start"))
    for mark in marks:
        inside.append(
            _upright(place(mark.value), bottom, "stroke='#b00020' stroke-width='1.5' stroke-dasharray='3 3'")
        )
        inside.append(text(place(mark.value), _TOP - 8, mark.name, "middle"))
    for number, name in enumerate(legend):
        across = _LEFT + number * (WIDTH - _LEFT) / len(legend)
        inside.append(f"<circle cx='{across:.0f}' cy='{bottom + 54}' r='5' fill='{COLOURS[number]}'/>")
        inside.append(text(across + 10, bottom + 58, name, "start"))
    return svg(title, inside, bottom + (70 if legend else 46))


def _upright(across: float, bottom: float, style: str) -> str:
    return f"<line x1='{across:.1f}' x2='{across:.1f}' y1='{_TOP}' y2='{bottom}' {style}/>"


def _drawn(row: Row, middle: float, place: _Place, *, bars: bool) -> list[str]:
    found = []
    if row.band is not None:
        low, high = (place(each) for each in row.band)
        found.append(
            f"<rect x='{low:.1f}' y='{middle - 9:.1f}' width='{max(1.0, high - low):.1f}' height='18' fill='#d9d9d9'/>"
        )
    if bars and row.dots:
        size = f"width='{place(row.dots[0].value) - _LEFT:.1f}' height='16'"
        found.append(
            f"<rect x='{_LEFT}' y='{middle - 8:.1f}' {size} fill='{COLOURS[0]}' fill-opacity='.25'/>"
        )
    for number, dot in enumerate(row.dots):
        colour = COLOURS[number % len(COLOURS)]
        low, high = place(dot.low), place(dot.high)
        up = middle + _APART * (number - (len(row.dots) - 1) / 2)
        found.append(
            f"<line x1='{low:.1f}' x2='{high:.1f}' y1='{up:.1f}' y2='{up:.1f}' stroke='{colour}' stroke-width='2'/>"
        )
        found.append(f"<circle cx='{place(dot.value):.1f}' cy='{up:.1f}' r='5' fill='{colour}'/>")
    weight = "font-weight='700'" if row.is_bold else ""
    found.append(
        f"<text x='{_LEFT - 10}' y='{middle + 4:.1f}' text-anchor='end' fill='#222' "
        f"font-family='system-ui, sans-serif' font-size='12' {weight}>{escape(row.name)}</text>"
    )
    return found
