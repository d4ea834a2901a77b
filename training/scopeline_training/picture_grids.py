"""Picture grids: what the network was shown beside what it said, mistakes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray

from scopeline.picture import Pixels
from scopeline_training.answers import Answers
from scopeline_training.mask_scores import MaskAnswers, dice
from scopeline_training.plot_style import COLOURS, PALE, PALE_RIGHT, RIGHT, WRONG, styled

PictureOf = Callable[[str], Pixels]
"""From the name of an answer to its picture, (H, W, 3) uint8 RGB."""

COLUMNS = 6
ROWS_EACH = 2
"""Rows of random pictures, and of the surest mistakes."""
MOST_BARS = 4
"""Probabilities shown below a picture: the highest ones."""
_CELL, _PICTURE, _TITLE, _BAR, _HEADING, _EDGE = 1.7, 1.56, 0.24, 0.17, 0.34, 0.12
"""Inches."""
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
    below = _BAR * min(MOST_BARS, len(answers.labels))
    sheet = _Sheet([len(numbers) for _, numbers in sections], below)
    for title, numbers in sections:
        sheet.heading(f"{answers.head}, {answers.split}: {title}")
        for number, (upper, lower) in zip(numbers, sheet.cells(len(numbers)), strict=True):
            _draw_answer(upper, lower, answers, int(number), picture_of)
    return sheet.plot


@styled
def mask_grid(answers: MaskAnswers, picture_of: PictureOf) -> Plot:
    """The worst, the middle and the best areas by Dice: the true outline yellow, the network's blue."""
    score = dice(answers.truth, answers.said)
    order = np.argsort(score, kind="stable")
    half = max(0, (len(order) - COLUMNS) // 2)
    rows = {"worst": order[:COLUMNS], "middle": order[half : half + COLUMNS], "best": order[-COLUMNS:]}
    if len(order) < 3 * COLUMNS:
        rows = {"all": order}
    sheet = _Sheet([len(numbers) for numbers in rows.values()], 0)
    for name, numbers in rows.items():
        sheet.heading(
            f"{answers.head}, {answers.split}: {name}; yellow is the true outline, blue the network's"
        )
        for number, (axes, _) in zip(numbers, sheet.cells(len(numbers)), strict=True):
            picture = picture_of(answers.names[number])
            axes.imshow(outlined(picture, answers.truth[number], answers.said[number]))
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"Dice {score[number]:.2f}", size=7.5, weight="normal")
    return sheet.plot


class _Sheet:
    """A plot of square pictures in rows below headings; places are reckoned, as a layout engine takes seconds here."""

    def __init__(self, counts: Sequence[int], below: float) -> None:
        """Room for that many pictures per heading, with as many inches below each as told."""
        self._below = below
        rows = sum(-(-count // COLUMNS) for count in counts)
        self._width = COLUMNS * _CELL + _EDGE
        self._height = _EDGE + _HEADING * len(counts) + rows * self._row
        self.plot = Plot(figsize=(self._width, self._height))
        self._top = _EDGE / 2

    @property
    def _row(self) -> float:
        return _TITLE + _PICTURE + self._below + _EDGE

    def heading(self, text: str) -> None:
        self.plot.text(
            _EDGE / self._width, 1 - (self._top + 0.05) / self._height, text, weight="bold", size=10, va="top"
        )
        self._top += _HEADING

    def cells(self, count: int) -> Iterator[tuple[Axes, Axes]]:
        """Axes of each picture and of what stands below it."""
        for number in range(count):
            left = _EDGE + number % COLUMNS * _CELL
            top = self._top + number // COLUMNS * self._row + _TITLE
            upper = self._axes(left, top, _PICTURE)
            yield upper, self._axes(left, top + _PICTURE + 0.04, self._below) if self._below else upper
        self._top += -(-count // COLUMNS) * self._row

    def _axes(self, left: float, top: float, height: float) -> Axes:
        bottom = self._height - top - height
        place = (left / self._width, bottom / self._height, _PICTURE / self._width, height / self._height)
        axes = self.plot.add_axes(place)
        axes.grid(visible=False)
        return axes


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
