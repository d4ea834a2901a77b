"""The section of a bundle's card that says what its probabilities are worth, and on which pictures that was found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from scopeline.errors import BundleError
from scopeline.replace_file import replace_file
from scopeline_calibration.head_calibration import BAR, HeadCalibration
from scopeline_calibration.probability_report import told

HEADING = "## Probabilities, after training"
_BEFORE = "## Provenance"


def write_section(
    card: Path, found: Sequence[HeadCalibration], data: str, *, of_head: str | None = None
) -> None:
    """Put the section into a card, in the place of an older one, else before its provenance, else at its end.

    Args:
        found: What the section tells.
        data: What it rests on, in words.
        of_head: Where it tells of one head only, which has a section of its own then.

    Raises:
        BundleError: the card cannot be read.
        SinkError: it cannot be written.
    """
    try:
        text = card.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{card}: wanted the bundle's card, cannot read it ({error})") from error
    heading = HEADING if of_head is None else f"{HEADING}: {of_head}"
    replace_file(card, with_section(text, heading, section(found, data)).encode())


def with_section(card: str, heading: str, body: str) -> str:
    """The card with that section in it once."""
    written = f"{heading}\n\n{body}"
    older = re.compile(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if older.search(card):
        return older.sub(lambda _: f"{written}\n", card, count=1).rstrip("\n") + "\n"
    before, found, after = card.partition(f"\n{_BEFORE}\n")
    if not found:
        return f"{card.rstrip()}\n\n{written}"
    return f"{before.rstrip()}\n\n{written}{found}{after}"


def section(found: Sequence[HeadCalibration], data: str) -> str:
    """The section: a table of all heads, and a line of what each outcome rests on."""
    rows = [
        f"`scopeline calibrate probabilities` on {data}. Every picture was measured with a scaling fitted on other "
        f"groups; the bar is an expected calibration error (ECE) of {BAR}. Figures above in this card were printed by "
        "training, at the temperatures of then.",
        "",
        "| head | pictures (groups) | temperature | ECE before | ECE after | by chance | outcome |",
        "|---|---|---|---|---|---|---|",
        *(_row(each) for each in found),
        "",
        *(f"- {told(each)}" for each in found),
    ]
    return "\n".join(rows) + "\n"


def _row(each: HeadCalibration) -> str:
    old, new = each.measured_before, each.measured_after
    kept = each.outcome != "calibrated"
    heat = f"{each.before.temperature:.2f}" + ("" if kept else f" -> {each.after.temperature:.2f}")
    heat += " + bias" if each.after.bias and not kept else ""
    figures = (str(old.error), str(new.error), f"{new.floor:.3f}") if old and new else ("-", "-", "-")
    return (
        f"| {each.head} | {each.pictures} ({each.groups}) | {heat} | {' | '.join(figures)} | {each.outcome} |"
    )
