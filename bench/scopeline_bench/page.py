"""Page: tables, notes and charts as one HTML file that needs nothing else, to be kept and filed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from scopeline_bench.machine import Machine
from scopeline_bench.report import Rows

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 1080px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: 0 }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; font-size: .78rem }
figure { margin: .6rem 0 1.2rem; overflow-x: auto } figcaption { color: #444; font-size: .78rem; padding-bottom: .3rem;
  position: sticky; left: 0 }
figure svg { display: block; min-width: 600px; max-width: 100%; height: auto }
th, td { padding: .25rem .6rem; border: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
td:first-child { white-space: normal; min-width: 8rem } th { background: #f4f4f4 }
.words td, .words th { white-space: normal; text-align: left; vertical-align: top; overflow-wrap: anywhere }
.words td:first-child { overflow-wrap: normal } li { overflow-wrap: anywhere }
.plain { background: #fff6e0; border: 1px solid #e0b040; padding: .6rem .9rem }
.bad { background: #fdecec; border-color: #c0392b } .good { background: #eaf6ee; border-color: #2e8b57 }
@media print { svg, table { break-inside: avoid } h2 { break-after: avoid } }
"""


def html_page(title: str, lead: str, parts: Sequence[str]) -> str:
    """A whole page.

    Args:
        title: Heading.
        lead: A sentence below it.
        parts: HTML from `section`, `html_table`, `html_list` and `scopeline_bench.chart`.
    """
    body = "\n".join(parts)
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><p>{escape(lead)}</p>\n{body}\n</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n" + "\n".join(parts) + "</section>"


def plain_words(text: str) -> str:
    """What nobody may overlook."""
    return f"<p class='plain'>{escape(text)}</p>"


def verdict(text: str, *, is_good: bool) -> str:
    """What came out, in a sentence, green or red."""
    return f"<p class='plain {'good' if is_good else 'bad'}'>{escape(text)}</p>"


def figure(drawing: str) -> str:
    """A chart that can be pushed sideways in a narrow window instead of shrinking until nobody can read it."""
    return f"<figure>{drawing}</figure>"


def html_table(rows: Rows, *, of_words: bool = False) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in rows.columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows.rows)
    kind = " class='words'" if of_words else ""
    caption = f"<figcaption>{escape(rows.title)}</figcaption>" if rows.title else ""
    return (
        f"<figure>{caption}<table{kind}>"
        f"{f'<thead><tr>{head}</tr></thead>' if any(rows.columns) else ''}<tbody>{body}</tbody></table></figure>"
    )


def html_list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(each)}</li>' for each in items)}</ul>"


def machine_table(machine: Machine, identity: Mapping[str, str]) -> Rows:
    """Everything about where it was measured, and of what."""
    return Rows(title="", columns=("", ""), rows=tuple(_machine_rows(machine, identity)))


def _machine_rows(machine: Machine, identity: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    changed = ", with uncommitted changes" if machine.uncommitted else ""
    yield "date, commit", f"{machine.date}, {machine.commit}{changed}"
    yield "processor", f"{machine.cpu}, {machine.cores} cores, {machine.clock}"
    yield "governor", machine.governor
    yield "GPU", machine.gpu
    yield "memory", f"{machine.memory_gib} GiB"
    yield "system", f"{machine.system}, {machine.container}"
    yield "load average before", f"{machine.load_before} (ours not among it)"
    yield (
        "Python and packages",
        ", ".join(
            [f"Python {machine.python}", *(f"{name} {number}" for name, number in machine.versions.items())]
        ),
    )
    for name, value in identity.items():
        yield f"{'bundle ' if name != 'pipeline' else ''}{name}", value


def write_html(path: Path, page: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
