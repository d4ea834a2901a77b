"""Picture grids: what the network was shown beside what it said, mistakes first."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray

from scopeline.picture import Pixels
from scopeline_training.answers import Answers
from scopeline_training.mask_scores import MaskAnswers, dice
from scopeline_training.plot_style import COLOURS, PALE, PALE_RIGHT, RIGHT, WRONG, new_plot, styled

PictureOf = Callable[[str], Pixels]
"""From the name of an answer to its picture, (H, W, 3) uint8 RGB."""

COLUMNS = 6
ROWS_EACH = 2
"""Rows of random pictures, and of the surest mistakes."""
MOST_BARS = 4
"""Probabilities shown below a picture: the highest ones."""
_TRUE, _SAID = "#F0E442", COLOURS[5]
"""Outlines of masks: yellow and sky blue are told apart on red mucosa by everybody."""


@styled
def prediction_grid(answers: Answers, picture_of: PictureOf, *, seed: int = 0) -> Plot:
    """Pictures drawn at random, then the mistakes that the network was surest of, each with its probabilities."""
    rng = np.random.default_rng(seed)
    each = COLUMNS * ROWS_EACH
    drawn = np.sort(rng.choice(len(answers), min(each, len(answers)), replace=False))
    wrong = np.flatnonzero(answers.said != answers.truth)
    surest = wrong[np.argsort(-answers.probabilities[wrong].max(axis=1), kind="stable")][:each]
    sections = [(f"{len(drawn)} pictures drawn at random", drawn)]
    if len(surest):
        sections.append((f"the {len(surest)} surest of {len(wrong)} mistakes", surest))
    heights = [-(-len(numbers) // COLUMNS) for _, numbers in sections]
    bars = min(MOST_BARS, len(answers.labels))
    plot = new_plot(1.75 * COLUMNS, sum(heights) * (1.75 + 0.19 * bars) + 0.35 * len(sections))
    parts = np.atleast_1d(np.asarray(plot.subfigures(len(sections), 1, height_ratios=heights)))
    for part, (title, numbers), rows in zip(parts, sections, heights, strict=True):
        part.suptitle(f"{answers.head}, {answers.split}: {title}", x=0.01, ha="left", weight="bold", size=10)
        grid = part.subplots(2 * rows, COLUMNS, height_ratios=[1.55, 0.19 * bars] * rows, squeeze=False)
        for place in range(rows * COLUMNS):
            upper, lower = (grid[2 * (place // COLUMNS) + step, place % COLUMNS] for step in (0, 1))
            if place < len(numbers):
                _draw_answer(upper, lower, answers, int(numbers[place]), picture_of)
            else:
                upper.axis("off")
                lower.axis("off")
    return plot


@styled
def mask_grid(answers: MaskAnswers, picture_of: PictureOf) -> Plot:
    """The worst, the middle and the best areas by Dice: the true outline yellow, the network's blue."""
    score = dice(answers.truth, answers.said)
    order = np.argsort(score, kind="stable")
    half = max(0, (len(order) - COLUMNS) // 2)
    rows = {"worst": order[:COLUMNS], "middle": order[half : half + COLUMNS], "best": order[-COLUMNS:]}
    if len(order) < 3 * COLUMNS:
        rows = {"Dice": order[: 3 * COLUMNS]}
    height = sum(-(-len(numbers) // COLUMNS) for numbers in rows.values())
    plot = new_plot(1.75 * COLUMNS, 2.0 * height + 0.4)
    grid = plot.subplots(height, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    places = [(number, name) for name, numbers in rows.items() for number in numbers]
    for axes, (number, name) in zip(grid.flat, places, strict=False):
        axes.imshow(outlined(picture_of(answers.names[number]), answers.truth[number], answers.said[number]))
        axes.set_title(f"{name}: {score[number]:.2f}", size=8, weight="normal")
    plot.suptitle(
        f"{answers.head}, {answers.split}: Dice; yellow as a person drew it, blue as the network did",
        x=0.01, ha="left", weight="bold", size=10,
    )  # fmt: skip
    return plot


def outlined(pixels: Pixels, truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> Pixels:
    """A copy of the picture with both outlines drawn; masks are scaled to the picture."""
    drawn = np.ascontiguousarray(pixels).copy()
    height, width = drawn.shape[:2]
    thick = max(1, round(width / 110))
    for mask, colour in ((truth, _TRUE), (said, _SAID)):
        scaled = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(scaled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        rgb = tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5))
        cv2.drawContours(drawn, contours, -1, rgb, thick)
    return drawn


def _draw_answer(upper: Axes, lower: Axes, answers: Answers, number: int, picture_of: PictureOf) -> None:
    """The picture with a frame in the colour of right or wrong, and bars of the highest probabilities below."""
    truth, said = int(answers.truth[number]), int(answers.said[number])
    upper.imshow(picture_of(answers.names[number]))
    upper.set(xticks=[], yticks=[])
    colour = RIGHT if truth == said else WRONG
    for spine in upper.spines.values():
        spine.set(visible=True, color=colour, linewidth=2)
    name = answers.labels[truth]
    upper.set_title(f"true: {name[:20]}", size=7.5, weight="normal")
    row = answers.probabilities[number]
    shown = np.argsort(-row, kind="stable")[:MOST_BARS][::-1]
    lower.barh(
        range(len(shown)), row[shown], color=[PALE_RIGHT if label == truth else PALE for label in shown]
    )
    for place, label in enumerate(shown):
        text = f"{answers.labels[label][:18]} {row[label]:.2f}"
        lower.text(0.02, place, text, va="center", size=6.5)
    lower.set(xlim=(0, 1), ylim=(-0.6, len(shown) - 0.4))
    lower.axis("off")
