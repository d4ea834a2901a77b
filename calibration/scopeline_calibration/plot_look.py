"""Plot look: one calm style for the pictures of a calibration, drawn without a screen.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which the colour-blind can tell apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scopeline_calibration.onnx_layers import need

BLUE, ORANGE, GREEN, AMBER, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, AMBER, PINK, SKY)
INK, QUIET, PALE = "#222222", "#767676", "#E4E4E4"


def new_plot(width: float, height: float) -> Any:
    """An empty matplotlib Figure of that many inches; without pyplot, so that no screen is asked for."""
    need("matplotlib", "drawing a plot")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def calm(axes: Any, *, title: str, across: str, up: str) -> None:
    """Words and a pale grid, no frame."""
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    axes.set_xlabel(across, fontsize=9, color=INK)
    axes.set_ylabel(up, fontsize=9, color=INK)
    axes.tick_params(colors=QUIET, labelsize=8)
    axes.grid(True, color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def save(plot: Any, path: Path) -> None:
    """As PNG, the same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plot.savefig(path, format="png", dpi=130, metadata={"Software": None})
