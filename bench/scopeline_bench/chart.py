"""Chart: curves and bars as SVG, so that a report is one file that needs no script and no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Final

Points = Sequence[tuple[float, float]]

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555", "#8c510a")
"""Okabe and Ito's, which people with colour-blindness tell apart (Color Universal Design, 2008)."""
WIDTH, _HEIGHT = 760, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 34, 46
_FONT = "font-family='system-ui, sans-serif' font-size='12'"
_RIM = "paint-order='stroke' stroke='#fff' stroke-width='3'"


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart."""

    name: str
    points: Points
    dashed: bool = False
    turn: tuple[int, int] | None = None
    """(place, of how many): curves that lie on each other are seen in turn, each in a stretch of its own."""

    def pattern(self, stretch: int = 14) -> str:
        """As an attribute of a line."""
        if self.turn is not None:
            place, count = self.turn
            gap, start = stretch * (count - 1), -stretch * place
            return f" stroke-dasharray='{stretch} {gap}' stroke-dashoffset='{start}'"
        return " stroke-dasharray='6 4'" if self.dashed else ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across a chart at one value."""

    name: str
    value: float
    upright: bool = True
    """At a value of x; otherwise of y."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One side of a chart: what is on it, from where to where."""

    title: str
    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high end; beyond them for values that do not fit."""
        if self.logarithmic:
            value = max(value, self.low)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
        else:
            step = _round_step((self.high - self.low) / 6)
            first = math.ceil(self.low / step)
            steps = [step * k for k in range(first, first + 12)]
        return [each for each in steps if self.low <= each <= self.high * 1.0001]


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of a waterfall."""

    name: str
    start: float
    length: float
    reach: float
    """Up to where its tail goes, from its start."""
    text: str


def line_chart(title: str, curves: Sequence[Curve], x: Axis, y: Axis, marks: Sequence[Mark] = ()) -> str:
    """Curves over a common axis, with reference lines."""
    inside = _grid(x, y)
    for place, curve in enumerate(curves):
        colour = COLOURS[place % len(COLOURS)]
        points = " ".join(f"{_x(x, a):.1f},{_y(y, b):.1f}" for a, b in curve.points)
        inside.append(
            f"<polyline fill='none' stroke='{colour}' stroke-width='2'{curve.pattern()} points='{points}'/>"
        )
    for mark in marks:
        inside += _mark(mark, x, y)
    inside += _legend(curves)
    return svg(title, inside, _HEIGHT + 6 + 18 * _legend_lines(len(curves)))


_BEFORE_WORDS = 1.45
"""So much longer is the axis of a waterfall than what it shows: the words stand at its end."""


def waterfall(title: str, bars: Sequence[Bar], x: Axis) -> str:
    """Stretches below each other, each from where the one before ended."""
    x = replace(x, high=x.low + (x.high - x.low) * _BEFORE_WORDS)
    height = _TOP + 28 * len(bars) + _BOTTOM
    inside = []
    for tick in x.ticks():
        across = _x(x, tick)
        inside.append(
            f"<line x1='{across:.1f}' x2='{across:.1f}' y1='{_TOP}' y2='{height - _BOTTOM}' stroke='#ddd'/>"
        )
        inside.append(text(across, height - _BOTTOM + 16, f"{tick:g}", "middle"))
    inside.append(text((_LEFT + WIDTH - _RIGHT) / 2, height - 8, x.title, "middle"))
    for place, bar in enumerate(bars):
        top, left, right = _TOP + 28 * place + 4, _x(x, bar.start), _x(x, bar.start + bar.length)
        far = _x(x, bar.start + bar.reach)
        colour = COLOURS[place % len(COLOURS)]
        inside.append(
            f"<line x1='{right:.1f}' x2='{far:.1f}' y1='{top + 9}' y2='{top + 9}' stroke='{colour}'/>"
        )
        inside.append(
            f"<rect x='{left:.1f}' y='{top}' width='{max(1.5, right - left):.1f}' height='18' fill='{colour}'/>"
        )
        inside.append(text(_LEFT - 6, top + 13, bar.name, "end"))
        inside.append(text(far + 6, top + 13, bar.text, "start"))
    return svg(title, inside, height)


def above(value: float) -> float:
    """A round number a little above, to end an axis at."""
    step = _round_step(max(value, 1e-9) / 8)
    return math.ceil(value * 1.02 / step) * step


def _round_step(wanted: float) -> float:
    power = 10 ** math.floor(math.log10(wanted))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted * 0.999))


def _grid(x: Axis, y: Axis) -> list[str]:
    right, bottom = WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    found = []
    for tick in x.ticks():
        across = _x(x, tick)
        found.append(
            f"<line x1='{across:.1f}' x2='{across:.1f}' y1='{_TOP}' y2='{bottom}' stroke='#e4e4e4'/>"
        )
        found.append(text(across, bottom + 16, f"{tick:g}", "middle"))
    for tick in y.ticks():
        up = _y(y, tick)
        found.append(f"<line x1='{_LEFT}' x2='{right}' y1='{up:.1f}' y2='{up:.1f}' stroke='#e4e4e4'/>")
        found.append(text(_LEFT - 6, up + 4, f"{tick:g}", "end"))
    found.append(text((_LEFT + right) / 2, _HEIGHT - 10, x.title, "middle"))
    turn = f"transform='rotate(-90 14 {(_TOP + bottom) / 2:.0f})'"
    found.append(text(14, (_TOP + bottom) / 2, y.title, "middle", turn))
    return found


def _mark(mark: Mark, x: Axis, y: Axis) -> list[str]:
    style = "stroke='#b00020' stroke-width='1.5' stroke-dasharray='3 3'"
    if mark.upright:
        across = _x(x, mark.value)
        line = f"<line x1='{across:.1f}' x2='{across:.1f}' y1='{_TOP}' y2='{_HEIGHT - _BOTTOM}' {style}/>"
        beside = _x(x, mark.value) < WIDTH * 0.75
        return [
            line,
            text(across + (5 if beside else -5), _TOP + 14, mark.name, "start" if beside else "end"),
        ]
    up = _y(y, mark.value)
    line = f"<line x1='{_LEFT}' x2='{WIDTH - _RIGHT}' y1='{up:.1f}' y2='{up:.1f}' {style}/>"
    return [line, text(WIDTH - _RIGHT - 4, up - 4, mark.name, "end")]


_PER_LINE = 2


def _legend_lines(count: int) -> int:
    return -(-count // _PER_LINE)


def _legend(curves: Sequence[Curve]) -> list[str]:
    found = []
    for place, curve in enumerate(curves):
        left = _LEFT + (place % _PER_LINE) * (WIDTH - _LEFT) / _PER_LINE
        up = _HEIGHT + 12 + 18 * (place // _PER_LINE)
        colour = COLOURS[place % len(COLOURS)]
        pattern = " stroke-dasharray='6 4'" if curve.dashed else ""
        line = f"<line x1='{left:.0f}' x2='{left + 26:.0f}' y1='{up - 4}' y2='{up - 4}'"
        found.append(f"{line} stroke='{colour}' stroke-width='3'{pattern}/>")
        found.append(text(left + 32, up, curve.name, "start"))
    return found


def _x(axis: Axis, value: float) -> float:
    return _LEFT + max(-0.02, min(1.02, axis.place(value))) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - max(-0.02, min(1.02, axis.place(value))) * (_HEIGHT - _TOP - _BOTTOM)


def text(across: float, up: float, words: str, anchor: str, more: str = "") -> str:
    """Words with a white rim, so that a line behind them does not hide them."""
    place = f"x='{across:.1f}' y='{up:.1f}' text-anchor='{anchor}'"
    return f"<text {place} fill='#333' {_FONT} {_RIM} {more}>{escape(words)}</text>"


def svg(title: str, inside: Sequence[str], height: float) -> str:
    """A whole drawing, `WIDTH` wide."""
    head = f"<text x='{_LEFT}' y='20' fill='#111' font-weight='600' {_FONT}>{escape(title)}</text>"
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' width='{WIDTH}' role='img'>",
            f"<rect width='{WIDTH}' height='{height:.0f}' fill='#fff'/>",
            head,
            *inside,
            "</svg>\n",
        ]
    )
