"""Explanation panel: one PNG that shows the picture, the probabilities and the maps (source study S2's final panel)."""

from __future__ import annotations

from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from scopeline.picture import Pixels
from scopeline_training.explanation import NOTHING, Explanation, LookMap, Method
from scopeline_training.heat import overlaid
from scopeline_training.plot_style import COLOURS, INK, PALE, QUIET, new_plot, styled

_COLUMNS = 4
_CELL = 2.5
"""Inches."""
_NOTES = {
    Method.GRAD_CAM: "Grad-CAM: bright where the layer speaks for the label.",
    Method.GUIDED_BACKPROPAGATION: "Guided backpropagation: grey is no influence.",
    Method.GUIDED_GRAD_CAM: "Guided Grad-CAM: guided gradients where Grad-CAM is bright.",
    Method.OCCLUSION: "Occlusion (no gradients, not Grad-CAM): bright where covering the place costs the label most.",
}


@styled
def explanation_panel(explanation: Explanation, title: str, remark: str = "") -> Plot:
    """The panel.

    Args:
        explanation: What to draw.
        title: Of what: the picture's name.
        remark: What else must be known, such as why guided maps are missing.
    """
    maps = explanation.maps
    cells = 3 + len(maps)
    columns = min(_COLUMNS, cells)
    rows = ceil(cells / columns)
    plot = new_plot(columns * _CELL, rows * (_CELL + 0.1) + 0.95)
    grid = plot.subplots(rows, columns, squeeze=False).ravel()
    _picture(grid[0], explanation.picture, "picture, cut to the field")
    _picture(grid[1], explanation.shown, "what the network sees")
    _bars(grid[2], explanation)
    for axes, look in zip(grid[3:], maps, strict=False):
        _picture(axes, overlaid(explanation.shown, look), look.method.words, _below(look))
    for axes in grid[cells:]:
        axes.axis("off")
    plot.suptitle(f"{title}   why {explanation.question}?", x=0.01, ha="left", weight="bold", size=11)
    notes = [_NOTES[method] for method in dict.fromkeys(look.method for look in maps)]
    lines = [" ".join(notes), *([remark] if remark else []), "Research use only. Not a medical device."]
    plot.supxlabel("\n".join(lines), x=0.01, ha="left", size=7.5, color=QUIET)
    return plot


def _below(look: LookMap) -> str:
    if look.method is Method.OCCLUSION:
        return f"log-odds fall by up to {max(0.0, float(look.values.max())):.2f}"
    empty = look.method is Method.GRAD_CAM and look.values.max() <= 0
    return (look.layer or "") + (f"\n{NOTHING[look.method]}" if empty else "")


def _picture(axes: Axes, pixels: Pixels, title: str, below: str = "") -> None:
    axes.imshow(pixels, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, size=9)
    axes.set_xlabel(below, size=7.5, color=QUIET)


def _bars(axes: Axes, explanation: Explanation) -> None:
    """Every head's labels with their probabilities, one under the other; what is explained has the strong colour."""
    asked = explanation.question
    place = 0.0
    for head, row in explanation.answers.items():
        axes.text(0, place, head, size=8, weight="bold", va="center", color=INK)
        place += 1
        for label, (name, share) in enumerate(zip(explanation.labels[head], row, strict=True)):
            is_asked = head == asked.head.name and label == asked.label
            axes.barh(place, float(share), height=0.82, color=COLOURS[5] if is_asked else PALE)
            axes.text(0.02, place, f"{name[:22]}  {share:.2f}", size=7.5, va="center", color=INK)
            place += 1
        place += 0.35
    axes.set(xlim=(0, 1), ylim=(max(place - 0.5, 6), -0.8))
    axes.set_title("probabilities", size=9)
    axes.axis("off")
