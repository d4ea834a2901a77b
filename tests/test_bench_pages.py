"""Pages of results: whole without anything else, well-formed, and saying what was found."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest

from scopeline_bench.bus_page import BusRun, bus_filed
from scopeline_bench.chart import Axis, Curve, line_chart
from scopeline_bench.compare_page import compare_filed
from scopeline_bench.compared import Compared, ComparePlan
from scopeline_bench.filed import Filed
from scopeline_bench.journeys import times
from scopeline_bench.machine import this_machine
from scopeline_bench.peers import PeerLive
from scopeline_bench.range_chart import Dot, Row, range_chart
from scopeline_bench.spent import Spent

_OPEN = {"meta"}


class _Reader(HTMLParser):
    """Complains about what is left open or closed twice."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _OPEN:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _compared() -> Compared:
    def live(slow: float) -> list[PeerLive]:
        ages = np.linspace(5, 40, 100) * slow
        found = PeerLive(
            made_to_received=times(ages),
            results_s=30,
            made=100,
            without_result=0,
            curve=[(float(age), k / 99) for k, age in enumerate(ages)],
        )
        return [found, msgspec.structs.replace(found, results_s=29)]

    spent = Spent(frames=1000, user_s=9, system_s=0, wall_s=10, switches=0, judged=1000)
    cheap = msgspec.structs.replace(spent, user_s=7)
    return Compared(
        plan=ComparePlan(rounds=2, seconds=1, fps=30, frames=1000),
        recording={"Scopeline": [spent, spent], "floor": [cheap, cheap], "PyAV loop": [spent, cheap]},
        live={"Scopeline": live(1.5), "newest-frame thread": live(1.0)},
        versions={"Scopeline": "0"},
        missing={"<b>bold</b> peer": "not installed"},
        wrong={},
        unaccounted=0,
        loads=[1.0, 2.0],
    )


def _bus_runs() -> list[BusRun]:
    quick = times(np.array([0.4, 0.5, 4.0]))
    kept_up = [(k / 10, 20.0) for k in range(20)]
    fell_behind = [(k / 10, 67.0 * k) for k in range(20)]
    return [
        BusRun(kind="latest", keeps_up_ms=quick, missed=0, slow=kept_up, skipped=7, messages_s=1e4),
        BusRun(kind="ordered", keeps_up_ms=quick, missed=0, slow=fell_behind, skipped=0, messages_s=1e4),
        BusRun(kind="plain", keeps_up_ms=quick, missed=0, slow=fell_behind, skipped=0, messages_s=1e4),
    ]


@pytest.mark.parametrize(
    "filed",
    [compare_filed(_compared(), this_machine()), bus_filed(_bus_runs(), 2.0, None, this_machine())],
    ids=["compare", "bus"],
)
def test_a_page_is_whole_needs_nothing_else_and_says_where_it_was_measured(filed: Filed) -> None:
    page = filed.html()
    reader = _Reader()
    reader.feed(page)
    assert not reader.open
    assert not any(word in page for word in ("<script", "src=", "href=", "@import", "url("))
    assert this_machine().cpu in page
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(drawing)


def test_a_comparison_says_first_what_was_missed_and_names_whoever_was_better() -> None:
    page = compare_filed(_compared(), this_machine()).html()
    head, _, rest = page.partition("<table")
    assert "Missed: live, p99 age / newest-frame thread 1.50" in head
    assert "newest-frame thread is better than Scopeline here" in rest
    assert "&lt;b&gt;bold&lt;/b&gt; peer: NOT RUN" in rest


def test_the_bus_says_how_old_the_newest_was_and_what_was_passed_over() -> None:
    page = bus_filed(_bus_runs(), 2.0, None, this_machine()).html()
    assert "nothing older than 20 ms and knew of the 7 frames it passed over" in page


def test_curves_that_lie_on_each_other_are_drawn_in_turn() -> None:
    points = [(0.0, 0.0), (1.0, 1.0)]
    drawn = line_chart(
        "t", [Curve(f"{k}", points, turn=(k, 2)) for k in range(2)], Axis("x", 0, 1), Axis("y", 0, 1)
    )
    offsets = [
        each.get("stroke-dashoffset")
        for each in ElementTree.fromstring(drawn).iter()
        if "polyline" in each.tag
    ]
    assert offsets == ["0", "-14"]


def test_dots_lie_where_their_values_are_and_their_band_around_them() -> None:
    drawn = ElementTree.fromstring(
        range_chart("t", [Row(name="a", dots=[Dot(5, 2, 8)], band=(0, 10))], Axis("x", 0, 10))
    )
    tags = {
        tag: [each for each in drawn.iter() if each.tag.endswith(tag)] for tag in ("circle", "rect", "line")
    }
    left, width = (float(tags["rect"][1].attrib[name]) for name in ("x", "width"))
    assert float(tags["circle"][0].attrib["cx"]) == pytest.approx(left + width / 2, abs=0.1)
    line = tags["line"][-1].attrib
    assert [(float(line[end]) - left) / width for end in ("x1", "x2")] == pytest.approx([0.2, 0.8], abs=0.01)


_ROOT = Path(__file__).parents[1]
_COMMANDS = {entry.name for entry in entry_points(group="scopeline.commands")}


def _figures(file: str) -> list[str]:
    """Rows of a table and items of a list below the heading `Figures`."""
    part = (_ROOT / file).read_text("utf-8").split("\n## Figures\n")[1].split("\n## ")[0]
    return re.findall(r"^(?:- |\| )(?:.|\n(?=  ))*", part, re.MULTILINE)


@pytest.mark.parametrize("file", ["README.md", "bench/README.md"])
def test_every_figure_stands_beside_the_command_that_prints_it(file: str) -> None:
    figures = [each for each in _figures(file) if not each.startswith(("| what |", "|---"))]
    assert len(figures) > 10
    for figure in figures:
        assert re.search(r"`(scopeline|make|ray start|for k in) |\(the same command\)", figure), figure
    for group, name in re.findall(r"`scopeline (bench|evaluate) (\w+)", "\n".join(figures)):
        assert f"{group}.{name}" in _COMMANDS
