"""Run options: what is asked of one run beside its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is asked of one run beside its recipe."""

    force: bool = False
    """Use a data set that the probes refuse; everything is stamped."""
    resume: bool = False
    """Go on where an interrupted run with the same recipe, data and folder stopped."""
    go_on_from: Path | None = None
    """Checkpoint whose weights to start from, as for a fit at another batch size."""
    limit: int | None = None
    """At most so many pictures per label and part; its figures mean nothing."""
