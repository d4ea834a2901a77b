"""Thresholds: the operating points of a bundle's heads and of the quality gate, for a stated risk."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from scopeline.bundle import Bundle, Head, Role
from scopeline.config import load_pipeline
from scopeline.errors import ConfigError
from scopeline.replace_file import replace_file
from scopeline.shipped import shipped_pipelines
from scopeline_calibration.answers import classifying
from scopeline_calibration.labelled import UNKNOWN, Labelled
from scopeline_calibration.reliability import balanced_statistic, with_interval
from scopeline_calibration.risk_coverage import Curve, OperatingPoint, operating_point, risk_coverage

FEWEST = 40
CURVE_POINTS = 200


@dataclass(frozen=True, slots=True)
class Threshold:
    """One head's curve and its point for the stated risk, if it reaches it."""

    head: str
    role: Role
    pictures: int
    groups: int
    curve: Curve
    point: OperatingPoint | None
    why_none: str | None

    @property
    def selective_ratio(self) -> float:
        """Risk at 80 % coverage over risk at 100 % (acceptance I2: at most 0.6)."""
        whole = float(self.curve.risk[-1])
        return self.curve.risk_at(0.8) / whole if whole else 0.0


def find(
    bundle: Bundle, labelled: Labelled, logits: Mapping[str, NDArray[np.float32]], *, risk: float, seed: int
) -> list[Threshold]:
    """The threshold of every head of which enough labels are known."""
    found = []
    for head in classifying(bundle):
        known = labelled.truths.get(head.name)
        rows = np.flatnonzero(known != UNKNOWN) if known is not None else np.array([], np.int64)
        if known is None or len(rows) < FEWEST:
            continue
        said = np.stack([head.probabilities(row) for row in logits[head.name][rows]]).astype(np.float64)
        found.append(_threshold(head, said, known[rows], labelled.groups[rows], risk=risk, seed=seed))
    if not found:
        raise ConfigError(f"{labelled.told}: wanted {FEWEST} labelled pictures of a head, found fewer")
    return found


def _threshold(
    head: Head,
    said: NDArray[np.float64],
    truth: NDArray[np.int64],
    groups: NDArray[np.int64],
    *,
    risk: float,
    seed: int,
) -> Threshold:
    if head.role == "quality":
        good = head.labels.index("good")
        scores, wrong = said[:, good], truth != good
    else:
        scores, wrong = said.max(axis=1), said.argmax(axis=1) != truth
    curve = risk_coverage(scores, wrong)
    worth = with_interval(balanced_statistic(said, truth), groups, seed=seed)
    why = None
    point = None
    if worth.low <= 1 / max(2, len(np.unique(truth))):
        why = "uninformative: its balanced accuracy cannot be told from chance"
    else:
        point = operating_point(scores, wrong, groups, risk=risk, seed=seed)
        why = None if point else "no bound reaches the risk"
    return Threshold(head.name, head.role, len(truth), len(np.unique(groups)), curve, point, why)


def table(found: Sequence[Threshold], title: str) -> Table:
    """One line per head."""
    shown = Table(
        title=title,
        caption="At the bound: on groups it was not chosen on. Risk of quality: bad frames among those let through.",
    )
    for column in (
        "head",
        "pictures (groups)",
        "risk, all answered",
        "80 % / 100 %",
        "bound",
        "coverage",
        "risk there",
    ):
        shown.add_column(column)
    for each in found:
        point = each.point
        shown.add_row(
            each.head,
            f"{each.pictures} ({each.groups})",
            f"{each.curve.risk[-1]:.3f}",
            f"{each.selective_ratio:.2f}",
            f"{point.bound:.3f}" if point else f"none: {each.why_none}",
            f"{point.coverage:.3f}" if point else "",
            f"{point.risk:.3f} ({point.low:.3f} to {point.high:.3f})" if point else "",
        )
    return shown


def with_bounds(heads: Sequence[Head], bounds: Mapping[str, float]) -> tuple[Head, ...]:
    """The heads with these bounds, rounded down so that the picture on the bound is still answered."""
    return tuple(
        msgspec.structs.replace(head, abstain_below=_down(bounds[head.name])) if head.name in bounds else head
        for head in heads
    )


def write_usable_at(pipeline: Path, bound: float) -> Path:
    """Write the quality gate's bound into a pipeline file, or one that ships by its bare name; returns where.

    The rest of the file, comments included, stays as it is.

    Raises:
        ConfigError: it is no pipeline file.
        SinkError: it cannot be written.
    """
    path = pipeline if pipeline.suffix else shipped_pipelines() / f"{pipeline}.toml"
    load_pipeline(path)
    text = path.read_text("utf-8")
    line = f"usable_at = {_down(bound)}"
    section = re.search(r"(?ms)^\[quality\][^\n]*\n.*?(?=^\[|\Z)", text)
    if section is None:
        text = f"{text.rstrip()}\n\n[quality]\n{line}\n"
    else:
        inside, count = re.subn(r"(?m)^usable_at\s*=\s*[^\s#]+", line, section.group())
        inside = inside if count else section.group().replace("\n", f"\n{line}\n", 1)
        text = text[: section.start()] + inside + text[section.end() :]
    try:
        msgspec.toml.decode(text.encode())
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path}: usable_at could not be written into it ({error}); write {line!r} by hand"
        ) from error
    replace_file(path, text.encode())
    return path


def thinned(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report with at most 200 points of each curve, spread evenly."""
    heads = []
    for each in report["heads"]:
        curve = each.curve
        places = np.unique(np.linspace(0, len(curve.bounds) - 1, CURVE_POINTS).round().astype(int))
        heads.append(
            {
                "head": each.head,
                "pictures": each.pictures,
                "groups": each.groups,
                "area_under_risk_coverage": curve.area,
                "selective_ratio": each.selective_ratio,
                "point": each.point,
                "why_none": each.why_none,
                "bounds": np.round(curve.bounds[places], 4).tolist(),
                "coverage": np.round(curve.coverage[places], 4).tolist(),
                "risk": np.round(curve.risk[places], 4).tolist(),
            }
        )
    return {**report, "heads": heads}


def _down(bound: float) -> float:
    return float(np.floor(bound * 1000) / 1000)
