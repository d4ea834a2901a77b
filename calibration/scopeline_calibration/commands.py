"""Commands of the calibration component, offered to the command line as entry points. Thin: work is imported late."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate_field(
    data: Annotated[
        Path | None,
        typer.Option(help="Data folder with images/ in it; painted mucosa and no D2 without it."),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="Hand-checked ScopeGuide boxes, tests/data/scope_guide_boxes.csv in a checkout."),
    ] = None,
    fields: Annotated[int, typer.Option(help="Random screens per shape.", min=1)] = 60,
    minutes: Annotated[
        float, typer.Option(help="Length of the unchanging screens, in minutes of stream time.")
    ] = 10.0,
) -> None:
    """Field of view on generated screens, overlays on real frames (acceptance D1 and D2)."""
    from scopeline_calibration import field_suite

    if not field_suite.main(data, boxes, fields=fields, minutes=minutes):
        raise typer.Exit(1)


def evaluate_profiles(
    data: Annotated[Path, typer.Argument(help="Data folder with videos/ in it.")],
    boxes: Annotated[
        Path, typer.Argument(help="Boxes drawn by hand, tests/data/scope_boxes.csv in a checkout.")
    ],
) -> None:
    """Which shipped scope profiles are taken on real clips, and what the field gains. Exit code 1 on a wrong one."""
    from scopeline_calibration import profile_suite

    if not profile_suite.main(data, boxes):
        raise typer.Exit(1)


def evaluate_smoothing() -> None:
    """Smoothing on simulated procedures that were not used to choose its settings (acceptance H1 to H3)."""
    from scopeline_calibration import smoothing_suite

    if not smoothing_suite.main():
        raise typer.Exit(1)


def evaluate_signal(
    scenarios: Annotated[int, typer.Option(help="Seeded scenarios of two faults each.", min=1)] = 200,
    pipeline: Annotated[
        Path, typer.Option("--pipeline", "-p", help="Set-up of the engines that live through them.")
    ] = Path("demo"),
    out: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.")] = None,
) -> None:
    """Faults of a feed: each named rightly and in half a second, no false alarm, no run that ends by one."""
    from scopeline_calibration import signal_suite

    if not signal_suite.main(scenarios=scenarios, pipeline=pipeline, out=out):
        raise typer.Exit(1)
