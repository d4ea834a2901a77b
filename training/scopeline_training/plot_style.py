"""Plot style: one calm look for every picture of a report, drawn without a screen.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which the colour-blind can tell apart; beyond six
lines the pattern of the line changes, too.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.typing import RcKeyType

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
PATTERNS = ("-", "--", ":", "-.")
INK, QUIET, PALE = "#222222", "#767676", "#E4E4E4"
RIGHT, WRONG = COLOURS[2], COLOURS[1]
PALE_RIGHT = "#99D8C7"
DPI = 150

_STYLE: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

P = ParamSpec("P")


def styled(draw: Callable[P, Plot]) -> Callable[P, Plot]:
    """Draws in this style; saving needs it no more."""

    @wraps(draw)
    def with_style(*args: P.args, **kwargs: P.kwargs) -> Plot:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return with_style


def new_plot(width: float, height: float) -> Plot:
    """An empty plot of that many inches, without pyplot: nothing is kept, no screen is asked for."""
    return Plot(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def line_looks() -> Iterator[tuple[str, str]]:
    """Colour and pattern of one line after the other, without end."""
    number = 0
    while True:
        yield COLOURS[number % len(COLOURS)], PATTERNS[number // len(COLOURS) % len(PATTERNS)]
        number += 1


def unit_square(axes: Axes, across: str, up: str) -> None:
    """Axes from 0 to 1 both ways."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=across, ylabel=up, aspect="equal")


def legend_beside(plot: Plot, heading: str, legend: str) -> None:
    """A heading over the whole width, and the legend right of the axes, where it hides no curve."""
    plot.suptitle(heading, x=0.02, ha="left", weight="bold", size=10)
    plot.legend(loc="outside right center", title=legend, alignment="left")


def png(plot: Plot, dpi: int = DPI) -> bytes:
    """The plot as PNG file, the same bytes every time."""
    written = io.BytesIO()
    plot.savefig(  # tight: a label beside square axes would be cut otherwise
        written, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.08, metadata={"Software": None}
    )
    return written.getvalue()
