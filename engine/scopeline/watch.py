"""The picture that `scopeline watch` draws: one moment of a run on a terminal of 80 by 24 characters or
more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from scopeline.watch_state import BIN_S, STRIP_S, Grade, HeadView, SegmentView, View, WatchState
from scopeline.wire import NOTICE

__all__ = ["WatchState", "render"]

_WIDE: Final = 110
"""From this width on, stages and confidences find room."""
_PLAIN_HEIGHT: Final = 24
_PANEL_LINES: Final = 6
_LINES_BESIDE_SEGMENTS: Final = 2 + (_PANEL_LINES + 2) + 3 + 3 + 3
"""Header, panels, strip, the table's own lines, footer."""

# Told apart by height as well as colour, for eyes and terminals that see no colours.
_BLOCKS: Final[Mapping[Grade, tuple[str, str]]] = {
    "good": ("█", "green"),
    "doubtful": ("▅", "yellow"),
    "unusable": ("▂", "red"),
}
_MES_COLOURS: Final = ("green", "yellow", "dark_orange", "red")
_DIGITS: Final[Mapping[str, Sequence[str]]] = {
    "0": ("█▀▀█", "█  █", "█  █", "█▄▄█"),
    "1": (" ▄█ ", "  █ ", "  █ ", " ▄█▄"),
    "2": ("▀▀▀█", "   █", "█▀▀▀", "█▄▄▄"),
    "3": ("▀▀▀█", " ▄▄█", "   █", "▄▄▄█"),
    "-": ("    ", "▄▄▄▄", "    ", "    "),
}
_STATES: Final = {
    "warming_up": ("warming up", "yellow"),
    "running": ("running", "green"),
    "not_assessable": ("not assessable", "yellow"),
}


def render(state: WatchState, waiting_at: str = "") -> RenderableType:
    """The state as it is at this moment, drawn to fit the console it is printed on.

    Args:
        waiting_at: The address that is listened to, shown until the first message comes.
    """
    view = state.view()
    if view.session is None:
        return _waiting(waiting_at)
    return _Dashboard(view)


@dataclass(frozen=True, slots=True)
class _Dashboard:
    view: View

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        rows = max(1, (options.height or _PLAIN_HEIGHT) - _LINES_BESIDE_SEGMENTS)
        yield _header(self.view, width)
        yield _now(self.view, width)
        yield _strip(self.view, width)
        yield _segments(self.view.segments, width, rows)
        yield _footer(self.view, width)


def _waiting(address: str) -> RenderableType:
    return Panel(
        Group(
            Text(f"waiting for an engine at {address}", style="bold"),
            Text("start one with: scopeline demo   or   scopeline live FEED", style="dim"),
        ),
        title="SCOPELINE",
        subtitle=NOTICE.upper(),
        box=ROUNDED,
        padding=(1, 2),
    )


# Header


def _header(view: View, width: int) -> RenderableType:
    status = view.status
    name, colour = _engine_state(view)
    what = f"{status.source}  ·  {status.pipeline}" if status else "joined a running engine"
    rate = "" if view.frames_per_s is None or view.stale else f"   {view.frames_per_s:.1f} frames/s"
    when = _clock(view.frame.time_s) if view.frame else "--:--"
    first = _line(
        Text.assemble((" SCOPELINE  ", "bold"), what),
        Text.assemble((f"● {name}", f"bold {colour}"), f"{rate}   {when} "),
        width,
    )
    models = view.frame.models if view.frame else status.models if status else {}
    running = ", ".join(f"{bundle} {text.partition('/')[2]}" for bundle, text in models.items())
    about = Text(f" session {view.session}  ·  {running}", style="dim")
    if view.news:
        about = Text(f" {view.news}", style="yellow")
    if not view.ended and view.signal != "running":
        about = Text(f" {view.signal_text or 'no live picture'}", style="bold red")
    second = _line(
        about,
        Text(f"{NOTICE.upper()} ", style="bold yellow"),
        width,
    )
    first.stylize("on grey15")
    return Group(first, second)


def _is_blind(view: View) -> bool:
    """Nothing that was said may be shown as the present."""
    return view.stale or view.signal != "running"


def _engine_state(view: View) -> tuple[str, str]:
    if view.status and view.ended:
        return (view.status.event, "red" if view.status.event == "failed" else "cyan")
    if view.signal != "running":
        return (view.signal.replace("_", " "), "red")
    if view.stale:
        return ("silent", "red")
    state = view.frame.state if view.frame else "warming_up"
    return _STATES.get(state, (state, "yellow"))


# Location and grade


def _now(view: View, width: int) -> RenderableType:
    if not view.may_grade:
        return _location(view, width)
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(_location(view, width // 2), _grade(view, width - width // 2))
    return grid


def _location(view: View, width: int) -> Panel:
    told = view.location or view.finding
    head = None if _is_blind(view) else told
    inside = width - 4
    lines: list[RenderableType] = [_headline(view, head)]
    shown = head.posterior if head else {}
    likeliest = sorted(shown, key=lambda label: -shown[label])[: _PANEL_LINES - 1]
    for label in [each for each in shown if each in likeliest]:
        lines.append(_bar(head, label, label[:11], 12, inside, "cyan"))
    title = told.name.replace("_", " ") if told is not None and view.location is None else "location"
    return _panel(f"{title}{_marked(view)}", lines, head is not None and head.tag is not None)


def _headline(view: View, head: HeadView | None) -> Text:
    if head is None or head.tag is None:
        text = Text.assemble((" no assessment ", "bold black on grey50"))
        text.append(f"  {_why_none(view)}", style="dim")
    else:
        text = Text.assemble((f" {head.tag.replace('_', ' ').upper()} ", "bold black on cyan"))
        text.append(f"  since {_clock(head.since_s)}" if head.since_s is not None else "", style="dim")
        if view.frame and view.frame.reason:
            text.append(f"  now {view.frame.reason.replace('_', ' ')}", style="yellow")
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _marked(view: View) -> str:
    """What masks mark now, as shares of the field."""
    masks = view.frame.masks.values() if view.frame and not _is_blind(view) else ()
    return "".join(f" · {mask.label} {100 * mask.share:.1f} % of field" for mask in masks if mask.regions)


def _why_none(view: View) -> str:
    if view.ended:
        return "the stream has ended"
    if view.signal != "running":
        return view.signal.replace("_", " ")
    if view.stale:
        return "" if view.age_ms is None else f"frame {_age(view.age_ms)} old"
    if view.frame and view.frame.reason:
        return view.frame.reason.replace("_", " ")
    return "not enough evidence"


def _grade(view: View, width: int) -> Panel:
    head = None if _is_blind(view) else view.grade
    tag = head.tag if head else None
    digit = Text("\n".join(_DIGITS.get(tag or "-", _DIGITS["-"])), style=f"bold {_mes_colour(tag)}")
    inside = width - 4 - 7
    bars: list[RenderableType] = []
    if head is None or tag is None:
        bars.append(Text.assemble((" no assessment ", "bold black on grey50")))
    for label in head.posterior if head else ():
        bars.append(_bar(head, label, f"MES {label}", 6, inside, _mes_colour(label)))
    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_row(digit, Group(*bars[: _PANEL_LINES - 1]))
    return _panel("Mayo endoscopic sub-score", [grid, _so_far(view)], tag is not None)


def _so_far(view: View) -> Text:
    segment = view.segments[-1] if view.segments else None
    if segment is None or segment.state == "final" or _is_blind(view):
        return Text()
    grades = f"mostly {_mes(segment.mes_dominant)}, worst {_mes(segment.mes_worst)}"
    return Text(f"segment so far: {grades}", style="dim", no_wrap=True, overflow="ellipsis")


def _panel(title: str, lines: list[RenderableType], assessed: bool) -> Panel:
    return Panel(
        Group(*lines),
        title=title,
        title_align="left",
        height=_PANEL_LINES + 2,
        box=ROUNDED,
        border_style="grey50" if assessed else "grey30",
    )


def _bar(head: HeadView | None, label: str, name: str, name_width: int, width: int, colour: str) -> Text:
    """Name, bar and number over time, then this frame's own number."""
    assert head is not None
    share, now = head.posterior[label], head.now.get(label)
    room = max(4, width - name_width - 12)
    full = round(share * room)
    held = label == head.tag
    line = Text(no_wrap=True, overflow="crop")
    line.append(name.replace("_", " ").ljust(name_width), style="bold" if held else "")
    line.append("━" * full, style=colour if held else "grey62")
    line.append("─" * (room - full), style="grey23")
    line.append(f" {share:.2f}", style="bold" if held else "")
    line.append(f"  {now:.2f}" if now is not None else "   ── ", style="dim")
    return line


# Quality strip


def _strip(view: View, width: int) -> RenderableType:
    columns = width - 2
    last = max(view.bins, default=-1)
    count = round(STRIP_S / BIN_S)
    blocks = []
    for column in range(columns):
        first = last + 1 - count + column * count // columns
        behind = last + 1 - count + max((column + 1) * count // columns, column * count // columns + 1)
        blocks.append(_block([view.bins[n].grades for n in range(first, behind) if n in view.bins]))
    runs = [(len(list(run)), *block) for block, run in groupby(blocks)]
    strip = Text.assemble(" ", *((block * length, colour) for length, block, colour in runs))
    legend, why = _strip_lines(view, width)
    return Group(legend, strip, why)


def _block(grades: Sequence[Counter[Grade]]) -> tuple[str, str]:
    total: Counter[Grade] = Counter()
    for each in grades:
        total.update(each)
    return _BLOCKS[total.most_common(1)[0][0]] if total else ("·", "grey30")


def _strip_lines(view: View, width: int) -> tuple[Text, Text]:
    """What the blocks mean, and why frames were unusable."""
    total: Counter[Grade] = Counter()
    reasons: Counter[str] = Counter()
    for each in view.bins.values():
        total.update(each.grades)
        reasons.update(each.reasons)
    percent = 100 / max(1, total.total())
    legend = Text.assemble((f" quality, last {STRIP_S:.0f} s  ", "bold"))
    for grade, (block, colour) in _BLOCKS.items():
        legend.append_text(Text.assemble((f" {block}", colour), f" {grade} {percent * total[grade]:.0f} % "))
    causes = [f"{name.replace('_', ' ')} {percent * count:.0f} %" for name, count in reasons.most_common(5)]
    why = Text(f" most often {', '.join(causes)}" if causes else "", style="red")
    return _line(legend, Text(), width), _line(why, Text(), width)


# Segments


def _segments(segments: Sequence[SegmentView], width: int, rows: int) -> RenderableType:
    table = Table(box=SIMPLE_HEAD, expand=True, padding=(0, 1), header_style="bold", show_edge=False)
    wide = width >= _WIDE
    for name, justify in (
        ("#", "right"),
        ("location", "left"),
        ("from – to", "left"),
        ("MES mostly", "right"),
    ):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("worst", justify="right", no_wrap=True)
    table.add_column("informative", justify="right", no_wrap=True)
    if wide:
        table.add_column("confidence", justify="right", no_wrap=True)
        table.add_column("not usable because", no_wrap=True, ratio=1)
    table.add_column("state", no_wrap=True)
    hidden = max(0, len(segments) - rows)
    for segment in segments[hidden:]:
        table.add_row(*_segment_cells(segment, wide), style="bold" if segment.state == "provisional" else "")
    filler = [Text() for _ in range(rows - min(rows, len(segments)))]
    earlier = f"and {hidden} earlier" if hidden else "" if segments else "no segment yet"
    return Group(table, *filler, Text(f" {earlier}", style="dim"))


def _segment_cells(segment: SegmentView, wide: bool) -> Iterator[Text | str]:
    length_s = segment.end_s - segment.start_s
    yield str(segment.number)
    yield (segment.location or "unknown").replace("_", " ") + (" (marked)" if segment.marked else "")
    yield f"{_clock(segment.start_s)} – {_clock(segment.end_s)}"
    if segment.assessable:
        for grade in (segment.mes_dominant, segment.mes_worst):
            yield Text(_mes(grade), style=_mes_colour(_mes(grade)))
    else:
        yield Text("not assessable", style="dim")
        yield Text("–", style="dim")
    yield f"{segment.informative_s:.0f} of {length_s:.0f} s"
    if wide:
        yield "" if segment.confidence is None else f"{segment.confidence:.2f}"
        worst = sorted(segment.reasons.items(), key=lambda item: -item[1])[:3]
        yield Text(", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in worst), style="dim")
    yield Text(
        "final" if segment.state == "final" else "open", style="" if segment.state == "final" else "cyan"
    )


# Footer


def _footer(view: View, width: int) -> RenderableType:
    return Group(_latency_line(view, width), _ledger_line(view, width), _received_line(view, width))


def _latency_line(view: View, width: int) -> Text:
    left = Text.assemble((" latency  ", "bold"))
    if view.latencies_ms:
        numbers = "  ".join(
            f"p{round(100 * share)} {view.latency_ms(share):.1f}" for share in (0.5, 0.95, 0.99)
        )
        left.append(f"{numbers} ms, last 10 s")
    if width >= _WIDE and view.frame:
        steps = " › ".join(f"{stage} {value:.1f}" for stage, value in view.frame.stages_ms.items())
        left.append(f"   {steps}", style="dim")
    age = Text()
    if view.age_ms is not None:
        age = Text(f"newest frame {_age(view.age_ms)} old ", style="red" if view.stale else "")
    return _line(left, age, width)


def _ledger_line(view: View, width: int) -> Text:
    line = Text.assemble((" frames   ", "bold"))
    ledger = view.ledger
    if ledger is not None:
        lost = sum(ledger.lost.values())
        reasons = ", ".join(f"{reason} {count}" for reason, count in ledger.lost.items() if count)
        line.append(
            f"{ledger.captured} captured = {ledger.published} published + {ledger.in_flight} in flight + "
        )
        line.append(f"{lost} lost ({reasons})" if lost else "0 lost", style="yellow" if lost else "")
    return _line(line, Text(), width)


def _received_line(view: View, width: int) -> Text:
    left = Text.assemble((" messages ", "bold"), f"{view.received} received, ")
    if view.missed:
        left.append(f"{view.missed} missed by this view", style="bold red")
    else:
        left.append("none missed by this view", style="green")
    if view.before_joining:
        left.append(f", {view.before_joining} sent before it joined", style="dim")
    damaged = sum(view.ledger.damaged.values()) if view.ledger else 0
    troubles = [f"{damaged} damaged packets"] if damaged else []
    troubles += [f"engine restarted {view.restarts} x"] if view.restarts else []
    return _line(left, Text("".join(f"{trouble} " for trouble in troubles), style="yellow"), width)


# Wording


def _line(left: Text, right: Text, width: int) -> Text:
    """One line with something at both ends; the left gives way."""
    left.truncate(max(0, width - right.cell_len - 1), overflow="ellipsis")
    line = left.copy()
    line.append(" " * (width - left.cell_len - right.cell_len))
    line.append_text(right)
    line.no_wrap, line.overflow = True, "crop"
    return line


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "--:--"
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def _age(age_ms: float) -> str:
    return f"{age_ms:.0f} ms" if abs(age_ms) < 1000 else f"{age_ms / 1000:.1f} s"


def _mes(grade: int | None) -> str:
    return "–" if grade is None else str(grade)


def _mes_colour(label: str | None) -> str:
    if label is None or not label.isdecimal() or int(label) >= len(_MES_COLOURS):
        return "grey50"
    return _MES_COLOURS[int(label)]
